"""Greengrass' Shadow Manager as a model: its local store with the rules by which it loses data, and its sync."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from .cloud import Cloud, Document

#: Called with thing, shadow and the payload of each delta that is published locally.
Listener = Callable[[str, str, bytes], None]


class Refused(Exception):
    """A request that is not accepted; ``error`` is the kind of the IPC's error.

    ConflictError, ResourceNotFoundError, InvalidArgumentsError, UnauthorizedError or ServiceError.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


class ShadowManager:
    """Every request fails with :class:`Refused` and nothing else. The name of the classic shadow is empty."""

    def __init__(self, clock: IReactorTime, cloud: Cloud, synced: Collection[tuple[str, str]] | None = None) -> None:
        """``synced`` are the shadows (thing, name) that go to the cloud; None: all."""
        self.lost: list[str] = []
        self.limited = True

    def get(self, thing: str, shadow: str) -> Document:
        raise NotImplementedError

    def update(self, thing: str, shadow: str, request: Mapping[str, Any] | bytes) -> Document:
        raise NotImplementedError

    def delete(self, thing: str, shadow: str) -> None:
        raise NotImplementedError

    def named(self, thing: str) -> list[str]:
        raise NotImplementedError

    def listen(self, callback: Listener) -> Callable[[], None]:
        raise NotImplementedError

    def settled(self) -> bool:
        raise NotImplementedError
