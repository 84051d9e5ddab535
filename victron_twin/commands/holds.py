"""What the desires of one shadow have left to be done later: in memory, and in the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from victron_twin.twin.desires import Status
from victron_twin.twin.flat import Path
from victron_twin.twin.holds import Hold, Keep

from .journal import Journal

#: What is enforced is written so often within so long (s); then whoever moves it has their way.
MOST, WITHIN = 5, 3600.0
#: Of the time after which a device forgets a setpoint, this part lies between two writes: one may get lost.
PART = 3.0


class Holds:
    """The holds of one shadow by the paths of their fields, on the disk when a method's await is done."""

    def __init__(self, journal: Journal, thing: str, shadow: str, kept: dict[Path, Hold]) -> None:
        self._journal = journal
        self._thing = thing
        self._shadow = shadow
        self.enforced: dict[Path, Any] = {}  #: what is desired of those that are
        self._next: dict[Path, float] = {}
        self._moved: dict[Path, deque[float]] = {}
        self.take_up(kept)

    def take_up(self, kept: dict[Path, Hold]) -> None:
        """What an earlier run has left."""
        self._kept = kept
        self.enforced.update({path: hold.asked for path, hold in kept.items() if hold.keep is Keep.ENFORCED})

    def __bool__(self) -> bool:
        return bool(self._kept)

    def all(self) -> Mapping[Path, Hold]:
        return self._kept

    def get(self, path: Path) -> Hold | None:
        return self._kept.get(path)

    def setpoints(self) -> Iterator[Path]:
        """Those that are to be written again and again."""
        return (path for path, hold in self._kept.items() if hold.keep is Keep.SETPOINT and not hold.ended)

    def due(self, now: float) -> list[Path]:
        """The setpoints that are to be written again."""
        return [path for path in self.setpoints() if now >= self._next.get(path, 0.0)]

    def rests(self, path: Path, now: float) -> bool:
        """Whether a setpoint is not due yet, though it waits."""
        return now < self._next.get(path, 0.0)

    def written(self, path: Path, now: float) -> None:
        """A setpoint was; it is due again in time before the device forgets it."""
        self._next[path] = now + self._kept[path].lapses / PART

    def missed(self, path: Path) -> None:
        """It could not be: as soon as it can."""
        self._next.pop(path, None)

    async def begin(self, path: Path, hold: Hold, now: float) -> None:
        """A setpoint is taken: its id is used from now on."""
        self._kept[path] = hold
        self.enforced.pop(path, None)
        await self._journal.hold(self._thing, self._shadow, path, hold, now)

    async def put(self, path: Path, hold: Hold | None) -> None:
        """This is what is left; None: nothing."""
        if hold == self._kept.get(path):
            return
        if hold is not None and hold.keep is Keep.ENFORCED:
            self.enforced[path] = hold.asked
        else:
            self.enforced.pop(path, None)
        if hold is None:
            del self._kept[path]
            self._next.pop(path, None)
            await self._journal.forget(self._thing, self._shadow, path)
            return
        self._kept[path] = hold
        await self._journal.hold(self._thing, self._shadow, path, hold)

    async def end(self, path: Path, reason: str, status: Status) -> None:
        """It is over, which is still to be told."""
        hold = self._kept.get(path)
        if hold is not None:
            await self.put(path, replace(hold, ended=reason, outcome=status.value))

    async def told(self, path: Path) -> None:
        """What became of the desire is acknowledged."""
        hold = self._kept.get(path)
        if hold is not None:
            await self.put(path, None if hold.ended else replace(hold, told=True))

    def enforces(self, path: Path, now: float) -> bool:
        """Whether it may be written once more against whoever moves it; counts it."""
        times = self._moved.setdefault(path, deque())
        while times and times[0] <= now - WITHIN:
            times.popleft()
        if len(times) >= MOST:
            return False
        times.append(now)
        return True
