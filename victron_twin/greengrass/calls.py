"""The calls under way on one link: so many at a time, each with its time-out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from .errors import IpcError, Problem, from_sdk

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

    def __init__(self, reactor: Any, limit: int, timeout: float, stalled: Callable[[], None]) -> None:
        self._reactor = reactor
        self._limit = limit
        self._timeout = timeout
        self._stalled = stalled
        self._waiting: OrderedDict[_Call, None] = OrderedDict()
        self._under_way: set[_Call] = set()
        self._unanswered = 0

    def begin(self, send: Callable[[], Future[Any]]) -> Deferred[Any]:
        """Send when it is its turn; fires with the answer, or fails with an IpcError, within the time-out."""
        answer: Deferred[Any] = Deferred(lambda _: self._given_up(call))
        call = _Call(send, answer)
        call.timer = self._reactor.callLater(self._timeout, self._overdue, call)
        self._waiting[call] = None
        self._next()
        return answer

    def lost(self, reason: str) -> None:
        """The connection is over: every call fails."""
        calls = [*self._under_way, *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        self._unanswered = 0
        for call in calls:
            call.end(IpcError(Problem.UNREACHABLE, reason))

    def _next(self) -> None:
        while self._waiting and len(self._under_way) < self._limit:
            call, _ = self._waiting.popitem(last=False)
            try:
                future = call.send()
            except Exception as error:  # noqa: BLE001 - whatever the SDK raises is the call's answer
                call.end(from_sdk(error))
            else:
                self._under_way.add(call)
                future.add_done_callback(partial(self._reactor.callFromThread, self._answered, call))

    def _answered(self, call: _Call, future: Future[Any]) -> None:
        if call not in self._under_way:  # of a connection that is over
            return
        error = future.exception()
        if error is not None:
            problem = from_sdk(error)
            if problem.problem is Problem.UNSUPPORTED:
                self._reactor.callLater(GRACE, self._ended, call, problem)
                return
            self._ended(call, problem)
        else:
            self._ended(call, future.result())

    def _ended(self, call: _Call, result: Any) -> None:
        if call in self._under_way:
            self._under_way.remove(call)
            self._unanswered = 0
            call.end(result)
            self._next()

    def _overdue(self, call: _Call) -> None:
        self._waiting.pop(call, None)
        call.end(IpcError(Problem.TIMEOUT, f"the nucleus did not answer within {self._timeout:.0f} s"))
        self._unanswered += 1
        if self._unanswered == STALLED:
            self._stalled()

    def _given_up(self, call: _Call) -> None:
        self._waiting.pop(call, None)
        call.forget()


class _Call:
    __slots__ = ("_answer", "send", "timer")

    def __init__(self, send: Callable[[], Future[Any]], answer: Deferred[Any]) -> None:
        self.send = send
        self.timer: IDelayedCall | None = None
        self._answer: Deferred[Any] | None = answer

    def forget(self) -> Deferred[Any] | None:
        """Nobody waits for the answer any more; what comes is dropped."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        answer, self._answer = self._answer, None
        return answer

    def end(self, result: Any) -> None:
        answer = self.forget()
        if answer is not None:
            if isinstance(result, IpcError):
                answer.errback(result)
            else:
                answer.callback(result)
