"""The tables themselves: what the mission names is there, and what real devices send fits."""

from __future__ import annotations

import csv
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support import CATALOG
from tests.twin.test_twin import Bench
from victron_twin.catalog import Catalog, Kind
from victron_twin.catalog.commands import ANY, Class, Command
from victron_twin.catalog.model import NUMERIC, Cadence, Layout, fill
from victron_twin.twin.flat import dotted
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
    return CATALOG


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


def test_every_path_of_the_public_lists_feeds_a_field(catalog: Catalog) -> None:
    """The paths that a GX offers over Modbus and to Node-RED, of the services behind the mission's six shadows."""
    paths = [(r["service"], r["path"]) for r in rows("register_paths.csv")]
    assert len(paths) > 400
    assert [p for p in paths if not catalog.match(*p)] == []


@pytest.mark.parametrize("row", rows("real_values.csv"), ids=lambda r: f"{r['service']}{r['path']}={r['value']}")
def test_what_real_devices_send_is_shown(catalog: Catalog, row: dict[str, str]) -> None:
    """A row is all that is heard, beside the GX itself, and its rule makes of it what the field shows."""
    bench = Bench(catalog)
    bench.hear("system/0/Anything", 0)
    bench.hear(f"{row['service']}/0{row['path']}", json.loads(row["value"]))
    bench.twin.settle()
    bench.twin.sheets(bench.now)
    shown = {dotted(path): live.shown for d in bench.twin.devices.values() for path, live in d.fields.items()}
    expected = json.loads(row["shown"])
    assert shown[row["field"]] == expected
    assert type(shown[row["field"]]) is type(expected)


def test_rules_exist(catalog: Catalog) -> None:
    assert {f.rule for shadow in catalog.shadows for f in catalog.fields(shadow)} <= set(RULES)


def commands(catalog: Catalog, shadow: str) -> dict[str, Command]:
    """The command of every writable field of a shadow, by the field's name."""
    first = {p.name: p.first for p in catalog.placeholders.values()}
    found = {
        f.name: catalog.commands.of(shadow, fill(f.name, first), f.service)
        for f in catalog.fields(shadow)
        if f.writable
    }
    return {name: command for name, command in found.items() if command is not None}


#: What no default allows, whatever the value: it can lock the owner out, stop the GX, damage the battery, or is for
#: experts. Its ``*`` stands for the rest of a name.
FORBIDDEN = {
    "victron-system": "gx.reboot update.install update.installMedium vebusBackup.* vebusRestore.*",
    "victron-battery": "settings.nominalVoltage settings.restoreDefaults",
    "victron-solarcharger": "settings.batteryVoltage",
    "victron-vebus": "microGrid.* settings.upsFunction units.{device}.upsFunction "
    "settings.inverterOutputVoltage units.{device}.inverterOutputVoltage "
    "setpoints.l{phase}.maxFeedInPower",
    "victron-settings": "access.* autoUpdate canbus.* dvcc.bmsInstance dvcc.mode vrmPortal "
    "generators.{generator}.serviceInterval",
}
#: What no default allows with one of its values.
RISKY = {
    "victron-battery": {"mode": ["Off", "Standby"], "settings.bluetooth": ["false"]},
    "victron-solarcharger": {"settings.bmsPresent": ["true"]},
    "victron-vebus": {
        "mode": ["Off", "Charger Only"],
        "input{input}.ignore": ["true"],
        "remoteGenerator.requested": ["true"],
        "setChargeState": ["Equalise"],
        "systemReset": ["Reset"],
        "dc.preferRenewableEnergy": ["Overridden by generator"],
    },
}
#: What the GX itself writes all the time.
OWNED = """
vebus/Soc vebus/ExtraBatteryCurrent vebus/Hub/ChargeVoltage vebus/BatteryOperationalLimits/MaxChargeVoltage
vebus/BatterySense/Voltage solarcharger/Link/ChargeVoltage solarcharger/Link/ChargeCurrent
solarcharger/Link/NetworkMode solarcharger/Link/VoltageSense settings/Settings/CGwacs/BatteryLife/SocLimit
settings/Settings/DynamicEss/Schedule/0/Soc vebus/Settings/GridCode
"""


@pytest.mark.parametrize("shadow", MORE)
def test_the_default_allows_nothing_that_is_dangerous(catalog: Catalog, shadow: str) -> None:
    there = commands(catalog, shadow)
    forbidden = {name for name, command in there.items() if ANY in command.guards}
    patterns = FORBIDDEN.get(shadow, "").split()
    assert forbidden == {n for n in there for p in patterns if fnmatchcase(n, p.replace("{", "[{]"))}
    assert all(any(fnmatchcase(n, p.replace("{", "[{]")) for n in forbidden) for p in patterns)
    risky = {n: [g.value for g in c.guards] for n, c in there.items() if c.guards and n not in forbidden}
    assert risky == RISKY.get(shadow, {})


def test_what_the_gx_writes_itself_is_not_writable(catalog: Catalog) -> None:
    for topic in OWNED.split():
        service, _, path = topic.partition("/")
        assert [f.name for f, _ in catalog.match(service, "/" + path) if f.writable] == [], topic


def test_actions_and_setpoints(catalog: Catalog) -> None:
    kinds: dict[Class, set[str]] = {}
    for shadow in MORE:
        for name, command in commands(catalog, shadow).items():
            kinds.setdefault(command.kind, set()).add(name)
    assert {n for n in kinds[Class.ACTION] if "." not in n} == {"redetectSystem", "setChargeState", "systemReset"}
    assert kinds[Class.ACTION] >= {"gx.reboot", "update.check", "buzzer.silence", "history.clear"}
    assert all(name.startswith("setpoints.") for name in kinds[Class.SETPOINT])
    assert not any(name.startswith("setpoints.") for name in kinds[Class.SETTING] | kinds[Class.ACTION])


def test_bounds_of_what_can_be_written(catalog: Catalog) -> None:
    limits = {
        f"{s.removeprefix('victron-')}.{f.name}": (f.minimum, f.maximum)
        for s in MORE
        for f in catalog.fields(s)
        if f.writable and f.kind in NUMERIC
    }
    assert {
        "vebus.currentLimit": (0, 100),
        "vebus.input{input}.currentLimit": (0, 100),
        "vebus.setpoints.l{phase}.acPower": (-10000, 10000),
        "system.setpoints.grid": (-32767, 32767),
        "solarcharger.chargeCurrentLimit": (0, 200),
        "settings.ess.minimumSoc": (0, 100),
        "settings.ess.maxDischargePower": (-1, 1000000),
        "settings.dvcc.maxChargeCurrent": (-1, 10000),
        "settings.dvcc.maxChargeVoltage": (0, 80),
        "settings.generators.{generator}.batteryVoltage.start": (0, 150),
    }.items() <= limits.items()


def test_what_a_setpoint_hides_is_shown_beside_it(catalog: Catalog) -> None:
    """The reading of a path that a setpoint or an action writes is not shown under its name."""
    for shadow in ("victron-vebus", "victron-system"):
        for command in commands(catalog, shadow).values():
            if command.kind is Class.SETPOINT:
                others = [f for f in catalog.fields(shadow) if not f.writable and f.sources == command.field.sources]
                assert len(others) == 1, command.field.name


def test_read_only_numbers_have_a_plausible_range(catalog: Catalog) -> None:
    units = ("V", "A", "W", "%", "°C", "Hz")
    without = {
        (f.shadow, f.name)
        for s in MORE
        for f in catalog.fields(s)
        if f.unit in units and f.kind in NUMERIC and not f.writable and None in (f.minimum, f.maximum)
    }
    assert without == {("victron-vebus", "units.{device}.batteryTemperatureReserve")}


def test_an_idle_site_is_cheap(catalog: Catalog) -> None:
    """What changes all the time has a deadband, and only the battery voltage may cause a write each second."""
    critical = [f for s in catalog.shadows for f in catalog.fields(s) if f.cadence is Cadence.CRITICAL]
    assert {(f.service, f.name) for f in critical if f.kind is Kind.NUMBER} == {
        ("battery", "voltage"),
        ("systembattery", "voltage"),
    }
    without = [f for s in catalog.shadows for f in catalog.fields(s) if f.kind is Kind.NUMBER and not f.deadband]
    without = [f for f in without if f.cadence is not Cadence.NEVER and f.unit != "°"]
    assert {f.name for f in without if f.shadow in MORE} == set()


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
