"""Several that wait for the same thing, each with a Deferred of its own."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from .errors import IpcError


class Waiters:
    """Who cancels waits no longer, also while the others are told."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Fires, or fails, with the next of the two below."""
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def fire(self) -> None:
        for waiter in self._take():
            if not waiter.called:
                waiter.callback(None)

    def fail(self, error: IpcError) -> None:
        for waiter in self._take():
            if not waiter.called:
                waiter.errback(error)

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _take(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, []
        return waiting
