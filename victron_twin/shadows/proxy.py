"""Shadow topics through the nucleus' MQTT proxy, where there is no Shadow Manager: nucleus lite, above all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from victron_twin.greengrass.errors import IpcError
from victron_twin.greengrass.nucleus import Nucleus, Subscription

from .backend import nothing
from .refusals import proxy_refusal

#: Nucleus lite receives 5,000 bytes of a message, unless it is built for more (IOTCORED_NETWORK_BUFFER_SIZE); an
#: answer holds a time beside each value.
REPORTED_LIMIT = 1_200
#: Its frame on the socket has 10,000 bytes, topic and headers included, and a payload in base64.
LARGEST = 7_000
#: What the topics of shadows begin with.
SHADOWS = "$aws/things/"


class ProxyTransport:
    """A :class:`~victron_twin.shadows.transport.Transport`. The nucleus is neither started nor stopped here."""

    name = "greengrass-mqtt"
    reported_limit = REPORTED_LIMIT
    largest = LARGEST

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus
        self._subscriptions: dict[str, Subscription] = {}
        self._on_message: Callable[[str, bytes], None]
        self._on_again: Callable[[], None]

    @property
    def problem(self) -> str:
        return "" if self._nucleus.connected else "the nucleus is not there"

    def start(self, on_message: Callable[[str, bytes], None], on_again: Callable[[], None]) -> Deferred[None]:
        self._on_message = on_message
        self._on_again = on_again
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self.unsubscribe(list(self._subscriptions))
        return succeed(None)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self._publish(topic, payload))

    async def _publish(self, topic: str, payload: bytes) -> None:
        # Without a way to the cloud the Java nucleus keeps what goes out at least once, and says so to nobody. A
        # shadow's read is of no use by then, and that it cannot go out now is worth knowing.
        qos = "0" if topic.startswith(SHADOWS) and topic.endswith("/get") else "1"
        try:
            await self._nucleus.call("publish_to_iot_core", topic_name=topic, qos=qos, payload=payload)
        except IpcError as error:
            raise proxy_refusal(error, "PublishToIoTCore", topic) from None

    def subscribe(self, filters: Sequence[str]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._subscribe(filters))

    async def _subscribe(self, filters: Sequence[str]) -> None:
        self.unsubscribe(filters)
        made = {name: self._stream(name) for name in filters}
        self._subscriptions.update(made)
        try:
            for subscription in made.values():
                await subscription.ready
        except IpcError as error:
            self.unsubscribe([name for name in filters if self._subscriptions.get(name) is made[name]])
            raise proxy_refusal(error, "SubscribeToIoTCore", ", ".join(filters)) from None

    def _stream(self, name: str) -> Subscription:
        # Streams are opened again one by one; what may have been missed meanwhile are deltas.
        again = self._on_again if name.endswith("/delta") else nothing
        return self._nucleus.subscribe("subscribe_to_iot_core", self._event, again, topic_name=name, qos="1")

    def unsubscribe(self, filters: Sequence[str]) -> None:
        for name in filters:
            subscription = self._subscriptions.pop(name, None)
            if subscription is not None:
                subscription.close()

    def _event(self, event: Any) -> None:
        self._on_message(event.message.topic_name, event.message.payload or b"")
