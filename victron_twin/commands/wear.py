"""How often points that are kept in flash were written: each write wears them."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime

from victron_twin.catalog.commands import Commands
from victron_twin.twin.writes import Write

#: In which writes are counted, in s.
SPAN = 60.0

Point = tuple[tuple[str, str], str]


class Wear:
    """Counts for one GX. A write that is tried again counts once: what the GX did not take wears nothing."""

    def __init__(self, clock: IReactorTime, commands: Commands) -> None:
        self._clock = clock
        self._commands = commands
        self._times: dict[Point, deque[float]] = {}

    def spent(self, write: Write, rate: int) -> bool:
        """Whether a point has been written so often within a minute that it must wait."""
        times = self._times.get((write.key, write.path))
        if times is None:
            return False
        while times and times[0] <= self._clock.seconds() - SPAN:
            times.popleft()
        if not times:
            del self._times[write.key, write.path]
        return len(times) >= rate

    def note(self, write: Write) -> None:
        """It is about to be written."""
        if self._commands.is_stored(write.key[0], write.path):
            self._times.setdefault((write.key, write.path), deque()).append(self._clock.seconds())
