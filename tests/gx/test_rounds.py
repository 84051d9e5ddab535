"""When a picture of a GX is whole, and what is taken as gone then."""

from __future__ import annotations

import json

import pytest
from twisted.internet.task import Clock

from tests.support import CATALOG
from victron_twin.gx.rounds import AGAIN, LATER, ROUND, Rounds
from victron_twin.twin.twin import Twin

PORTAL = "c0619ab2d3e4"
WHOLE = ("system/0/Serial", "settings/0/Settings/System/TimeZone", "platform/0/Device/Model", "battery/512/Soc")


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.twin = Twin(CATALOG, lambda trouble, where, value: None)
        self.twin.portal = PORTAL
        self.asked: list[str] = []
        self.times: list[float] = []
        self.rounds = Rounds(self.clock, self.twin, self._ask, self._trust)
        self.rounds.begin()

    def _ask(self, options: bytes) -> None:
        (option,) = json.loads(options)["keepalive-options"]
        self.asked.append(option["full-publish-completed-echo"])

    def _trust(self) -> None:
        self.times.append(self.clock.seconds())

    def publish(self, *tails: str) -> None:
        self.clock.advance(0.1)
        for tail in tails:
            self.twin.receive(f"N/{PORTAL}/{tail}".encode(), b'{"value":1}', self.clock.seconds())

    @property
    def trusted(self) -> int:
        """How often the picture was said to be whole."""
        return len(self.times)

    def there(self, battery: str) -> bool:
        return self.twin.devices["battery", battery].connected

    def complete(self, echo: str | None = None) -> None:
        said = {"full-publish-completed-echo": echo or self.asked[-1], "value": 1}
        self.rounds.completed(json.dumps(said).encode())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_two_that_agree_are_trusted(bench: Bench) -> None:
    bench.publish(*WHOLE)
    bench.complete()
    assert bench.twin.complete
    assert bench.times == []
    bench.clock.advance(AGAIN[0])
    bench.publish(*WHOLE)
    bench.complete()
    assert bench.trusted == 1
    bench.clock.advance(100)
    assert len(bench.asked) == 2


def test_a_seventh_of_the_topics_is_asked_for_again_and_nothing_is_taken_as_gone(bench: Bench) -> None:
    bench.twin.restore("victron-battery", {"deviceInstance": 512, "connected": True, "since": "2023-11-01T00:00:00Z"})
    bench.publish(WHOLE[0])
    bench.complete()
    assert not bench.twin.complete
    bench.clock.advance(AGAIN[0])
    bench.publish(*WHOLE[:3])
    bench.complete()
    assert bench.times == []
    assert bench.there("512")
    bench.clock.advance(AGAIN[1])
    bench.publish(*WHOLE[:3])
    bench.complete()
    assert bench.trusted == 1
    assert not bench.there("512")


def test_what_is_no_whole_gx_is_taken_as_it_is_and_nothing_as_gone(bench: Bench) -> None:
    bench.twin.restore("victron-battery", {"deviceInstance": 513, "connected": True, "since": "2023-11-01T00:00:00Z"})
    for wait in (*AGAIN[:2], 0):
        bench.publish(WHOLE[3])
        bench.complete()
        bench.clock.advance(wait)
    assert bench.trusted == 1
    assert bench.there("513")


def test_a_round_ends_by_itself_where_the_firmware_does_not_tell(bench: Bench) -> None:
    for wait in (AGAIN[0], 0):
        bench.publish(*WHOLE)
        bench.clock.advance(ROUND)
        bench.clock.advance(wait)
    assert bench.trusted == 1


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"full-publish-completed-echo":7}'])
def test_what_is_no_completion_of_ours_ends_nothing(bench: Bench, payload: bytes) -> None:
    bench.publish(*WHOLE)
    bench.rounds.completed(payload)
    bench.complete("another client's")
    assert not bench.twin.complete


def test_a_late_completion_does_not_count_for_the_next_round(bench: Bench) -> None:
    bench.publish(*WHOLE)
    bench.clock.advance(ROUND)
    bench.complete()
    bench.complete()
    assert bench.times == []


def test_nothing_is_asked_after_the_end(bench: Bench) -> None:
    bench.rounds.end()
    bench.clock.advance(1000)
    assert len(bench.asked) == 1
    assert not bench.rounds.brought_something


def test_a_gx_that_dropped_what_it_was_asked_is_asked_again(bench: Bench) -> None:
    """It went on to say what moves, and nothing else: that is no whole picture, and the rest comes later."""
    for _ in range(len(AGAIN)):
        bench.publish("battery/512/Soc")
        bench.clock.advance(ROUND)
        bench.clock.advance(max(AGAIN))
    assert bench.trusted == 1
    assert "system" not in {service for service, _ in bench.twin.devices}
    asked = len(bench.asked)
    bench.clock.advance(LATER)
    assert len(bench.asked) == asked + 1
    for _ in range(2):
        bench.publish(*WHOLE)
        bench.complete()
        bench.clock.advance(AGAIN[0])
    assert bench.trusted == 2
    assert bench.twin.devices["system", "0"].connected
    asked = len(bench.asked)
    bench.clock.advance(3 * LATER)
    assert len(bench.asked) == asked
