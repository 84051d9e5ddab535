"""Writes to a GX, confirmed by the GX: its echo, or its answer to a read.

A write of the same value has no echo, and a failed one has no answer: what is not echoed soon is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from victron_twin.gx.service import GXService
from victron_twin.twin.devices import Slot
from victron_twin.twin.readings import is_number
from victron_twin.twin.writes import Write

#: An echo comes within 45 ms; what has none by then is read, in s.
ECHO = 0.4
#: How long an answer to a read may take, in s.
ANSWER = 1.5
#: How often a setting is written that the GX did not take, and the wait before the next time, in s.
TRIES, AGAIN = 3, 0.5
#: Between two messages to the GX, in s: a flood of R and W cripples it.
GAP = 0.1


class Outcome(str, Enum):
    """What the GX made of a write."""

    TAKEN = "taken"  #: it has the value
    OTHER = "other"  #: it has another new value: the device rounded or clipped
    KEPT = "kept"  #: it kept the old one
    SILENT = "silent"  #: it did not answer
    UNSENT = "unsent"  #: it was over before anything was sent


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    value: Any = None


#: Whether a write that waits for its turn is over by then.
Over = Callable[[], bool]
#: Told of each W before it is sent; must be done before it is.
Before = Callable[[Write, Any], Awaitable[None]]


class Writer:
    """Writes one after the other to one GX."""

    def __init__(self, clock: IReactorTime, gx: GXService) -> None:
        self._clock = clock
        self._gx = gx
        self._free = 0.0

    def slot(self, write: Write) -> Slot:
        return self._gx.twin.device(*write.key).slot(write.path)

    async def setting(self, write: Write, before: Before, over: Over = lambda: False) -> Result:
        """Write until the GX has it, has something else, was asked often enough, or it is over."""
        result = Result(Outcome.SILENT)
        for attempt in range(TRIES):
            if attempt:
                await self._sleep(AGAIN)
            if not self._gx.live:
                return result
            once = await self._once(write, before, over)
            if once.outcome is Outcome.UNSENT and attempt:
                return result
            result = once
            if result.outcome in (Outcome.TAKEN, Outcome.OTHER, Outcome.UNSENT):
                break
        return result

    async def action(self, write: Write, before: Before, over: Over) -> Outcome:
        """Write once, never again: TAKEN where the link stood until shortly after, else SILENT; or UNSENT."""
        await self._turn()
        if over():
            return Outcome.UNSENT
        await before(write, self.slot(write).value)
        sent = self._publish("W", write, orjson.dumps({"value": write.raw}))
        await self._sleep(ECHO)
        return Outcome.TAKEN if sent and self._gx.live else Outcome.SILENT

    async def _once(self, write: Write, before: Before, over: Over) -> Result:
        slot = self.slot(write)
        await self._turn()
        if over():
            return Result(Outcome.UNSENT)
        old = slot.value
        await before(write, old)
        asked = self._clock.seconds()
        if not self._publish("W", write, orjson.dumps({"value": write.raw})):
            return Result(Outcome.SILENT)
        if await self._until(lambda: slot.at > asked and _equal(slot.value, write.raw), ECHO):
            return Result(Outcome.TAKEN, slot.value)
        await self._turn()
        asked = self._clock.seconds()
        self._publish("R", write, b"")
        if not await self._until(lambda: slot.at > asked, ANSWER):
            return Result(Outcome.SILENT)
        if _equal(slot.value, write.raw):
            return Result(Outcome.TAKEN, slot.value)
        return Result(Outcome.KEPT if _equal(slot.value, old) else Outcome.OTHER, slot.value)

    def _publish(self, kind: str, write: Write, payload: bytes) -> bool:
        return self._gx.publish(kind, *write.key, write.path, payload)

    async def _turn(self) -> None:
        now = self._clock.seconds()
        self._free = max(now, self._free + GAP)
        if self._free > now:
            await self._sleep(self._free - now)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it becomes true within this time; looked at when something was heard."""
        end = self._clock.seconds() + seconds
        try:
            while not condition():
                await self._gx.heard().addTimeout(max(0.0, end - self._clock.seconds()), self._clock)
        except TimeoutError:
            return False
        return True

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._clock, seconds)


def _equal(heard: Any, raw: Any) -> bool:
    """Equal but for the noise of a float32: 12.300000190734863 is 12.3."""
    if is_number(heard) and is_number(raw):
        return abs(heard - raw) <= 1e-6 * max(1.0, abs(raw))
    return bool(heard == raw)
