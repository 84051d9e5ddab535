"""Turns below the limits of Shadow Manager: never too many in any second, none forgotten, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from victron_twin.shadows.pace import Pace

EPOCH = 1_700_000_000.3


class Bench:
    def __init__(self, per_thing: float | None = 18.0, total: float | None = 180.0) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.pace = Pace(self.clock, per_thing, total)
        self.given: list[tuple[float, str, int]] = []
        self.asked = 0

    def ask(self, thing: str = "t", count: int = 1) -> list[Deferred[None]]:
        turns = []
        for _ in range(count):
            turn = self.pace.turn(thing)
            turn.addCallbacks(self._note, lambda _: None, callbackArgs=(thing, self.asked))
            self.asked += 1
            turns.append(turn)
        return turns

    def _note(self, _: None, thing: str, number: int) -> None:
        self.given.append((self.clock.seconds(), thing, number))

    def run(self, seconds: float) -> None:
        self.clock.pump([0.005] * round(seconds / 0.005))

    def most(self, thing: str | None = None) -> int:
        """The most turns in any second."""
        times = [at for at, name, _ in self.given if thing in (None, name)]
        return max(sum(begin <= at <= begin + 1.0 for at in times) for begin in times)


class Guava:
    """The limiter of Shadow Manager, as its documentation describes it: what is saved up, and who pays for the next."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.saved = 0.0
        self.free: float | None = None

    def take(self, now: float) -> bool:
        if self.free is None:
            self.free = now
        if now < self.free - 1e-6:
            return False
        self.saved = min(self.rate, self.saved + max(now - self.free, 0.0) * self.rate)
        self.free = now + max(0.0, 1.0 - self.saved) / self.rate
        self.saved = max(0.0, self.saved - 1.0)
        return True


def test_a_burst_is_spread_and_kept_in_order() -> None:
    bench = Bench()
    bench.ask(count=90)
    assert [number for _, _, number in bench.given] == [0]
    bench.run(5.1)
    assert [number for _, _, number in bench.given] == list(range(90))
    assert bench.most() <= 19
    assert bench.given[-1][0] - EPOCH == pytest.approx(89 / 18, abs=0.1)


def test_the_total_is_shared_fairly() -> None:
    bench = Bench()
    things = [f"t{n}" for n in range(20)]
    for thing in things:
        bench.ask(thing, 20)
    bench.run(1.0)
    assert 170 <= len(bench.given) <= 190
    shares = [sum(name == thing for _, name, _ in bench.given) for thing in things]
    assert max(shares) - min(shares) <= 1
    bench.run(2.0)
    assert len(bench.given) == 400


def test_what_is_cancelled_is_left_out() -> None:
    bench = Bench()
    turns = bench.ask(count=10)
    for turn in turns[1:9]:
        turn.cancel()
    bench.run(0.06)
    assert [number for _, _, number in bench.given] == [0, 9]
    assert not bench.clock.getDelayedCalls()
    (only,) = bench.ask()
    only.cancel()
    assert not bench.clock.getDelayedCalls()


def test_a_turn_that_is_cancelled_by_the_one_before_is_not_given() -> None:
    bench = Bench(per_thing=1.0, total=None)
    bench.ask("a")
    bench.ask("b")
    (first,) = bench.ask("a")
    (second,) = bench.ask("b")
    first.addCallback(lambda _: second.cancel())
    bench.run(2.0)
    assert [number for _, _, number in bench.given] == [0, 1, 2]


def test_without_limits_each_has_its_turn_at_once() -> None:
    bench = Bench(None, None)
    bench.ask(count=1000)
    assert len(bench.given) == 1000


def test_a_thing_that_was_too_fast_all_the_same_pauses() -> None:
    bench = Bench()
    bench.ask()
    bench.pace.slow("t", 2.0)
    bench.ask()
    bench.ask("other")
    bench.run(1.9)
    assert [name for _, name, _ in bench.given] == ["t", "other"]
    bench.run(0.2)
    assert len(bench.given) == 3


def test_a_lifted_limit_can_be_paused_too() -> None:
    bench = Bench(None, None)
    bench.pace.slow("t", 2.0)
    bench.ask()
    assert not bench.given
    bench.run(2.1)
    assert len(bench.given) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30), st.floats(0, 3)), max_size=12))
def test_no_pattern_of_requests_is_refused(pattern: list[tuple[str, int, float]]) -> None:
    """Neither by a count over any second, nor by the limiter that Shadow Manager has."""
    bench = Bench()
    for thing, count, pause in pattern:
        bench.ask(thing, count)
        bench.run(pause)
    bench.run(30)
    assert len(bench.given) == bench.asked
    limiters = {"a": Guava(20), "b": Guava(20)}
    total = Guava(200)
    for thing, limiter in limiters.items():
        turns = [(at, number) for at, name, number in bench.given if name == thing]
        assert turns == sorted(turns)
        if turns:
            assert bench.most(thing) <= 19
        for at, _ in turns:
            assert limiter.take(at)
    for at, _, _ in bench.given:
        assert total.take(at)
