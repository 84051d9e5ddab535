"""How fast requests may go: so many a second for each thing, and so many in all.

Shadow Manager answers what comes faster with "Too Many Requests": 20 a second for a thing and 200 in all, as it is
shipped. It counts with Guava's limiter, which saves up turns while nothing is asked but has none saved when it begins.
So does this, and it saves up little.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Requests a second, below Shadow Manager's own limits.
PER_THING, TOTAL = 18.0, 180.0
#: Turns are saved up for so long, in s: in no second are there more than 19 for a thing and 190 in all.
SAVED = 0.05
#: What a clock of epoch seconds may be wrong by.
_JUST_NOW = 1e-6


class Pace:
    """Hands out turns: first come, first served for each thing.

    ``per_thing`` and ``total`` are turns a second; None lifts the limit.
    """

    def __init__(self, clock: IReactorTime, per_thing: float | None = PER_THING, total: float | None = TOTAL) -> None:
        self._clock = clock
        self._per_thing = per_thing
        self._total = _Turns(total)
        self._things: dict[str, _Turns] = {}
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        self._timer: IDelayedCall | None = None

    def turn(self, thing: str) -> Deferred[None]:
        """Fires when it is this request's turn; if it is cancelled before, the next one's comes the sooner."""
        if thing not in self._waiting:
            now = self._clock.seconds()
            wait = self._wait(thing, now)
            if wait <= 0:
                self._take(thing, now)
                return succeed(None)
            self._waiting[thing] = deque()
            self._schedule(wait)
        turn: Deferred[None] = Deferred(lambda turn: self._give_up(thing, turn))
        self._waiting[thing].append(turn)
        return turn

    def slow(self, thing: str, seconds: float = 1.0) -> None:
        """There were too many all the same: no turn for this thing for so long."""
        self._turns(thing).pause(self._clock.seconds() + seconds)

    def _turns(self, thing: str) -> _Turns:
        if thing not in self._things:
            self._things[thing] = _Turns(self._per_thing)
        return self._things[thing]

    def _wait(self, thing: str, now: float) -> float:
        return max(self._turns(thing).wait(now), self._total.wait(now))

    def _take(self, thing: str, now: float) -> None:
        self._turns(thing).take(now)
        self._total.take(now)

    def _schedule(self, wait: float) -> None:
        """The next one is due in so many seconds, or earlier."""
        if self._timer is None:
            self._timer = self._clock.callLater(wait, self._hand_out)
        elif self._timer.getTime() > self._clock.seconds() + wait:
            self._timer.reset(wait)

    def _hand_out(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due = []
        # A thing after the other, so that where the total is short none waits for all of another's.
        for thing in [*self._waiting]:
            if self._wait(thing, now) <= 0:
                self._take(thing, now)
                queue = self._waiting.pop(thing)
                due.append(queue.popleft())
                if queue:
                    self._waiting[thing] = queue
        if self._waiting:
            self._schedule(min(self._wait(thing, now) for thing in self._waiting))
        for turn in due:
            if not turn.called:  # one before it may have cancelled it
                turn.callback(None)

    def _give_up(self, thing: str, turn: Deferred[None]) -> None:
        queue = self._waiting.get(thing)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[thing]
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Turns:
    """When the next one is due; in the past, while some are saved up."""

    __slots__ = ("_due", "_interval")

    def __init__(self, rate: float | None) -> None:
        self._interval = 1.0 / rate if rate is not None else 0.0
        self._due: float | None = None

    def wait(self, now: float) -> float:
        """Seconds, or 0."""
        if self._due is None:
            return 0.0
        wait = self._due - now
        return wait if wait > _JUST_NOW else 0.0

    def take(self, now: float) -> None:
        saved = max(self._due, now - SAVED) if self._due is not None else now
        self._due = saved + self._interval

    def pause(self, until: float) -> None:
        """None before."""
        self._due = max(until, self._due or until)
