"""A site with one device of every kind: each shows something, and every document holds to its schema."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support import CATALOG
from tests.twin.test_twin import Bench
from victron_twin.catalog.commands import Class
from victron_twin.catalog.model import Layout
from victron_twin.catalog.schema import schemas
from victron_twin.twin.readings import Trouble
from victron_twin.twin.writes import writes

SCHEMAS = schemas(CATALOG)
SERVICES = [s for kind in CATALOG.shadows.values() if kind.layout is not Layout.OWN for s in kind.services]


def site() -> Bench:
    """One device of each service, which sends what real ones do."""
    bench = Bench(CATALOG)
    bench.hear("system/0/Serial", "c0619ab2d3e4")
    with (Path(__file__).parent / "real_values.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            bench.hear(f"{row['service']}/0{row['path']}", json.loads(row["value"]))
    bench.twin.settle()
    return bench


def device(documents: dict[str, dict[str, Any]], service: str) -> dict[str, Any]:
    """Where the device of a service stands."""
    kind = CATALOG.shadow_of(service)
    assert kind is not None
    document = documents[kind.name]
    if kind.layout is Layout.PRIMARY:
        return document
    found: dict[str, Any] = document["devices"][f"{service}-0" if kind.layout is Layout.MIXED else "0"]
    return found


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    bench = site()
    made = {name: bench.shadow(name) for name in SCHEMAS}
    assert not [trouble for trouble in bench.troubles if trouble[0] is not Trouble.IMPLAUSIBLE]
    return {name: document for name, document in made.items() if document}


@pytest.mark.parametrize("service", [s for s in SERVICES if s != "systembattery"])
def test_a_device_of_every_service_is_shown(documents: dict[str, dict[str, Any]], service: str) -> None:
    assert len(device(documents, service)) > 3


def test_every_document_holds_to_its_schema(documents: dict[str, dict[str, Any]]) -> None:
    for name, document in documents.items():
        Draft202012Validator(SCHEMAS[name]).validate(document)


def test_two_services_of_a_shadow_are_written_each_in_its_way() -> None:
    """The same names, but a Phoenix has other modes than an RS, and only the relay of a monitor has a mode itself."""
    of = CATALOG.commands.of
    phoenix, rs = of("victron-inverter", "mode", "inverter"), of("victron-inverter", "mode", "multi")
    assert phoenix is not None
    assert rs is not None
    assert (phoenix.field.enum, rs.field.enum) == ("inverter_mode", "rs_mode")
    monitor, charger = (of("victron-dcdc", "relays.0.state", s) for s in ("dcsource", "charger"))
    assert monitor is not None
    assert charger is not None
    assert ([n.source.path for n in monitor.needs], charger.needs) == (["/Settings/RelayMode"], ())


@pytest.mark.parametrize("service", ["multi", "acsystem", "pvinverter"])
def test_what_a_setpoint_hides_is_shown_beside_it(service: str) -> None:
    kind = CATALOG.shadow_of(service)
    assert kind is not None
    fields = [f for f in CATALOG.fields(kind.name) if f.service == service]
    setpoints = [f for f in fields if f.name.startswith("setpoints.")]
    assert setpoints
    for field in setpoints:
        command = CATALOG.commands.of(kind.name, field.name, service)
        assert command is not None
        assert command.kind is Class.SETPOINT
        assert [f for f in fields if f.sources == field.sources and not f.writable], field.name


@pytest.mark.parametrize(
    ("shadow", "names"),
    [
        ("victron-inverter", "settings.acPhase settings.currentLimitEnergyMeter settings.energyMeterEnabled"),
        ("victron-inverter", "setpoints.inverterPower"),
        ("victron-dcdc", "settings.batteryVoltage settings.deviceFunction settings.monitorMode"),
        ("victron-grid", "role"),
        ("victron-load", "role settings.directionInverted outputs.0.type outputs.0.function"),
        ("victron-pvinverter", "role"),
    ],
)
def test_what_the_default_allows_with_no_value(shadow: str, names: str) -> None:
    for name in names.split():
        command = CATALOG.commands.of(shadow, name)
        assert command is not None, name
        assert [guard.value for guard in command.guards] == ["*"], name


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("multi", "/Link/ChargeCurrent"),
        ("multi", "/Settings/GridCode"),
        ("alternator", "/Link/NetworkMode"),
        ("charger", "/Link/ChargeVoltage"),
        ("evcharger", "/Current"),
        ("grid", "/PhaseSequence"),
        ("heatpump", "/Position"),
    ],
)
def test_what_is_only_read(service: str, path: str) -> None:
    found = CATALOG.match(service, path)
    assert found
    assert not any(field.writable for field, _ in found)


def test_an_older_name_of_a_path_is_written_where_it_is_the_one_there() -> None:
    for there in ("AlarmLevel", "Alarms"):
        bench = Bench(CATALOG)
        bench.hear(f"multi/0/Settings/{there}/Overload", 1)
        bench.twin.settle()
        bench.twin.sheets(bench.now)
        live = bench.twin.devices["multi", "0"].fields["settings", "alarmLevel", "overload"]
        command = CATALOG.commands.of("victron-inverter", "settings.alarmLevel.overload", "multi")
        assert command is not None
        assert [(w.path, w.raw) for w in writes(2, live, command)] == [(f"/Settings/{there}/Overload", 2)]
