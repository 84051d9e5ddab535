"""When all is well, when not, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs

from tests.shadows.test_sync import Site
from tests.simulation.backends import FaultyBackend
from tests.simulation.world import World, simulate_paho
from victron_twin.health import MOST_TOLD, BadInput, Health
from victron_twin.shadows.local import LocalBackend
from victron_twin.shadows.parts import Cadences
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.readings import Trouble
from victron_twin.worker import InlineWorker


@pytest.fixture
def van(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, 1)
    restore = simulate_paho(world.clock)
    yield world
    world.stop()
    restore()


def health(world: World) -> Health:
    return world.process.core.health


def test_the_names_of_the_mission(van: World) -> None:
    van.run(60)
    report = health(van).report()
    now = van.clock.seconds()
    assert report["mqttConnected"] is True
    assert isinstance(report["lastDataReceived"], int)
    assert now - 5 <= report["lastDataReceived"] / 1000 <= now
    kinds = ("battery", "gps", "settings", "solarcharger", "system", "twin", "vebus")
    assert report["activeShadows"] == [f"victron-{kind}" for kind in kinds]
    assert report["connectionAttempts"] == 1
    assert report["uptime"] == 60_000


def test_more_than_that(van: World) -> None:
    van.run(60)
    report = health(van).report()
    assert report["healthy"] is True
    assert report["time"] == int(van.clock.seconds() * 1000)
    assert report["backend"] == "local"
    assert report["oldestUnacknowledged"] == 0
    assert report["problems"] == []
    (gx,) = report["gx"]
    assert gx == {
        "host": "venus.local",
        "portalId": van.site.portal_id,
        "connected": True,
        "state": "live",
        "lastDataReceived": report["lastDataReceived"],
        "problem": "",
    }


def test_the_reference_names_them_all(van: World) -> None:
    reference = (Path(__file__).parents[1] / "docs" / "http.md").read_text()
    report = health(van).report()
    assert [name for name in [*report, *report["gx"][0]] if f"`{name}`" not in reference] == []


def test_before_anything_was_heard(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.process.network.refuse = True
    world.process.network.cut()
    report = health(world).report()
    assert not health(world).healthy()
    assert (report["mqttConnected"], report["lastDataReceived"], report["activeShadows"]) == (False, None, [])


def test_a_gx_is_well_when_its_picture_is_complete_and_not_before(van: World) -> None:
    states = []
    for _ in range(300):
        state = health(van).report()["gx"][0]["state"]
        states.append(state)
        assert health(van).healthy() is (state == "live")
        van.run(0.1)
    assert list(dict.fromkeys(states)) == ["unknown", "filling", "live"]


def test_a_link_that_breaks_is_told_of_at_once_and_in_words(van: World) -> None:
    van.run(60)
    van.process.network.refuse = True
    van.process.network.cut()
    report = health(van).report()
    assert (report["healthy"], report["mqttConnected"], report["gx"][0]["state"]) == (False, False, "unknown")
    van.run(60)
    report = health(van).report()
    assert report["connectionAttempts"] > 2
    assert report["problems"][0].startswith("venus.local: ")
    assert report["gx"][0]["problem"]
    van.process.network.refuse = False
    van.run(120)
    assert health(van).healthy()
    assert health(van).problems() == []


def test_a_silent_gx_is_not_well_though_it_is_connected(van: World) -> None:
    van.run(60)
    before = health(van).report()["lastDataReceived"]
    van.process.network.freeze()
    van.run(16)
    report = health(van).report()
    assert (report["healthy"], report["mqttConnected"], report["gx"][0]["state"]) == (False, True, "silent")
    assert "silent" in report["problems"][0]
    assert report["lastDataReceived"] - before < 5_000
    van.process.network.thaw()
    van.run(120)
    assert health(van).healthy()


def test_updates_that_are_not_acknowledged_for_a_minute(van: World) -> None:
    van.run(60)
    van.process.backend.fault = "refuse"
    van.run(50)
    assert health(van).healthy()
    assert "victron-battery: refused" in health(van).problems()
    van.run(40)
    assert not health(van).healthy()
    assert health(van).report()["oldestUnacknowledged"] > 60
    van.process.backend.fault = ""
    van.run(120)
    assert health(van).healthy()
    assert health(van).problems() == []


def test_a_change_that_waits_for_others_is_no_trouble(tmp_path: Path) -> None:
    world = World(tmp_path, 1, BATCH_TIMEOUT="300000")
    world.run(60)
    waits = set()
    for _ in range(600):
        world.run(1)
        assert health(world).healthy()
        waits.add(health(world).report()["oldestUnacknowledged"])
    assert waits == {0}


@pytest.mark.parametrize("fault", ["refuse", "lose"])
def test_a_backend_that_was_never_there(tmp_path: Path, fault: str) -> None:
    clock = Clock()
    backend = FaultyBackend(clock, LocalBackend(tmp_path / "shadows.sqlite", clock, InlineWorker()))
    sync = ShadowSync(clock, backend, Cadences(), frozenset({"victron-battery"}), pytest.fail)
    made = Health(clock, "1.0", [], sync)
    sync.add("van", Site())
    backend.fault = fault
    sync.startService()
    clock.pump([0.1] * 590)
    assert made.healthy()
    clock.pump([0.1] * 20)
    assert not made.healthy()
    backend.fault = ""
    clock.pump([0.1] * 600)
    assert made.healthy()
    sync.stopService()


class TestBadInput:
    @pytest.fixture
    def told(self) -> Iterator[Sequence[LogEvent]]:
        with capturedLogs() as events:
            yield events

    def test_each_is_counted_and_each_kind_and_place_is_told_of_once(self, told: Sequence[LogEvent]) -> None:
        bad = BadInput()
        first, second = list(Trouble)[:2]
        for _ in range(1_000):
            bad(first, "battery/512/Soc", "x")
        bad(second, "battery/512/Soc", "x")
        bad(first, "battery/512/Dc/0/Voltage", "x")
        assert (bad.counts[first], bad.counts[second]) == (1_001, 1)
        assert len(told) == 3

    def test_what_is_remembered_for_that_is_bounded(self, told: Sequence[LogEvent]) -> None:
        bad = BadInput()
        for n in range(2 * MOST_TOLD):
            bad(next(iter(Trouble)), f"battery/{n}/Soc", None)
        assert len(told) == MOST_TOLD
        assert sum(bad.counts.values()) == 2 * MOST_TOLD

    def test_a_long_value_does_not_fill_the_log(self, told: Sequence[LogEvent]) -> None:
        BadInput()(next(iter(Trouble)), "battery/512/CustomName", "x" * 1_000_000)
        (event,) = told
        assert len(event["value"]) < 200
