"""AWS IoT Core with its shadow service: in memory, or behind Debian's mosquitto with mutual TLS."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate

from tests.gx.certificates import Identity
from tests.mosquitto import HOST, Mosquitto
from victron_twin.shadows.backend import ShadowError, Unauthorized, Unavailable
from victron_twin.simulator.filters import matches
from victron_twin.twin import shadow as rules

from .cloud import Cloud

REQUESTS = "get", "update", "delete"
#: Requests of a connection that may be under way; one more is answered with "too many requests".
MOST_UNDER_WAY = 10
#: Of a device, where nothing else is said.
ALLOWED = "topic readwrite $aws/#", "topic write fleet/#"


class ShadowService:
    """The cloud's shadow topics as one device meets them, with what can go wrong there.

    Set at any time: ``silent`` (requests are taken and never answered), ``throttle`` (so many requests from now on are
    refused as too many), ``delay`` (s, of each answer), ``lost`` (what ends so is not delivered). ``most_under_way`` is
    how many requests there were at once, ``requests`` the topics of all.
    """

    def __init__(self, clock: IReactorTime, cloud: Cloud, send: Callable[[str, bytes], None]) -> None:
        self.silent = False
        self.throttle = 0
        self.delay = 0.0
        self.lost: Sequence[str] = ()
        self.requests: list[str] = []
        self.most_under_way = 0
        self._under_way: dict[str, int] = {}
        self._calls: list[IDelayedCall] = []
        self._clock = clock
        self._cloud = cloud
        self._to_device = send
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        self._unlisten = self._cloud.listen(self._answered)

    def stop(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        self._under_way.clear()
        for call in self._calls:
            if call.active():
                call.cancel()

    def receive(self, topic: str, payload: bytes) -> None:
        """The device has published this."""
        if topic.rpartition("/")[2] not in REQUESTS:
            return
        self.requests.append(topic)
        if self.silent:
            return
        under_way = sum(self._under_way.values())
        if self.throttle or under_way >= MOST_UNDER_WAY:
            self.throttle = max(0, self.throttle - 1)
            body = rules.parse(payload)
            answer = {"code": 429, "message": "Too many requests", "clientToken": body.get("clientToken")}
            self._send(f"{topic}/rejected", rules.compact(answer))
            return
        self._under_way[topic] = self._under_way.get(topic, 0) + 1
        self.most_under_way = max(self.most_under_way, under_way + 1)
        self._calls = [call for call in self._calls if call.active()]
        self._calls.append(self._clock.callLater(self.delay, self._cloud.publish, topic, payload))

    def _answered(self, topic: str, payload: bytes) -> None:
        asked, _, kind = topic.rpartition("/")
        if kind != "delta" and self._under_way.get(asked):
            self._under_way[asked] -= 1
        self._send(topic, payload)

    def _send(self, topic: str, payload: bytes) -> None:
        if not topic.endswith(tuple(self.lost) or ("\0",)):
            self._to_device(topic, payload)


class MemoryTransport:
    """A transport to a :class:`ShadowService` in this process, on any clock.

    Set at any time: ``online`` (publishing fails without it), ``refused`` (subscribing and publishing fail with it).
    ``forget`` loses the subscriptions and tells nobody; ``reconnect`` loses and makes them again.
    """

    name = "memory"
    reported_limit = 6_500
    largest = 128 * 1024

    def __init__(self, clock: IReactorTime, cloud: Cloud) -> None:
        self.problem = ""
        self.online = True
        self.refused = False
        self.subscribed: list[str] = []  #: each filter, as often as it was subscribed to
        self.filters: set[str] = set()
        self.service = ShadowService(clock, cloud, self.deliver)
        self._waiting: list[tuple[Sequence[str], Deferred[None]]] = []
        self._clock = clock
        self._on_message: Callable[[str, bytes], None] | None = None
        self._on_again: Callable[[], None] | None = None

    def start(self, on_message: Callable[[str, bytes], None], on_again: Callable[[], None]) -> Deferred[None]:
        self._on_message, self._on_again = on_message, on_again
        self.service.start()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self._on_message = None
        self.filters.clear()
        self.service.stop()
        waiting, self._waiting = self._waiting, []
        for _, made in waiting:
            made.errback(Unavailable("stopped"))
        return succeed(None)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        if not self.online:
            return fail(Unavailable("not connected"))
        if self.refused:
            return fail(self._refusal())
        self._clock.callLater(0, self.service.receive, topic, payload)
        return succeed(None)

    def subscribe(self, filters: Sequence[str]) -> Deferred[None]:
        if self.refused:
            return fail(self._refusal())
        made: Deferred[None] = Deferred()
        self._waiting.append((filters, made))
        self._clock.callLater(0, self._make)
        return made

    def unsubscribe(self, filters: Sequence[str]) -> None:
        self.filters.difference_update(filters)

    def forget(self) -> None:
        self.filters.clear()

    def reconnect(self) -> None:
        self.online = True
        self._make()
        assert self._on_again is not None
        self._on_again()

    def _make(self) -> None:
        if not self.online:
            return
        waiting, self._waiting = self._waiting, []
        for filters, made in waiting:
            self.subscribed += filters
            self.filters.update(filters)
            if not made.called:
                made.callback(None)

    def deliver(self, topic: str, payload: bytes) -> None:
        if self.online and self._on_message is not None and any(matches(each, topic) for each in self.filters):
            self._on_message(topic, payload)

    def _refusal(self) -> ShadowError:
        return Unauthorized("refused by the policy")


class IoTCore:
    """The broker is Debian's mosquitto, which wants a certificate; the service is a client of it in a thread::

        core = IoTCore(reactor, cloud, tmp_path)
        core.start()
        ... core.endpoint, core.certificate, core.key, core.ca ...
        core.stop()

    ``broker`` can be killed, frozen and restarted; what goes wrong at the service is set at ``service``. All methods
    block, at most a few seconds. ``allow`` are the topics that the device may read and write, in mosquitto's words.
    ``messages`` are those that were no shadow's.
    """

    def __init__(self, reactor: Any, cloud: Cloud, folder: Path, allow: Sequence[str] = ALLOWED) -> None:
        self._reactor = reactor
        self._allow = allow
        self._acl = folder / "acl"
        authority = Identity("Amazon Root CA 1", authority=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(authority.pem)
        self.certificate, self.key = _identity(folder / "device", "device", authority)
        #: Of a device that nobody knows.
        self.stranger = _identity(folder / "stranger", "device", Identity("Nobody", authority=True))
        server = Identity("localhost", ["localhost", HOST], authority)
        #: What a server of the test's own needs to be taken for this one.
        self.tls: CertificateOptions = PrivateCertificate.loadPEM(server.key_pem() + server.pem).options(
            Certificate.loadPEM(authority.pem)
        )
        (folder / "server").mkdir()
        self._service_files = _identity(folder / "service", "service", authority)
        self.write_acl(allow)
        self.broker = Mosquitto(
            folder,
            tls=server.write(folder / "server"),
            lines=[
                f"cafile {self.ca}",
                "require_certificate true",
                "use_identity_as_username true",
                "set_tcp_nodelay true",
                f"acl_file {self._acl}",
            ],
        )
        self.endpoint = f"localhost:{self.broker.port}"
        self.service = ShadowService(reactor, cloud, self._send)
        self.messages: list[tuple[str, bytes]] = []
        self._subscribed = False
        self._client = self._service_client()

    def write_acl(self, allow: Sequence[str]) -> None:
        """What the device may do; mosquitto reads it at a start."""
        self._acl.write_text(
            "\n".join(["user service", "topic readwrite $aws/#", "topic read #", "user device", *allow]) + "\n"
        )

    def start(self) -> None:
        self.service.start()
        self.broker.start()
        self._client.connect_async("localhost", self.broker.port)
        self._client.loop_start()

    def restart(self) -> None:
        """The broker comes back, and the service soon after it."""
        self.broker.stop()
        self._subscribed = False
        self.broker.start()

    def stop(self) -> None:
        self._client.disconnect()
        self.broker.stop()
        self._client.loop_stop()
        self.service.stop()

    @property
    def ready(self) -> bool:
        """The service is there."""
        return self._subscribed

    def _service_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, "shadow-service", protocol=MQTTProtocolVersion.MQTTv5)
        certificate, key = map(str, self._service_files)
        client.tls_set(str(self.ca), certificate, key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._connected
        client.on_subscribe = self._made
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        return client

    # Called in paho's thread.

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([("$aws/#", 1), ("#", 1)])

    def _made(self, *_: Any) -> None:
        self._subscribed = True

    def _disconnected(self, *_: Any) -> None:
        self._subscribed = False

    def _received(self, _: paho.Client, __: Any, message: paho.MQTTMessage) -> None:
        self._reactor.callFromThread(self._message, message.topic, bytes(message.payload))

    def _message(self, topic: str, payload: bytes) -> None:
        if topic.startswith("$aws/things/"):
            self.service.receive(topic, payload)
        else:
            self.messages.append((topic, payload))

    def _send(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1)


def _identity(folder: Path, name: str, authority: Identity) -> tuple[Path, Path]:
    folder.mkdir()
    return Identity(name, issuer=authority).write(folder)
