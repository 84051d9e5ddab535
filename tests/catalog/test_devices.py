"""Sensors, generators, inputs and outputs: what may be written to them, and what depends on the kind of an output."""

from __future__ import annotations

import pytest

from tests.support import CATALOG
from victron_twin.catalog import Catalog
from victron_twin.catalog.commands import ANY, Class
from victron_twin.twin.desires import Known
from victron_twin.twin.flat import Path
from victron_twin.twin.plan import plan
from victron_twin.twin.policy import Policy
from victron_twin.twin.readings import Trouble, Value
from victron_twin.twin.twin import Twin


@pytest.fixture
def catalog() -> Catalog:
    return CATALOG


def heard(*messages: tuple[str, object]) -> Twin:
    """A twin after these messages: ``("switch/0/State", 256)``."""
    troubles: list[tuple[Trouble, str, object]] = []
    twin = Twin(CATALOG, lambda *trouble: troubles.append(trouble))
    twin.portal = "c0619ab2d3e4"
    for topic, value in messages:
        text = f'"{value}"' if isinstance(value, str) else "null" if value is None else str(value)
        twin.receive(f"N/c0619ab2d3e4/{topic}".encode(), f'{{"value":{text}}}'.encode(), 1000.0)
    twin.settle()
    twin.sheets(1000.0)
    assert not troubles
    return twin


def shown(*messages: tuple[str, object]) -> dict[Path, Value]:
    """The leaves of all devices after these messages."""
    twin = heard(*messages)
    leaves = [(path[2:], v) for sheet in twin.sheets(1000.0).values() for path, v in sheet.values.items()]
    return {path: v for path, v in leaves if path}


def test_a_generator_is_started_by_an_action(catalog: Catalog) -> None:
    """Its own reading stands beside it, because the name of an action shows what was last asked."""
    start = catalog.commands.of("victron-genset", "manualStart", "generator")
    assert start is not None
    assert (start.kind, start.guards) == (Class.ACTION, ())
    leaves = shown(("generator/0/ManualStart", 1), ("generator/0/State", 1))
    assert ("manualStart",) not in leaves
    assert leaves["manuallyStarted",] is True
    assert leaves["state",] == "Running"


@pytest.mark.parametrize(
    ("service", "path"), [("genset", "/Start"), ("dcgenset", "/Start"), ("dcgenset", "/Link/ChargeVoltage")]
)
def test_what_the_gx_writes_itself_is_not_writable(catalog: Catalog, service: str, path: str) -> None:
    found = catalog.match(service, path)
    assert found
    assert not any(field.writable for field, _ in found)


def test_what_harms_or_rewires_is_guarded(catalog: Catalog) -> None:
    names = (
        "type function settings.polarity settings.fuseRating settings.fuseDetection settings.outputLimitMax setValue"
    )
    for name in names.split():
        command = catalog.commands.of("victron-io", f"outputs.relay_1.{name}", "switch")
        assert command is not None, name
        assert command.guards == (ANY,), name


def test_errors_of_a_generator() -> None:
    leaves = shown(
        ("genset/0/ErrorCode", 7),
        ("genset/0/Error/0/Id", "dse:e-4097"),
        ("genset/0/Error/1/Id", "comap:w-3"),
        ("genset/0/Error/2/Id", ""),
        ("genset/0/Error/3/Id", None),
    )
    assert {path: value for path, value in leaves.items() if path[0].startswith("error")} == {
        ("error",): "Oil pressure too low (7)",
        ("errors", "0"): "Low oil pressure (dse:e-4097)",
        ("errors", "1"): "Unknown (comap:w-3)",
        ("errors", "2"): "No error",
    }


@pytest.mark.parametrize(
    ("kind", "state", "dimming", "expected"),
    [
        (1, 1, None, {"state": "On"}),
        (2, 0, 40, {"state": "Off", "dimming": 40}),
        (3, 1, 21.5, {"state": "On", "setValue": 21.5}),
        (6, 2, None, {"choice": 2}),
        (None, 1, 40, {"state": "On", "dimming": 40}),
    ],
)
def test_an_outputs_paths_mean_what_its_type_says(
    kind: int | None, state: int, dimming: float | None, expected: dict[str, Value]
) -> None:
    base = "switch/51/SwitchableOutput/pwm_1"
    leaves = shown((f"{base}/State", state), (f"{base}/Dimming", dimming), (f"{base}/Settings/Type", kind))
    output = {path[2]: value for path, value in leaves.items() if path[:2] == ("outputs", "pwm_1")}
    output.pop("type", None)
    assert output == expected


@pytest.mark.parametrize(
    ("kind", "field", "asked", "write"),
    [
        (2, "dimming", 50, ("/SwitchableOutput/1/Dimming", 50)),
        (3, "dimming", 50, None),
        (1, "choice", 1, None),
        (6, "choice", 2, ("/SwitchableOutput/1/State", 2)),
        (6, "state", "On", None),
        (1, "state", "On", ("/SwitchableOutput/1/State", 1)),
    ],
)
def test_only_what_an_output_has_is_written(
    kind: int, field: str, asked: object, write: tuple[str, float] | None
) -> None:
    twin = heard(
        ("switch/0/SwitchableOutput/1/State", 0),
        ("switch/0/SwitchableOutput/1/Dimming", 21.5),
        ("switch/0/SwitchableOutput/1/Settings/Type", kind),
    )
    known = Known(twin, Policy("all"), {}, {}, {}, (), live=True, offset=0.0, now=1000.0)
    desired = {"devices": {"switch-0": {"outputs": {"1": {field: asked}}}}}
    made = plan("victron-io", desired, known)
    assert [(w.path, w.raw) for order in made.orders for w in order.writes] == ([write] if write else [])
    if write is None:
        [verdict] = made.verdicts
        assert verdict.reason == "is nothing that this output has, by its type"


def test_a_set_value_has_no_bounds_but_those_of_the_owner(catalog: Catalog) -> None:
    """Its unit and range depend on what hangs on the output."""
    [field] = [f for f, _ in catalog.match("switch", "/SwitchableOutput/1/Dimming") if f.name.endswith("setValue")]
    command = catalog.commands.of("victron-io", "outputs.1.setValue", "switch")
    assert (field.minimum, field.maximum) == (None, None)
    assert command is not None
    assert command.guards == (ANY,)


def test_an_output_that_is_on_has_no_fault() -> None:
    assert shown(("switch/0/SwitchableOutput/2/Status", 9))["outputs", "2", "status"] == "On"
    assert shown(("switch/0/SwitchableOutput/2/Status", 8))["outputs", "2", "status"] == "Output fault"


def test_pressure_is_in_kilopascals() -> None:
    assert shown(("temperature/28/Pressure", 100.19499969482422))["pressure",] == 100.19
    assert shown(("temperature/28/Pressure", 1013))["pressure",] == 101.3
