"""Full publishes of a GX, asked for until two in a row agree: only then is what did not come not there.

The completion of one alone tells nothing: just after a boot it can come with a seventh of the topics, or with none.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from victron_twin.twin.twin import Twin

#: A full publish takes 0.1 s; firmware before 3.50 does not tell when it has ended, in s.
ROUND = 5.0
#: Waits between the full publishes that are asked for until two in a row agree, in s. (At most 3 a second are allowed.)
AGAIN = (2.0, 5.0, 10.0, 20.0, 30.0)
#: What is no plausible picture of a GX (a recording of single devices) is taken as it is after so many rounds that
#: brought no more; nothing is taken as gone then.
STABLE = 3
#: It may be a GX all the same, which dropped what was asked of it: it is asked again after so long, in s.
LATER = 120.0


class Rounds:
    """``ask(options)`` sends a keepalive with these options; ``trusted`` is called when the picture is whole."""

    def __init__(
        self, clock: IReactorTime, twin: Twin, ask: Callable[[bytes], object], trusted: Callable[[], object]
    ) -> None:
        self._clock = clock
        self._twin = twin
        self._ask = ask
        self._trusted = trusted
        self._over: list[tuple[float, int]] = []  # when each began, and how many paths came
        self._call: IDelayedCall | None = None
        self._awaited = ""
        self._asked = 0
        self._began = 0.0

    @property
    def brought_something(self) -> bool:
        """Whether any path came in a round since the last begin."""
        return any(count for _, count in self._over)

    def begin(self) -> None:
        """After a connection or a gap: ask for everything."""
        self._over = []
        self._next()

    def end(self) -> None:
        """The link is gone: nothing is awaited any more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call, self._awaited = None, ""

    def completed(self, payload: bytes) -> None:
        """``full_publish_completed`` came; other clients' have other echoes."""
        try:
            echo = orjson.loads(payload).get("full-publish-completed-echo")
        except (ValueError, AttributeError):
            return
        if self._awaited and echo == self._awaited:
            self._end_round()

    def _next(self) -> None:
        self.end()
        self._began = self._clock.seconds()
        self._asked += 1
        self._awaited = str(self._asked)
        self._ask(orjson.dumps({"keepalive-options": [{"full-publish-completed-echo": self._awaited}]}))
        self._call = self._clock.callLater(ROUND, self._end_round)

    def _end_round(self) -> None:
        """A full publish has ended, or should have."""
        self.end()
        count, plausible = self._twin.seen(self._began)
        before = self._over[-1] if self._over else None
        self._over.append((self._began, count))
        if plausible or before is not None:
            self._twin.settle()
        stable = before is not None and 0 < count <= before[1]
        if stable and plausible and before is not None:
            self._twin.prune(before[0], self._clock.seconds())
            self._trusted()
        elif stable and len(self._over) >= STABLE:
            self._take_as_it_is()
        elif len(self._over) <= len(AGAIN):
            self._call = self._clock.callLater(AGAIN[len(self._over) - 1], self._next)
        elif count:
            self._take_as_it_is()

    def _take_as_it_is(self) -> None:
        self._trusted()
        self._call = self._clock.callLater(LATER, self.begin)
