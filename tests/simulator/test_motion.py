"""How the values of a simulated device move, and what its table says."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from victron_twin.simulator import tables
from victron_twin.simulator.bus import Bus, Range, Service, Value
from victron_twin.simulator.device import Device
from victron_twin.simulator.motion import Weather, motion
from victron_twin.simulator.rules import Rule
from victron_twin.simulator.tables import Kind, Row

PATHS: dict[str, Value] = {"/A": 6.0, "/B": 4.0, "/L1": 1.0, "/L2": 2.0, "/L3": None, "/Text": "x", "/Zero": 0.0}


def weather(**values: Value) -> Any:
    """A world with one meter: the least that motions need."""
    meter = Service("grid", 30, "com.victronenergy.grid.x", {**PATHS, **{f"/{k}": v for k, v in values.items()}})
    return SimpleNamespace(bus=Bus([meter]), time=1_782_000_000.0, light=500.0, hour=15.0)


def moved(said: str, start: Value = 0.0, seconds: float = 10.0, times: int = 1) -> Value:
    """What becomes of a value in so many steps."""
    move = motion(said, "grid/30", start, cast("Weather", weather()), Random(1))
    value = start
    for _ in range(times):
        value = move(value if isinstance(value, (int, float)) else 0.0, seconds)
    return value


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("sum /A /B", 10.0),
        ("sum /L{1-3}", 3.0),
        ("sum /L3", None),
        ("product /A /B 0.5", 12.0),
        ("product /A /L3", None),
        ("ratio /A /B", 1.5),
        ("ratio /A /B -2", -3.0),
        ("ratio /A /Zero", 0.0),
        ("ratio /L3 /A", None),
        ("same /Text", "x"),
        ("same grid/30/B", 4.0),
        ("same grid/31/B", None),
        ("sun 3000", 1500.0),
        ("day 10 20", 20.0),
        ("clock", 1_782_000_000),
    ],
)
def test_what_a_verb_says(said: str, value: Value) -> None:
    assert moved(said) == value


def test_counters_go_on_from_where_they_stood() -> None:
    assert moved("energy /A", 100.0, seconds=3600.0, times=2) == pytest.approx(100.012)
    assert moved("drawn /A", 100.0, seconds=3600.0, times=2) == 100.0
    assert moved("charge /A", 100.0, seconds=1800.0, times=2) == pytest.approx(106.0)
    assert moved("runs /A", 50, seconds=10.0, times=3) == 80
    assert moved("runs /Zero", 50, seconds=10.0, times=3) == 50
    assert 90 <= int(str(moved("counts 10", 0, seconds=5.0, times=200))) <= 110


@given(st.integers(0, 1000), st.floats(0.01, 100.0), st.floats(0.5, 600.0))
def test_what_wanders_stays_about(seed: int, spread: float, seconds: float) -> None:
    move = motion(f"about {spread} 60", "grid/30", 20.0, cast("Weather", weather()), Random(seed))
    for _ in range(20):
        value = move(0.0, seconds)
        assert isinstance(value, float)
        assert abs(value - 20.0) <= 2.5 * spread + 1e-9


def test_one_of_several_values() -> None:
    assert {moved("either 20 1.0 2.0", 1.0, times=number) for number in range(30)} == {1.0, 2.0}
    assert moved("either 1000000 1.0 2.0", 1.0, times=3) == 1.0


# Tables


@pytest.mark.parametrize(
    ("takes", "rule"),
    [
        ("text", Rule(text=True)),
        ("0|1", Rule(choices=(0, 1))),
        ("1 action", Rule(choices=(1,), action=True)),
        ("-1..2.5 lapses", Rule(limits=(-1.0, 2.5), lapses=60.0)),
        ("0..100 clips if /Adjustable=1", Rule(limits=(0.0, 100.0), clips=True, needs=("/Adjustable", 1))),
        ("0..1 owned", Rule(limits=(0.0, 1.0), owner=True)),
    ],
)
def test_what_a_path_takes(takes: str, rule: Rule) -> None:
    assert tables.rule(takes) == rule


@pytest.mark.parametrize(("takes", "limits"), [("0..5", (0, 5)), ("0.0..", (0.0, None)), ("..0.0", (None, 0.0))])
def test_what_range_a_setting_publishes(takes: str, limits: Range) -> None:
    assert tables.limits(takes) == limits
    assert [type(limit) for limit in tables.limits(takes)] == [type(limit) for limit in limits]


def test_the_values_of_a_table() -> None:
    rows = {row.path: row for row in tables.rows("battery_lynx")}
    assert rows["/Soc"].step == pytest.approx(0.1)
    assert rows["/TimeToGo"].value is None
    assert rows["/TimeToGo"].step == pytest.approx(0.1)
    assert rows["/Mode"].whole
    assert rows["/System/MaxVoltageCellId"].value == "2"
    assert rows["/History/Clear"] == Row("/History/Clear", None, 0, "1 action", "")
    assert "/x/Voltages/Cell16" in {row.path for row in tables.rows("battery_lynx", "/x")}


def test_each_device_has_its_own_instance_and_name() -> None:
    kinds = tables.devices()
    assert len({kind.service.key for kind in kinds}) == len(kinds)
    assert len({kind.service.name for kind in kinds}) == len(kinds)
    lynx = next(kind.service for kind in kinds if kind.service.key == "battery/0")
    assert lynx.values["/Devices/0/ServiceName"] == lynx.name
    assert lynx.values["/Devices/0/ProductId"] == lynx.values["/ProductId"] == 0xA3E6
    assert lynx.values["/N2kUniqueNumber"] == 400_000
    assert lynx.values["/CustomName"] == lynx.values["/Devices/0/CustomName"] == "House bank"


def test_a_device_measures_when_it_is_time_and_in_the_form_of_its_table() -> None:
    rows = [Row("/Whole", 0, 1, "", ""), Row("/Tenths", 0.0, 0.1, "", ""), Row("/Twice", 0.0, 0.1, "", "sum /Tenths")]
    service = Service("grid", 31, "com.victronenergy.grid.y", {row.path: row.value for row in rows})
    world = weather()
    world.bus = Bus([service])
    device = Device(Kind(service, {row.path: row for row in rows}, "", 5.0), world, Random(1))
    passed: list[float] = []

    def driver(it: Device) -> None:
        passed.append(it.passed)
        it.all({"/Whole": 2.6, "/Tenths": 1.26, "/Unknown": 1})

    device.drive(driver)
    for _ in range(11):
        device.refresh()
        world.time += 1.0
    assert passed == [0.0, 5.0, 5.0]
    assert service.values["/Whole"] == 3
    assert service.values["/Tenths"] == service.values["/Twice"] == pytest.approx(1.3)
    assert "/Unknown" not in service.values
