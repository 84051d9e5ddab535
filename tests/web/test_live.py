"""The live stream: what is sent to whom, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.web.server import Site

from tests.conftest import ExpectErrors
from tests.simulation.world import World
from victron_twin.web.live import COMMENT_EVERY, MOST_FOLLOWERS, MOST_SKIPPED, Live

from .pages import Reader, pages


class Bench:
    """A live stream of pieces that the test sets."""

    def __init__(self, folder: Path) -> None:
        world = World(folder, 1)
        self.clock = world.clock
        self.pieces: dict[str, Any] = {"health": {"n": 1}, "shadow/van/a": {"v": 1}, "shadow/van/b": {"v": 1}}
        made, self.live = pages(self.clock, world.process.core, lambda: self.pieces)
        self.site: Site = cast("Any", Site)(made.app.resource(), reactor=self.clock)
        self.live.startService()

    def reader(self) -> Reader:
        return Reader(self.site)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.advance(1)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_first_everything_then_only_what_has_changed(bench: Bench) -> None:
    reader = bench.reader()
    assert reader.status == 200
    assert reader.headers["content-type"] == "text/event-stream"
    assert reader.headers["cache-control"] == "no-store"
    assert reader.take() == [("health", {"n": 1}), ("shadow", {"v": 1}), ("shadow", {"v": 1})]
    bench.tick(3)
    assert reader.take() == []
    bench.pieces["shadow/van/b"] = {"v": 2}
    bench.tick()
    assert reader.take() == [("shadow", {"v": 2})]
    bench.pieces["shadow/van/c"] = {"v": 3}
    bench.tick()
    assert reader.take() == [("shadow", {"v": 3})]


def test_a_slow_reader_gets_the_newest_only(bench: Bench) -> None:
    slow, quick = bench.reader(), bench.reader()
    slow.take(), quick.take()
    slow.pause()
    for n in range(2, 50):
        bench.pieces["health"] = {"n": n}
        bench.tick()
        assert quick.take() == [("health", {"n": n})]
    assert slow.take() == []
    slow.resume()
    bench.tick()
    assert slow.take() == [("health", {"n": 49})]


def test_what_went_and_came_back_while_a_reader_was_slow_is_no_news(bench: Bench) -> None:
    reader = bench.reader()
    reader.take()
    reader.pause()
    bench.pieces["health"] = {"n": 2}
    bench.tick()
    bench.pieces["health"] = {"n": 1}
    reader.resume()
    bench.tick()
    assert reader.take() == []


def test_a_reader_that_takes_nothing_for_long_has_gone(bench: Bench) -> None:
    reader, other = bench.reader(), bench.reader()
    reader.pause()
    bench.tick(MOST_SKIPPED)
    assert not reader.ended
    bench.tick()
    assert reader.ended
    assert not other.ended
    bench.tick(120)  # the channel gives the connection up when it stays idle
    assert not reader.connected


def test_a_reader_that_leaves_makes_room(bench: Bench) -> None:
    readers = [bench.reader() for _ in range(MOST_FOLLOWERS)]
    assert bench.reader().status == 503
    readers[5].leave()
    assert bench.reader().status == 200
    assert bench.reader().status == 503
    bench.tick()
    assert all(not reader.ended for reader in readers)


def test_a_quiet_stream_says_that_it_is_there(bench: Bench) -> None:
    reader = bench.reader()
    bench.tick(2 * COMMENT_EVERY)
    assert reader.comments() == 2


def test_the_end_of_the_service_ends_the_streams(bench: Bench) -> None:
    readers = [bench.reader(), bench.reader()]
    readers[0].pause()
    bench.live.stopService()
    assert all(reader.ended for reader in readers)
    assert bench.reader().status == 503
    bench.live.stopService()


def test_a_service_that_starts_again(bench: Bench) -> None:
    bench.live.stopService()
    bench.live.startService()
    reader = bench.reader()
    reader.take()
    bench.pieces["health"] = {"n": 2}
    bench.tick()
    assert reader.take() == [("health", {"n": 2})]


def test_asking_for_the_headers_only_follows_nothing(bench: Bench) -> None:
    for _ in range(MOST_FOLLOWERS + 1):
        reader = Reader(bench.site, "HEAD")
        assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream")
    assert bench.reader().status == 200


def test_pieces_that_cannot_be_made_are_told_of_once_and_end_nothing(bench: Bench, logged_errors: ExpectErrors) -> None:
    logged_errors("What the page shows could not be put together")
    reader = bench.reader()
    reader.take()
    bench.pieces["health"] = {"n": object()}
    bench.tick(5)
    assert reader.take() == []
    bench.pieces["health"] = {"n": 2}
    bench.tick()
    assert reader.take() == [("health", {"n": 2})]


def test_nothing_is_put_together_while_nobody_follows(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    asked: list[int] = []

    def pieces() -> dict[str, Any]:
        asked.append(1)
        return {}

    live = Live(world.clock, pieces)
    live.startService()
    for _ in range(10):
        world.clock.advance(1)
    assert not asked
    live.stopService()


@pytest.fixture(autouse=True)
def _nothing_left(bench: Bench) -> Iterator[None]:
    yield
    bench.live.stopService()
