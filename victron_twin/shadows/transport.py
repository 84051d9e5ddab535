"""What carries the messages of shadow topics: the nucleus' MQTT proxy, or a connection of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred


class Transport(Protocol):
    """Every Deferred fails with a :class:`~victron_twin.shadows.backend.ShadowError` and nothing else."""

    name: str  #: the backend's
    reported_limit: int  #: the backend's
    largest: int  #: the longest payload that it carries, in bytes

    @property
    def problem(self) -> str:
        """Why nobody is reached; empty where somebody is."""

    def start(self, on_message: Callable[[str, bytes], None], on_again: Callable[[], None]) -> Deferred[None]:
        """Open; fires when it may be used, which is not to say that anybody is reached.

        ``on_message`` is called with topic and payload, ``on_again`` whenever the subscriptions were made again after
        they were lost.
        """

    def stop(self) -> Deferred[None]:
        """Close; whatever is under way has failed when this fires."""

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """At least once; fires when it was taken over. Fails at once while nobody is reached."""

    def subscribe(self, filters: Sequence[str]) -> Deferred[None]:
        """Fires when all are made, however long that takes; they are kept until :meth:`unsubscribe`.

        What is subscribed to already is subscribed to anew. What is refused is not kept.
        """

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """End what :meth:`subscribe` began."""
