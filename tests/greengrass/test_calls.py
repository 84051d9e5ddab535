"""Calls under way on a simulated clock: their turns, their time-outs, and what comes too late."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.conftest import ExpectErrors
from victron_twin.greengrass.calls import GRACE, STALLED, Calls
from victron_twin.greengrass.errors import IpcError, Problem
from victron_twin.greengrass.handover import HandOver


class Threads(Clock):
    """A reactor whose other thread's calls come when they are taken in."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[Any] = []

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.handed.append((function, args))

    def take_in(self) -> None:
        handed, self.handed = self.handed, []
        for function, args in handed:
            function(*args)


class StreamClosedError(Exception):
    """As the SDK's."""


class Bench:
    def __init__(self, limit: int = 2) -> None:
        self.clock = Threads()
        self.stalls = 0
        self.calls = Calls(self.clock, HandOver(self.clock), limit, 10.0, self._stall)
        self.sent: list[Future[Any]] = []
        self.results: list[Any] = []

    def _stall(self) -> None:
        self.stalls += 1

    def begin(self) -> Deferred[Any]:
        answer = self.calls.begin(self._send)
        number = len(self.results)
        self.results.append(None)
        answer.addBoth(lambda result: self.results.__setitem__(number, result))
        return answer

    def _send(self) -> Future[Any]:
        self.sent.append(Future())
        return self.sent[-1]

    def answer(self, number: int, result: Any) -> None:
        if isinstance(result, Exception):
            self.sent[number].set_exception(result)
        else:
            self.sent[number].set_result(result)
        self.clock.take_in()

    def problems(self) -> list[Problem | None]:
        return [getattr(getattr(result, "value", None), "problem", None) for result in self.results]


def test_each_has_its_turn_and_its_answer() -> None:
    bench = Bench()
    for _ in range(5):
        bench.begin()
    assert len(bench.sent) == 2
    bench.answer(1, "b")
    bench.answer(0, "a")
    assert len(bench.sent) == 4
    for number, result in enumerate("cde", 2):
        bench.answer(number, result)
    assert bench.results == ["a", "b", "c", "d", "e"]


def test_what_waits_for_its_turn_runs_out_of_time_too_and_is_never_sent() -> None:
    bench = Bench(limit=1)
    bench.begin()
    bench.clock.advance(4)
    bench.begin()
    bench.clock.advance(6)
    assert bench.problems() == [Problem.TIMEOUT, None]
    bench.clock.advance(4)
    assert bench.problems() == [Problem.TIMEOUT] * 2
    bench.answer(0, "late")
    assert bench.problems() == [Problem.TIMEOUT] * 2
    bench.begin()
    assert len(bench.sent) == 2
    bench.answer(1, "well")
    assert bench.results[2] == "well"


def test_a_call_that_ran_out_of_time_keeps_its_place() -> None:
    """It is with the SDK still, which would queue without bound."""
    bench = Bench()
    for _ in range(2):
        bench.begin()
    bench.clock.advance(10)
    for _ in range(3):
        bench.begin()
    assert len(bench.sent) == 2
    assert bench.stalls == 0
    bench.clock.advance(10)
    assert bench.stalls == 1


def test_several_in_a_row_without_an_answer_are_a_stall_one_now_and_then_is_none() -> None:
    bench = Bench(limit=10)
    for _ in range(10):
        bench.begin()
        bench.clock.advance(10)
        bench.begin()
        bench.answer(len(bench.sent) - 1, "well")
    assert bench.stalls == 0
    for _ in range(STALLED):
        bench.begin()
    bench.clock.advance(10)
    assert bench.stalls == 1


def test_a_lost_connection_fails_all_and_begins_anew() -> None:
    bench = Bench()
    for _ in range(4):
        bench.begin()
    old = list(bench.sent)
    bench.calls.lost("it is gone")
    assert bench.problems() == [Problem.UNREACHABLE] * 4
    assert bench.results[3].value.message == "it is gone"
    assert not bench.clock.getDelayedCalls()
    for _ in range(2):
        bench.begin()
    for future in old:
        future.set_result("of the old one")
    bench.clock.take_in()
    assert bench.problems()[4:] == [None, None]
    bench.answer(3, "well")
    assert bench.results[5] == "well"


def test_a_stream_that_is_closed_without_an_answer_may_be_a_connection_that_is_lost() -> None:
    bench = Bench()
    bench.begin()
    bench.answer(0, StreamClosedError())
    bench.clock.advance(GRACE / 2)
    bench.calls.lost("it is gone")
    assert bench.problems() == [Problem.UNREACHABLE]
    bench.clock.advance(GRACE)
    bench.begin()
    bench.answer(1, StreamClosedError())
    bench.clock.advance(GRACE)
    assert bench.problems()[1] is Problem.UNSUPPORTED


def test_what_cannot_be_sent_fails_and_the_next_one_goes() -> None:
    bench = Bench()

    def send() -> Future[Any]:
        raise TypeError("no such argument")

    with pytest.raises(IpcError, match="no such argument") as caught:
        raised(bench.calls.begin(send))
    assert caught.value.problem is Problem.INVALID
    bench.begin()
    bench.answer(0, "well")
    assert bench.results == ["well"]


def test_who_cancels_gives_up_the_turn_or_drops_the_answer() -> None:
    bench = Bench(limit=1)
    under_way, waiting = bench.begin(), bench.begin()
    bench.begin()
    for answer in under_way, waiting:
        answer.cancel()
    assert all(result.check(CancelledError) for result in bench.results[:2])
    bench.answer(0, "dropped")
    bench.answer(1, "well")
    assert (len(bench.sent), bench.results[2]) == (2, "well")
    bench.clock.advance(20)
    assert (bench.stalls, bench.clock.getDelayedCalls()) == (0, [])


def test_a_stall_is_seen_though_nobody_waits_so_long() -> None:
    bench = Bench()
    for _ in range(STALLED):
        bench.begin().cancel()
    bench.clock.advance(10)
    assert bench.stalls == 0  # the last was never sent
    bench.begin().cancel()
    for _ in range(STALLED):
        bench.begin()
    bench.clock.advance(10)
    assert bench.stalls == 1


def test_a_call_begun_by_the_failure_of_another_has_its_own_time() -> None:
    bench = Bench(limit=10)
    first = bench.calls.begin(bench._send)

    def again(_: object) -> None:
        bench.begin()

    first.addErrback(again)
    bench.clock.advance(10)
    assert bench.problems() == [None]
    bench.clock.advance(10)
    assert bench.problems() == [Problem.TIMEOUT]


def raised(answer: Deferred[Any]) -> None:
    results: list[Any] = []
    answer.addBoth(results.append)
    results[0].raiseException()


# From thread to thread.


def test_a_burst_is_one_wake_up_and_stays_in_order() -> None:
    clock = Threads()
    hand_over = HandOver(clock)
    seen: list[int] = []
    for number in range(100):
        hand_over(seen.append, number)
    assert len(clock.handed) == 1
    clock.take_in()
    assert seen == list(range(100))
    hand_over(seen.append, 100)
    assert len(clock.handed) == 1
    clock.take_in()
    assert seen[-1] == 100


def test_what_comes_meanwhile_is_taken_over_in_its_own_turn() -> None:
    clock = Threads()
    hand_over = HandOver(clock)
    seen: list[int] = []

    def more(number: int) -> None:
        seen.append(number)
        hand_over(more, number + 1)

    hand_over(more, 0)
    for _ in range(3):
        clock.take_in()
    assert seen == [0, 1, 2]


def test_one_that_fails_is_logged_and_disturbs_nobody(logged_errors: ExpectErrors) -> None:
    logged_errors("handed over")
    clock = Threads()
    hand_over = HandOver(clock)
    seen: list[int] = []
    hand_over(int, "no number")
    hand_over(seen.append, 1)
    clock.take_in()
    assert seen == [1]
