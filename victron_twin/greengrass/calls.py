"""The calls under way on one link: so many at a time, each with its time-out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .errors import IpcError, Problem, from_sdk
from .handover import HandOver

#: So many calls without an answer in a row, and the other side has stalled.
STALLED = 3
#: A stream that closes without an answer may be the first sign of a lost connection: by then the link knows, in s.
GRACE = 1.0


class Calls:
    """What was asked and is not answered yet.

    The SDK never gives up a call by itself, and queues without bound towards a nucleus that has stalled. So a call
    keeps its place until it is answered or the connection is over, also after its time-out: no more than ``limit`` are
    ever under way. ``stalled`` is called when several in a row were not answered in time.
    """

    def __init__(
        self, clock: IReactorTime, hand_over: HandOver, limit: int, timeout: float, stalled: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._hand_over = hand_over
        self._limit = limit
        self._timeout = timeout
        self._stalled = stalled
        self._unanswered = 0
        self._waiting: OrderedDict[_Call, None] = OrderedDict()
        self._under_way: set[_Call] = set()
        # Those that have time left. All have the same, so the first is the first to run out of it, and one timer does
        # for all: most calls are answered long before.
        self._open: OrderedDict[_Call, None] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def begin(self, send: Callable[[], Future[Any]]) -> Deferred[Any]:
        """Send when it is its turn; fires with the answer, or fails with an IpcError, within the time-out."""
        answer: Deferred[Any] = Deferred(lambda _: self._forget(call))
        call = _Call(send, answer, self._clock.seconds() + self._timeout)
        self._open[call] = None
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._look)
        self._waiting[call] = None
        self._next()
        return answer

    def lost(self, reason: str) -> None:
        """The connection is over: every call fails."""
        self._under_way.clear()
        self._waiting.clear()
        self._unanswered = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for call in list(self._open):
            self._end(call, IpcError(Problem.UNREACHABLE, reason))

    def _next(self) -> None:
        while self._waiting and len(self._under_way) < self._limit:
            call, _ = self._waiting.popitem(last=False)
            try:
                future = call.send()
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises is the call's answer
                self._end(call, from_sdk(error))
            else:
                self._under_way.add(call)
                future.add_done_callback(partial(self._hand_over, self._answered, call))

    def _answered(self, call: _Call, future: Future[Any]) -> None:
        if call not in self._under_way:  # of a connection that is over
            return
        error = future.exception()
        if error is None:
            self._settled(call, future.result())
            return
        problem = from_sdk(error)
        if problem.problem is Problem.UNSUPPORTED:
            self._clock.callLater(GRACE, self._settled, call, problem)
        else:
            self._settled(call, problem)

    def _settled(self, call: _Call, result: Any) -> None:
        if call in self._under_way:
            self._under_way.remove(call)
            self._unanswered = 0
            self._end(call, result)
            self._next()

    def _end(self, call: _Call, result: Any) -> None:
        self._open.pop(call, None)
        answer, call.answer = call.answer, None  # they know each other; nothing is to be left to the collector
        if answer is not None:  # else nobody waits for it any more
            if isinstance(result, IpcError):
                answer.errback(result)
            else:
                answer.callback(result)

    def _forget(self, call: _Call) -> None:
        call.answer = None
        if call in self._waiting:  # else whether it is answered still tells how the other side does
            del self._waiting[call], self._open[call]

    def _look(self) -> None:
        """Time is up for the first, or would be, had it not been answered."""
        self._timer = None
        now = self._clock.seconds()
        while self._open:
            call = next(iter(self._open))
            if call.until > now:
                self._timer = self._timer or self._clock.callLater(call.until - now, self._look)
                return
            self._waiting.pop(call, None)
            self._end(call, IpcError(Problem.TIMEOUT, f"the nucleus did not answer within {self._timeout:.0f} s"))
            self._unanswered += 1
            if self._unanswered == STALLED:
                self._stalled()


class _Call:
    __slots__ = ("answer", "send", "until")

    def __init__(self, send: Callable[[], Future[Any]], answer: Deferred[Any], until: float) -> None:
        self.send = send
        self.answer: Deferred[Any] | None = answer
        self.until = until
