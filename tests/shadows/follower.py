"""Somebody who uses a backend: reports, and hears of deltas."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from victron_twin.shadows.backend import Delta, ShadowBackend, Unavailable

from .backend_contract import NAME

THING = "van"
SHADOWS = f"$aws/things/{THING}/shadow/name"


class Follower:
    """``deltas`` are those that came, ``missed`` counts when some may have been missed."""

    def __init__(self, clock: Any, backend: ShadowBackend) -> None:
        self.backend = backend
        self.deltas: list[Delta] = []
        self.missed = 0
        self._clock = clock
        backend.watch(self.deltas.append, self._missed)

    def _missed(self) -> None:
        self.missed += 1

    async def report(self, **values: Any) -> int:
        """The version after an update of reported."""
        answer = await self.backend.update(THING, NAME, {"state": {"reported": values}})
        return int(answer["version"])

    async def report_until_accepted(self, seconds: float = 60.0, **values: Any) -> None:
        """As the sync does: tried again while nobody is reached."""
        end = self._clock.seconds() + seconds
        while not await self._accepted(**values):
            assert self._clock.seconds() < end, "it was never accepted"
            await deferLater(self._clock, 0.5)

    async def _accepted(self, **values: Any) -> bool:
        try:
            await self.report(**values)
        except Unavailable:
            return False
        return True
