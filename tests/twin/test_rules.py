from __future__ import annotations

from typing import Any

import pytest

from tests.support import CATALOG
from victron_twin.twin.rules import RULES, Memory


def make(rule: str, *values: Any, memory: Memory | None = None, **binding: str) -> Any:
    return RULES[rule](values, memory or Memory(CATALOG, binding))


@pytest.mark.parametrize(
    ("rule", "values", "made"),
    [
        ("negate", (-49.0,), 49.0),
        ("negate", (0.0,), 0.0),
        ("negate", (3.0,), 0.0),
        ("negate", (None,), None),
        ("power", (None, 12.0, -5.0), -60.0),
        ("power", (-64.7, 12.0, -5.0), -64.7),
        ("power", (None, 12.0, None), None),
        ("unless_zero", (23.4, 1), 23.4),
        ("unless_zero", (23.4, None), 23.4),
        ("unless_zero", (23.4, 0), None),
        ("time_to_go", (864000,), None),
        ("time_to_go", (863999.9375,), None),
        ("time_to_go", (28800,), 28800),
        ("firmware", (776,), "v3.08"),
        ("firmware", (0x0331FF,), "v3.31"),
        ("firmware", (0x033102,), "v3.31-beta-02"),
        ("firmware", ("v1.2",), "v1.2"),
        ("hex_digits", (1154,), "482"),
        ("sum", (None, None), None),
        ("sum", (None, 4.0, 1), 5.0),
        ("first", (None, 4.0), 4.0),
        ("strip_slash", ("/UTC",), "UTC"),
        ("strip_slash", ("Europe/Amsterdam",), "Europe/Amsterdam"),
        ("low_bits", (0x45,), 5),
        ("low_bits", (4.0,), 4),
        ("low_bits", (None,), None),
        ("low_bits", ("x",), "x"),
        ("error_id", ("dse:e-4097",), "Low oil pressure (dse:e-4097)"),
        ("error_id", ("cummins:w-175.0",), "Oil temp exceeds limit (cummins:w-175.0)"),
        ("error_id", ("wakespeed:e-133",), "Internal error (wakespeed:e-133)"),
        ("error_id", ("comap:e-1",), "Unknown (comap:e-1)"),
        ("error_id", ("",), "No error"),
        ("error_id", (None,), None),
        ("error_id", (7,), 7),
        ("alternator_error", (0, None), "No error"),
        ("alternator_error", (67, 0xA3F0), "BMS connection lost (67)"),
        ("alternator_error", (21.0, 0xB080), "Alternator high temperature (wakespeed:e-21)"),
        ("alternator_error", (21, None), "Alternator high temperature (wakespeed:e-21)"),
        ("alternator_error", (None, 0xA3F0), None),
        ("alternator_error", ("E21", 0xB080), "E21"),
        ("kilopascals", (100.19,), 100.19),
        ("kilopascals", (1013,), 101.3),
        ("kilopascals", (None,), None),
        ("output_status", (0,), 0),
        ("output_status", (9,), 0x100),
        ("output_status", (9.0,), 0x100),
        ("output_status", (0x4D,), 0x144),
        ("output_status", (8,), 8),
        ("output_status", ("on",), "on"),
        ("dimming", (40, 2), 40),
        ("dimming", (40, None), 40),
        ("dimming", (21.5, 3), None),
        ("set_value", (21.5, 3), 21.5),
        ("set_value", (40, 2), None),
        ("on_off", (1, 1), 1),
        ("on_off", (1, 6), None),
        ("choice", (2, 6), 2),
        ("choice", (1, 1), None),
        ("ess_mode", (3, 1), 3),
        ("ess_mode", (1, 9), 2),
        ("ess_mode", (2, 10), 1),
        ("ess_mode", (1, 4), 0),
        ("ess_mode", (1, None), None),
    ],
)
def test_makes(rule: str, values: tuple[Any, ...], made: Any) -> None:
    assert make(rule, *values) == made


def test_consumption_of_a_phase_that_is_not_there_is_zero() -> None:
    assert make("consumption", None, None, None, 1, phase="2") == 0
    assert make("consumption", None, 30.0, 12.0, 1, phase="1") == 42.0
    assert make("consumption", 250.0, 30.0, 12.0, 3, phase="3") == 250.0
    assert make("consumption", None, None, None, None, phase="1") is None


def test_a_dark_panel_has_no_current_until_it_is_clearly_bright() -> None:
    memory = Memory(CATALOG, {})
    volts = (0.5, 1.5, 2.5, 1.5, 0.9, 1.5)
    made = [make("ratio", 3.0, v, memory=memory) is not None for v in volts]
    assert made == [False, False, True, True, False, False]


def test_a_counter_that_reads_zero_at_wake_up_has_no_value() -> None:
    memory = Memory(CATALOG, {})
    assert [make("counter", n, memory=memory) for n in (0, 12.5, 0, 12.6)] == [0, 12.5, None, 12.6]


def test_efficiency_is_energy_weighted_over_a_minute_and_omitted_in_faint_sun() -> None:
    memory = Memory(CATALOG, {})

    def at(now: float, panel: float) -> Any:
        memory.now = now
        return make("efficiency", 12.0, 9.5, None, panel, None, memory=memory)

    assert at(0, 120.0) is None
    assert at(30, 120.0) is None
    assert at(61, 120.0) == pytest.approx(95.0)
    assert at(70, 10.0) is None
    assert at(71, 120.0) is None, "a new minute begins"


def test_efficiency_above_hundred_is_flagged_not_shown() -> None:
    memory = Memory(CATALOG, {})
    for now in (0, 61):
        memory.now = now
        assert make("efficiency", 12.0, 20.0, None, 120.0, None, memory=memory) is None
    assert memory.kept["implausible"] == 1.0
