"""The nucleus' way to AWS IoT Core's topics, with the cloud's shadow service behind it."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from victron_twin.simulator.filters import matches

from . import access
from .access import Access
from .cloud import Cloud
from .connection import Body, Failed, Stream

#: Bytes of messages that wait for the cloud, in memory.
SPOOL = int(2.5 * 1024 * 1024)
#: Messages that were no shadow's are remembered.
MESSAGES = 100
#: Requests on shadow topics that a connection may have in flight.
IN_FLIGHT = 10
#: Nucleus lite: bytes of a message from the cloud, and subscriptions of its one connection to it.
LITE_BUFFER, LITE_SUBSCRIPTIONS = 5_000, 50
#: Bytes of an MQTT PUBLISH besides topic and payload.
_PUBLISH_OVERHEAD = 7

_SHADOWS, _RULES = "$aws/things/", "$aws/rules/"
_REQUESTS = ("/get", "/update", "/delete")


class IoTCoreProxy:
    """``round_trip`` is the time, in s, after which the cloud has a message.

    ``published`` is what it got of us while ``recording``, ``messages`` the last of that which was no shadow's;
    ``lost`` says what did not fit into lite's buffer.
    """

    def __init__(self, clock: IReactorTime, cloud: Cloud, access: Access, lite: bool) -> None:
        self._clock = clock
        self._cloud = cloud
        self._access = access
        self._lite = lite
        self._subscriptions: dict[Stream, str] = {}
        self._spool: deque[tuple[str, bytes]] = deque()
        self._spooled = 0
        self._in_flight: deque[str] = deque()
        self._calls: set[IDelayedCall] = set()
        self._unlisten: Callable[[], None] | None = None
        cloud.watch_link(self._flush)
        self.round_trip = 0.0
        self.recording = True
        self.published: list[tuple[str, bytes]] = []
        self.messages: deque[tuple[str, bytes]] = deque(maxlen=MESSAGES)
        self.lost: list[str] = []

    def start(self) -> None:
        self._unlisten = self._cloud.listen(self._from_cloud)

    def stop(self) -> None:
        """What waits for the cloud is lost: the spool is in memory."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        self._spool.clear()
        self._spooled = 0
        self._in_flight.clear()

    def lose_subscriptions(self) -> None:
        """As lite's after its MQTT daemon restarted: the streams stay, and nothing comes any more."""
        self._subscriptions.clear()

    def subscribe(self, stream: Stream, request: Body) -> Body:
        wanted = self._checked(stream, request)
        if self._lite and len(self._subscriptions) >= LITE_SUBSCRIPTIONS:
            raise Failed("ServiceError", "Failed to bind the subscription.")
        self._subscriptions[stream] = wanted
        stream.on_end(lambda: self._subscriptions.pop(stream, None))
        return {}

    def publish(self, stream: Stream, request: Body) -> Body:
        """Success means that it is in the spool. Lite has none, and without a connection nothing is taken."""
        topic = self._checked(stream, request)
        if request.get("payload") is None:
            raise Failed("InvalidArgumentsError", "Payload is required")
        payload = b64decode(request["payload"])
        if not self._cloud.online:
            self._spool_only(topic, payload, request["qos"])
        self._spool.append((topic, payload))
        self._spooled += len(payload)
        self._flush()
        return {}

    def _spool_only(self, topic: str, payload: bytes, qos: str) -> None:
        if self._lite:
            raise Failed("ServiceError", "Failed to publish the message.")
        if qos == "0":
            raise Failed("ServiceError", f"Publish to topic {topic} failed: Device is offline. Dropping QoS 0 message.")
        if self._spooled + len(payload) > SPOOL:
            raise Failed("ServiceError", f"Publish to topic {topic} failed: Message spool is full.")

    def _checked(self, stream: Stream, request: Body) -> str:
        topic = request.get("topicName")
        if not isinstance(topic, str):
            raise Failed("InvalidArgumentsError", "Topic is required")
        self._access.check(access.IOT_CORE, stream.operation, topic)
        if request.get("qos") not in ("0", "1"):
            raise Failed("InvalidArgumentsError", f"Invalid QoS value: {request.get('qos')}")
        return topic

    def _flush(self) -> None:
        while self._spool and self._cloud.online:
            topic, payload = self._spool.popleft()
            self._spooled -= len(payload)
            self._send(topic, payload)

    def _send(self, topic: str, payload: bytes) -> None:
        request = topic.startswith(_SHADOWS) and topic.endswith(_REQUESTS)
        throttled = request and len(self._in_flight) >= IN_FLIGHT
        if request and not throttled:
            self._in_flight.append(topic)

        def arrived() -> None:
            self._calls.discard(call)
            if self.recording:
                self.published.append((topic, payload))
            if not topic.startswith(_SHADOWS):
                self.messages.append((topic, payload))
            if throttled:
                self._from_cloud(f"{topic}/rejected", _too_many(payload, int(self._clock.seconds())))
            elif topic.startswith(_SHADOWS):
                self._cloud.publish(topic, payload)
            elif not topic.startswith(_RULES):  # basic ingest has no echo
                self._from_cloud(topic, payload)

        call = self._clock.callLater(self.round_trip, arrived)
        self._calls.add(call)

    def _from_cloud(self, topic: str, payload: bytes) -> None:
        asked, _, kind = topic.rpartition("/")
        if kind in ("accepted", "rejected") and asked in self._in_flight:
            self._in_flight.remove(asked)
        if not self._cloud.online:
            return
        for stream, wanted in list(self._subscriptions.items()):
            if not matches(wanted, topic):
                continue
            if self._lite and len(topic) + len(payload) + _PUBLISH_OVERHEAD > LITE_BUFFER:
                self.lost.append(f"{topic}: {len(payload)} bytes")
                continue
            message = {"topicName": topic, "payload": b64encode(payload).decode()}
            stream.send("IoTCoreMessage", {"message": message})


def _too_many(payload: bytes, now: int) -> bytes:
    answer = {"code": 429, "message": "Too Many Requests", "timestamp": now}
    with contextlib.suppress(ValueError, LookupError, TypeError):
        answer["clientToken"] = json.loads(payload)["clientToken"]
    return json.dumps(answer).encode()
