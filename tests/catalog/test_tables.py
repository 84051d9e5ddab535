"""The tables themselves: what the mission names is there, and what real devices send fits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from victron_twin.catalog import Catalog, Kind, load
from victron_twin.catalog.model import Cadence, Layout, fill
from victron_twin.twin.readings import fit
from victron_twin.twin.rules import RULES

HERE = Path(__file__).parent

MISSION = {
    "victron-battery": "voltage current power soc timeToGo temperature consumed",
    "victron-solarcharger": "state pv.voltage pv.current pv.power battery.voltage battery.current "
    "yield.today yield.yesterday yield.total efficiency",
    "victron-system": "ac.consumption.l{phase} dc.battery.voltage dc.battery.current dc.battery.power "
    "dc.system.power solar.power",
}
MORE = {
    "victron-battery": "health",
    "victron-solarcharger": "pv.trackers.{tracker}.voltage pv.trackers.{tracker}.power pv.trackers.{tracker}.current "
    "yield.sinceReset mode",
    "victron-system": "portalId systemName model firmware timezone state ac.grid.l{phase} ac.genset.l{phase} ac.source "
    "dc.battery.soc dc.battery.state dc.battery.temperature dc.battery.timeToGo dc.system.measured "
    "relays.{relay}.state",
    "victron-vebus": "mode modeIsAdjustable state error acIn.active acIn.l{phase}.voltage acIn.l{phase}.current "
    "acIn.l{phase}.power acIn.l{phase}.frequency acOut.l{phase}.voltage acOut.l{phase}.current acOut.l{phase}.power "
    "acOut.l{phase}.frequency currentLimit input{input}.currentLimit input{input}.adjustable input{input}.source "
    "dc.voltage dc.current dc.power dc.temperature soc alarms.gridLost leds.mains bms.allowToCharge "
    "bms.allowToDischarge energy.inverterToAcOut",
    "victron-gps": "latitude longitude altitude speed course fix satellites",
    "victron-settings": "systemName timezone acInputs.{input}.type ess.mode ess.minimumSoc ess.maxDischargePower "
    "dvcc.maxChargeCurrent dvcc.maxChargeVoltage relays.0.function relays.1.function alarms.vebus.lowBattery "
    "generators.{generator}.autoStart",
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("wanted", [MISSION, MORE], ids=["mission", "more"])
def test_named_fields_are_there(catalog: Catalog, wanted: dict[str, str]) -> None:
    for shadow, names in wanted.items():
        there = {f.name for f in catalog.fields(shadow)}
        assert not set(names.split()) - there, shadow


def test_the_missions_fields_stay_longest(catalog: Catalog) -> None:
    for shadow, names in MISSION.items():
        fields = {f.name: f for f in catalog.fields(shadow)}
        assert {name: fields[name].priority for name in names.split()} == dict.fromkeys(names.split(), 9)


def test_required_are_the_missions_validated_fields(catalog: Catalog) -> None:
    required = {name: catalog.required(name) for name in catalog.shadows if catalog.required(name)}
    assert required == {
        "victron-battery": ("voltage", "current", "soc"),
        "victron-solarcharger": ("state", "pv.power", "yield.today"),
        "victron-system": ("ac.consumption.l1", "dc.battery.voltage"),
    }


def test_every_path_of_the_register_list_feeds_a_field(catalog: Catalog) -> None:
    """The paths that a GX offers over Modbus, of the services behind the mission's six shadows."""
    paths = [(r["service"], r["path"]) for r in rows("register_paths.csv")]
    assert len(paths) > 350
    assert [p for p in paths if not catalog.match(*p)] == []


@pytest.mark.parametrize("row", rows("real_values.csv"), ids=lambda r: f"{r['service']}{r['path']}={r['value']}")
def test_what_real_devices_send_is_shown(catalog: Catalog, row: dict[str, str]) -> None:
    shown = {
        fill(field.name, binding): fit(json.loads(row["value"]), field, catalog)
        for field, binding in catalog.match(row["service"], row["path"])
    }
    expected = json.loads(row["shown"])
    assert shown[row["field"]] == expected
    assert type(shown[row["field"]]) is type(expected)


def test_rules_exist(catalog: Catalog) -> None:
    assert {f.rule for shadow in catalog.shadows for f in catalog.fields(shadow)} <= set(RULES)


def test_writable_points(catalog: Catalog) -> None:
    writable = {s: [f for f in catalog.fields(s) if f.writable] for s in catalog.shadows}
    assert {s: {f.name for f in fields} for s, fields in writable.items() if fields} == {
        "victron-system": {"relays.{relay}.state"},
        "victron-solarcharger": {"mode"},
        "victron-vebus": {"mode", "currentLimit", "input{input}.currentLimit", "redetectSystem"},
        "victron-settings": {
            "acInputs.{input}.type",
            "ess.mode",
            "ess.minimumSoc",
            "dvcc.maxChargeCurrent",
            "dvcc.maxChargeVoltage",
        },
    }
    limits = {f.name: (f.minimum, f.maximum) for fs in writable.values() for f in fs if f.minimum is not None}
    assert limits == {
        "currentLimit": (0, 100),
        "input{input}.currentLimit": (0, 100),
        "ess.minimumSoc": (0, 100),
        "dvcc.maxChargeCurrent": (-1, 10000),
        "dvcc.maxChargeVoltage": (0, 80),
    }


def test_an_idle_site_is_cheap(catalog: Catalog) -> None:
    """What changes all the time has a deadband, and only the battery voltage may cause a write each second."""
    critical = [f for s in catalog.shadows for f in catalog.fields(s) if f.cadence is Cadence.CRITICAL]
    assert {(f.service, f.name) for f in critical if f.kind is Kind.NUMBER} == {
        ("battery", "voltage"),
        ("systembattery", "voltage"),
    }
    without = [f for s in catalog.shadows for f in catalog.fields(s) if f.kind is Kind.NUMBER and not f.deadband]
    without = [f for f in without if f.cadence is not Cadence.NEVER and f.unit != "°"]
    assert {f.service for f in without} == {"settings", "vebus"}
    assert {f.name for f in without if f.service == "vebus"} == {"settings.assistCurrentBoostFactor"}


@pytest.mark.parametrize(
    ("unit", "decimals"), [("V", 2), ("W", 2), ("kWh", 2), ("Ah", 2), ("A", 1), ("%", 1), ("°C", 1)]
)
def test_decimals(catalog: Catalog, unit: str, decimals: int) -> None:
    few = [
        f.name
        for s in catalog.shadows
        for f in catalog.fields(s)
        if f.unit == unit and (f.decimals is None or f.decimals < decimals)
    ]
    assert few == []


def test_stand_in_of_the_battery_is_part_of_the_battery(catalog: Catalog) -> None:
    """The system's view of the battery fills the same names with the same meaning."""
    fields = catalog.fields("victron-battery")
    of_battery = {f.name: f for f in fields if f.service == "battery"}
    stand_in = [f for f in fields if f.service == "systembattery"]
    assert {f.name for f in stand_in} == set(MISSION["victron-battery"].split())
    for field in stand_in:
        other = of_battery[field.name]
        assert (field.unit, field.kind, field.decimals, field.deadband) == (
            other.unit,
            other.kind,
            other.decimals,
            other.deadband,
        )


def test_shadows(catalog: Catalog) -> None:
    assert list(catalog.shadows)[:6] == [
        f"victron-{n}" for n in ["system", "battery", "solarcharger", "vebus", "gps", "settings"]
    ]
    assert len(catalog.shadows) == 18
    homes = {"battery": "battery", "multi": "inverter", "alternator": "dcdc", "generator": "genset", "switch": "io"}
    for service, name in homes.items():
        kind = catalog.shadow_of(service)
        assert kind is not None
        assert kind.name == f"victron-{name}"
    assert catalog.shadows["victron-twin"].layout is Layout.OWN
    assert all(catalog.shadow_of(service) is None for service in ("platform", "hub4", "twin", "alarms", "nosuch"))


def test_rated_currents(catalog: Catalog) -> None:
    assert catalog.rated_current(0xA057) == 50
    assert catalog.rated_current(1) is None
