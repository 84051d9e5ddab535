"""The local topics of a nucleus, by which components talk with each other and with Shadow Manager."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from victron_twin.simulator.filters import matches

from . import access
from .access import Access
from .connection import Body, Failed, Stream

ALL, FROM_OTHERS = "RECEIVE_ALL_MESSAGES", "RECEIVE_MESSAGES_FROM_OTHERS"


class LocalTopics:
    """``component`` is the name under which clients publish."""

    def __init__(self, component: str, access: Access) -> None:
        self._component = component
        self._access = access
        self._subscriptions: dict[Stream, tuple[str, str]] = {}

    def publish_binary(self, topic: str, payload: bytes, source: str) -> None:
        """A message of a component of the nucleus."""
        self._publish(topic, "binaryMessage", b64encode(payload).decode(), source)

    def publish(self, stream: Stream, request: Body) -> Body:
        topic = request.get("topic")
        if not isinstance(topic, str):
            raise Failed("InvalidArgumentsError", "Publish topic must not be null")
        self._access.check(access.TOPICS, stream.operation, topic)
        if set(topic) & set("+#*"):
            raise Failed("InvalidArgumentsError", "Publish topic must not contain a wildcard.")
        for kind, message in (request.get("publishMessage") or {}).items():
            self._publish(topic, kind, message["message"], self._component)
        return {}

    def subscribe(self, stream: Stream, request: Body) -> Body:
        topic = request.get("topic")
        if not topic:
            raise Failed("InvalidArgumentsError", "Subscribe topic must not be empty")
        self._access.check(access.TOPICS, stream.operation, topic)
        # With a wildcard, what the component publishes itself does not come back, unless it says so.
        mode = request.get("receiveMode") or (FROM_OTHERS if set(topic) & set("+#") else ALL)
        self._subscriptions[stream] = (topic, mode)
        stream.on_end(lambda: self._subscriptions.pop(stream))
        return {"topicName": topic}

    def _publish(self, topic: str, kind: str, message: Any, source: str) -> None:
        event = {kind: {"message": message, "context": {"topic": topic}}}
        for stream, (wanted, mode) in list(self._subscriptions.items()):
            if _takes(wanted, topic) and not (mode == FROM_OTHERS and source == self._component):
                stream.send("SubscriptionResponseMessage", event)


def _takes(wanted: str, topic: str) -> bool:
    # Here, other than in MQTT, a wildcard at the start takes in topics that begin with a dollar.
    return matches(f"/{wanted}", f"/{topic}")
