"""A Greengrass nucleus on a Unix socket, for the real SDK's client: what it offers, and what goes wrong with it.

By hand: ``python -m tests.emulators.nucleus --socket /tmp/nucleus.sock``, as :mod:`tests.emulators.console` says.
"""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import Factory

from .access import SHADOWS, Access, Control
from .cloud import Cloud, prefix
from .configuration import Configuration
from .connection import Body, Connection, Failed, Stream, Unanswered
from .deployments import Deferral, Lifecycle
from .proxy import IoTCoreProxy
from .secrets import SecretManager
from .shadow_manager import ShadowManager
from .shadow_operations import ShadowOperations
from .topics import LocalTopics

COMPONENT = "com.vanlance.vehicle-components.VictronTwin"
#: Streams that stay open, over all clients.
LITE_SUBSCRIPTIONS = 128
#: What nucleus lite does not serve.
NOT_ON_LITE = {"GetSecretValue", "SubscribeToComponentUpdates", "DeferComponentUpdate", "PutComponentMetric"}

Operation = Callable[[Stream, Body], Body]


class NucleusEmulator:
    """One nucleus with one component. Without a Shadow Manager, operations on shadows are not served.

    ``access`` is the recipe's ``accessControl``; without it everything is allowed. ``configuration`` is the
    component's, ``secrets`` are texts by ARN. The path of a socket has at most 107 bytes.

    These can be set at any time: ``token``, ``delay`` (s, of each answer), ``refusing`` (accept and close),
    ``stalled`` (read and send nothing; what waits goes on when it ends), ``proxy.round_trip``. ``requests`` are the
    requests by operation, blobs decoded, in order, those included that are to fail, while it is ``recording``;
    ``answered`` is their number.
    """

    def __init__(
        self,
        reactor: Any,
        socket_path: str,
        *,
        shadow_manager: ShadowManager | None,
        cloud: Cloud,
        token: str = "token",
        lite: bool = False,
        component: str = COMPONENT,
        configuration: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        access: Control | None = None,
    ) -> None:
        self.clock: IReactorTime = reactor
        self.socket_path = socket_path
        self.token = token
        self.lite = lite
        self.component = component
        self.refusing = False
        self.delay = 0.0
        self.recording = True
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answered = 0
        self.in_flight = 0
        self.most_in_flight = 0
        #: Connections that were opened, refused ones too.
        self.connected = 0
        #: Events that did not fit into a frame of lite's.
        self.oversized: list[str] = []

        control = Access(access, component, lite)
        self._manager = shadow_manager
        self._topics = LocalTopics(component, control)
        self._configuration = Configuration(configuration or {}, component, lite)
        self._lifecycle = Lifecycle(reactor)
        self._secrets = SecretManager(secrets or {}, cloud, control)
        self._shadows = ShadowOperations(reactor, shadow_manager, control) if shadow_manager is not None else None
        self.proxy = IoTCoreProxy(reactor, cloud, control, lite)

        self._operations = self._served()
        self._endpoint = UNIXServerEndpoint(reactor, socket_path)
        self._factory = Factory.forProtocol(lambda: Connection(self))
        self._factory.noisy = False
        self._port: IListeningPort | None = None
        self._connections: dict[Connection, None] = {}
        self._all_closed: Deferred[None] | None = None
        self._streams: set[Stream] = set()
        self._stalled = False
        self._failures: defaultdict[str, deque[Failed | Unanswered]] = defaultdict(deque)
        self._malformed = 0
        self._deaf: Callable[[], None] | None = None
        self._started = False

    def start(self) -> Deferred[None]:
        """Done when clients can connect."""
        self._secrets.start()
        self.proxy.start()
        if self._manager is not None:
            if self._started:
                self._manager.restart()
            self._deaf = self._manager.listen(self._delta)
        self._started = True
        return Deferred.fromCoroutine(self._listen())

    def stop(self) -> Deferred[None]:
        """Done when the socket and all connections are gone. It can be started again."""
        return Deferred.fromCoroutine(self._stop())

    async def _listen(self) -> None:
        self._port = await self._endpoint.listen(self._factory)

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        self.proxy.stop()
        self._lifecycle.stop()
        if self._deaf is not None:
            self._deaf()
            self._deaf = None
        if self._connections:
            self._all_closed = Deferred()
            self.drop()
            await self._all_closed

    # What it knows.

    @property
    def configuration(self) -> dict[str, Any]:
        return self._configuration.value

    @property
    def secrets(self) -> dict[str, str]:
        """The cloud's, by ARN: the nucleus gives its copy unless it is asked to refresh."""
        return self._secrets.secrets

    @property
    def states(self) -> list[str]:
        """What the component reported of itself."""
        return self._lifecycle.states

    @property
    def deferred(self) -> list[Deferral]:
        """The component's answers to updates of it."""
        return self._lifecycle.deferred

    @property
    def updated(self) -> list[str]:
        """The updates that went on, because it said so or did not answer."""
        return self._lifecycle.updated

    @property
    def rates_exceeded(self) -> int:
        return self._shadows.rates_exceeded if self._shadows is not None else 0

    @property
    def connections(self) -> int:
        """That are open now."""
        return len(self._connections)

    # What happens to it.

    def configure(self, patch: Mapping[str, Any]) -> None:
        """A deployment: objects merge, None removes a key; each changed key is an event to those subscribed."""
        self._configuration.merge(patch)

    def component_update(self, deployment_id: str) -> None:
        """An update of the component is due; it may put it off, and is asked again then."""
        self._lifecycle.update(deployment_id)

    @property
    def stalled(self) -> bool:
        return self._stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        if stalled != self._stalled:
            self._stalled = stalled
            for connection in list(self._connections):
                connection.stall() if stalled else connection.resume()

    def drop(self) -> None:
        """Close all connections."""
        for connection in list(self._connections):
            connection.drop()

    def fail_next(self, operation: str, error: str | None = None, message: str = "", count: int = 1) -> None:
        """Answer the next requests of an operation ("UpdateThingShadow") with an error of the model.

        Without one the stream is ended, as where nobody serves the operation.
        """
        self._failures[operation].extend(
            Failed(error, message) if error is not None else Unanswered() for _ in range(count)
        )

    def malform_next(self) -> None:
        """The next frame that is sent has a wrong checksum."""
        self._malformed += 1

    def lose_iot_core_subscriptions(self) -> None:
        """Nothing comes from IoT Core any more, and nobody is told."""
        self.proxy.lose_subscriptions()

    # What connections call.

    def opened(self, connection: Connection) -> None:
        self._connections[connection] = None
        self.connected += 1

    def closed(self, connection: Connection) -> None:
        del self._connections[connection]
        if not self._connections and self._all_closed is not None:
            done, self._all_closed = self._all_closed, None
            done.callback(None)

    def begun(self, requests: int) -> None:
        self.in_flight += requests
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def answer(self, stream: Stream, request: Body) -> Body:
        self.answered += 1
        if self.recording:
            self.requests.append((stream.operation, _readable(request)))
        planned = self._failures.get(stream.operation)
        if planned:
            raise planned.popleft()
        operation = self._operations.get(stream.operation)
        if operation is None:
            raise Failed("ServiceError", "Unknown operation.") if self.lite else Unanswered()
        if self.lite and len(self._streams) >= LITE_SUBSCRIPTIONS and stream.operation.startswith("SubscribeTo"):
            raise Failed("ServiceError", "Failed to bind the subscription.")
        answer = operation(stream, request)
        if stream.subscribed:
            self._streams.add(stream)
            stream.on_end(lambda: self._streams.discard(stream))
        return answer

    def outgoing(self, data: bytes) -> bytes:
        if self._malformed:
            self._malformed -= 1
            return data[:-1] + bytes([data[-1] ^ 1])
        return data

    def too_large(self, what: str) -> None:
        self.oversized.append(what)

    def _served(self) -> dict[str, Operation]:
        operations: dict[str, Operation] = {
            "SubscribeToTopic": self._topics.subscribe,
            "PublishToTopic": self._topics.publish,
            "SubscribeToIoTCore": self.proxy.subscribe,
            "PublishToIoTCore": self.proxy.publish,
            "GetConfiguration": self._configuration.get,
            "SubscribeToConfigurationUpdate": self._configuration.subscribe,
            "UpdateState": self._lifecycle.update_state,
            "SubscribeToComponentUpdates": self._lifecycle.subscribe,
            "DeferComponentUpdate": self._lifecycle.defer,
            "GetSecretValue": self._secrets.get,
            "PutComponentMetric": self._metric,
        }
        if self._shadows is not None:
            operations |= {
                "GetThingShadow": self._shadows.get,
                "UpdateThingShadow": self._shadows.update,
                "DeleteThingShadow": self._shadows.delete,
                "ListNamedShadowsForThing": self._shadows.names,
            }
        return {name: served for name, served in operations.items() if not (self.lite and name in NOT_ON_LITE)}

    def _metric(self, stream: Stream, request: Body) -> Body:
        if not self.component.startswith("aws."):
            raise Failed("UnauthorizedError", f"{self.component} may not put metrics")
        return {}

    def _delta(self, thing: str, shadow: str, payload: bytes) -> None:
        self._topics.publish_binary(f"{prefix(thing, shadow)}/update/delta", payload, SHADOWS)


def _readable(request: Body) -> dict[str, Any]:
    payload = request.get("payload")
    return {**request, "payload": b64decode(payload)} if isinstance(payload, str) else dict(request)


if __name__ == "__main__":
    from .console import main

    main()
