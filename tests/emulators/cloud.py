"""AWS IoT's device shadow service as a model: the rules of its documents, and its face of MQTT topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime

Document = dict[str, Any]
#: Called with the topic and the payload of each message that the service sends.
Listener = Callable[[str, bytes], None]


class Cloud:
    """Every request of a program fails with :class:`victron_twin.twin.shadow.Refused` and nothing else."""

    def __init__(self, clock: IReactorTime, random: Random | None = None) -> None:
        self.online = True

    def get(self, thing: str, shadow: str) -> Document:
        raise NotImplementedError

    def update(self, thing: str, shadow: str, request: Mapping[str, Any] | bytes) -> Document:
        raise NotImplementedError

    def delete(self, thing: str, shadow: str) -> Document:
        raise NotImplementedError

    def named(self, thing: str) -> list[str]:
        raise NotImplementedError

    def publish(self, topic: str, payload: bytes) -> None:
        raise NotImplementedError

    def listen(self, callback: Listener) -> Callable[[], None]:
        raise NotImplementedError
