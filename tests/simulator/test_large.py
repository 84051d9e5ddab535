"""The large site: one of every kind of device, numbers that belong together, writes that do what they do on a GX."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.sites import number, run
from tests.support import CATALOG
from victron_twin import simulator
from victron_twin.simulator import tables
from victron_twin.simulator.bus import Value, float32
from victron_twin.simulator.estate import Estate
from victron_twin.simulator.site import Site
from victron_twin.twin.readings import Trouble
from victron_twin.twin.twin import Twin

JUNE = 1_782_000_000.0
VEBUS, GRID, SYSTEM, SETTINGS = "vebus/276", "grid/30", "system/0", "settings/0"


def large(seed: int = 1, hour: float | None = 11.0) -> Site:
    return Site.large(Random(seed), time=JUNE, hour=hour)


def behind(site: Site) -> Estate:
    assert isinstance(site.world, Estate)
    return site.world


@pytest.fixture(scope="module")
def untouched() -> Site:
    """A site that tests only look at."""
    site = large()
    run(site, 30.0)
    return site


# What stands on the bus

#: Of each service one path, or several, that it must have, with the type there.
MAIN: dict[str, dict[str, type]] = {
    "battery/0": {"/Soc": float, "/Dc/0/Voltage": float, "/Voltages/Cell16": float, "/Info/MaxChargeCurrent": float},
    "battery/277": {"/ConsumedAmphours": float, "/Dc/1/Voltage": float},
    "battery/512": {"/Soh": int, "/System/MaxVoltageCellId": str, "/Info/MaxChargeVoltage": float},
    "solarcharger/279": {"/Pv/V": float, "/Yield/Power": float, "/History/Daily/30/Yield": float},
    "solarcharger/280": {"/Settings/ChargeCurrentLimit": float, "/ErrorCode": int},
    "solarcharger/282": {"/N2kUniqueNumber": int},
    "solarcharger/288": {"/Pv/3/P": int, "/Pv/3/V": float, "/History/Daily/2/Pv/3/Yield": float, "/NrOfTrackers": int},
    "solarcharger/289": {"/Pv/1/P": int, "/History/Daily/1/Pv/1/Yield": float},
    "vebus/276": {"/Ac/ActiveIn/L3/P": int, "/Ac/Out/L3/V": float, "/Ac/In/2/CurrentLimit": float, "/Mode": int},
    "inverter/278": {"/Ac/Out/L1/V": float, "/State": int},
    "multi/4": {"/Pv/1/P": int, "/History/Daily/1/TimeInBulk": int, "/Yield/User": float},
    "acsystem/0": {"/Ac/Out/P": float, "/State": int},
    "dcdc/290": {"/Dc/In/V": float, "/State": int},
    "alternator/10": {"/FieldDrive": int, "/Dc/0/Temperature": float},
    "alternator/291": {"/Dc/In/P": float, "/Mode": int},
    "charger/292": {"/NrOfOutputs": int, "/Dc/2/Voltage": float},
    "dcsource/293": {"/Dc/0/Power": float, "/Settings/MonitorMode": int},
    "dcload/294": {"/History/EnergyIn": float},
    "dcsystem/295": {"/Dc/0/Current": float},
    "fuelcell/5": {"/History/EnergyOut": float},
    "grid/30": {"/Ac/L3/Power": float, "/Ac/Energy/Reverse": float},
    "acload/31": {"/Ac/L1/Power": float, "/Position": int},
    "heatpump/34": {"/State": int, "/TargetTemperature": float},
    "motordrive/6": {"/Motor/RPM": int},
    "pump/0": {"/State": int},
    "pvinverter/20": {"/Ac/MaxPower": float, "/Ac/L3/Energy/Forward": float, "/StatusCode": int},
    "pvinverter/21": {"/Position": int},
    "evcharger/40": {"/SetCurrent": float, "/Status": int, "/Session/Energy": float},
    "tank/3": {"/Level": float, "/FluidType": int},
    "tank/20": {"/Remaining": float, "/RawUnit": str},
    "tank/21": {"/Alarms/High/Active": int},
    "temperature/24": {"/Temperature": float},
    "temperature/26": {"/Humidity": float, "/Pressure": float, "/BatteryVoltage": float},
    "temperature/27": {"/CO2": int},
    "genset/0": {"/StatusCode": int, "/Engine/OperatingHours": int, "/Error/0/Id": str},
    "dcgenset/1": {"/Dc/0/Voltage": float, "/StarterVoltage": float},
    "generator/0": {"/State": int, "/ServiceCounter": int, "/GensetService": str},
    "generator/1": {"/RunningByConditionCode": int},
    "digitalinput/1": {"/State": int, "/Type": int, "/Count": int},
    "pulsemeter/4": {"/Aggregate": float, "/Count": int},
    "switch/0": {"/SwitchableOutput/3/Settings/FuseRating": float},
    "switch/50": {"/SwitchableOutput/pwm_1/Dimming": float, "/SwitchableOutput/output_1/State": int},
    "switch/101": {"/SwitchableOutput/lamp/LightControls": list, "/GenericInput/1/Value": float},
    "meteo/60": {"/Irradiance": float},
    "meteo/61": {"/WindSpeed": float},
    "gps/0": {"/Position/Latitude": float, "/Fix": int},
    "settings/0": {"/Settings/Generator1/TestRun/Interval": int, "/Settings/Pump0/StartValue": int},
    "platform/0": {"/Device/Model": str, "/Notifications/0/Acknowledged": int},
    "hub4/0": {"/PvPowerLimiterActive": int},
    "system/0": {"/Ac/Grid/L3/Power": float, "/Ac/PvOnOutput/L1/Power": float, "/Dc/System/MeasurementType": int},
}


@pytest.mark.parametrize("device", MAIN)
def test_each_device_is_there_with_its_main_paths(untouched: Site, device: str) -> None:
    values = untouched.values()
    for path, kind in MAIN[device].items():
        assert type(values[device + path]) is kind, device + path


def test_there_is_one_of_every_kind(untouched: Site) -> None:
    values = untouched.values()
    assert 3_000 < len(values) < 4_500
    assert {topic.split("/")[0] for topic in values} == {device.split("/")[0] for device in MAIN}
    devices = {"/".join(topic.split("/")[:2]) for topic in values}
    assert sum(device.startswith("battery/") for device in devices) == 3
    assert sum(device.startswith("solarcharger/") for device in devices) == 5
    assert not [topic for topic in values if "{" in topic or "=" in topic]
    for device in devices - {"system/0", "settings/0", "platform/0"}:
        assert values[f"{device}/DeviceInstance"] == int(device.split("/")[1])
        if not device.startswith("hub4/"):
            assert f"{SYSTEM}/ServiceMapping/com_victronenergy_{device.replace('/', '_')}" in values


def test_types_never_change() -> None:
    site = large(hour=5.0)
    rows = {kind.service.key + path: row for kind in tables.devices() for path, row in kind.rows.items()}
    seen: dict[str, set[str]] = {}
    for _ in range(60):
        run(site, 1200.0, step=300.0)
        for topic, value in site.values().items():
            seen.setdefault(topic, set()).add(type(value).__name__)
    for topic, kinds in seen.items():
        if topic in rows and rows[topic].step:
            assert kinds <= {"int" if rows[topic].whole else "float", "NoneType"}, topic
        elif not topic.startswith(SYSTEM):
            assert len(kinds - {"NoneType"}) <= 1, topic


def test_nothing_that_the_catalogue_knows_has_another_type() -> None:
    site = large()
    troubles: list[tuple[Trouble, str, object]] = []
    catalogue = CATALOG
    twin = Twin(catalogue, lambda trouble, where, value: troubles.append((trouble, where, value)))
    twin.portal = site.portal_id

    def feed(topics: list[str]) -> None:
        for topic in topics:
            payload = json.dumps({"value": site.value(topic)}).encode()
            twin.receive(f"N/{site.portal_id}/{topic}".encode(), payload, site.time)

    feed(list(site.values()))
    twin.settle()
    sheets = twin.sheets(site.time)
    for _ in range(30):
        feed(run(site, 10.0))
        sheets = twin.sheets(site.time)
    assert troubles == []
    assert set(catalogue.shadows) - set(sheets) == {"victron-alarms", "victron-twin"}
    texts = [value for sheet in sheets.values() for value in sheet.values.values() if isinstance(value, str)]
    assert not [text for text in texts if text.startswith("Unknown (")]


def test_the_simulator_knows_nothing_of_the_catalogue() -> None:
    """So that a mistake of one is not one of both; what records a real GX is another matter."""
    for file in Path(str(simulator.__file__)).parent.rglob("*.py"):
        assert "catalog" not in file.read_text() or file.stem in ("capture", "recording"), file.name


def test_ranges_are_published_of_settings_alone(untouched: Site) -> None:
    ranges = untouched.ranges
    assert ranges[f"{SETTINGS}/Settings/Generator1/AcLoad/StartValue"] == (5, 1_000_000)
    assert ranges[f"{SETTINGS}/Settings/Gui/Gauges/Speed/Max"] == (0.0, None)
    assert ranges[f"{SETTINGS}/Settings/Gui/Gauges/Ac/In/1/Current/Min"] == (None, 0.0)
    assert f"{SETTINGS}/Settings/LoadSheddingApi/StabilityMargin" not in ranges
    assert all(topic.startswith(SETTINGS) for topic in ranges)


def test_it_moves_as_much_as_a_gx() -> None:
    site = large()
    changes = run(site, 120.0)
    assert 50 < len(changes) / 120 < 150
    moving = {topic.split("/")[0] for topic in changes}
    assert {"battery", "solarcharger", "vebus", "grid", "multi", "temperature", "meteo", "system"} <= moving


def test_the_same_seed_is_the_same_site() -> None:
    one, other, different = large(7), large(7), large(8)
    assert run(one, 60.0) == run(other, 60.0)
    run(different, 60.0)
    assert one.values() == other.values()
    assert one.values() != different.values()


# What belongs together


def total(site: Site, topic: str) -> float:
    """A value on the three phases together."""
    return sum(number(site, topic.format(phase)) for phase in (1, 2, 3))


def test_sums_and_products_are_right(untouched: Site) -> None:
    site = untouched
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(total(site, GRID + "/Ac/L{}/Power"), abs=0.2)
    assert number(site, f"{VEBUS}/Ac/Out/P") == pytest.approx(total(site, VEBUS + "/Ac/Out/L{}/P"), abs=2.0)
    cells = [number(site, f"battery/0/Voltages/Cell{cell}") for cell in range(1, 17)]
    assert sum(cells) == pytest.approx(number(site, "battery/0/Dc/0/Voltage"), abs=0.15)
    trackers = sum(number(site, f"solarcharger/288/Pv/{tracker}/P") for tracker in range(4))
    assert trackers == pytest.approx(number(site, "solarcharger/288/Yield/Power"), rel=0.05)
    level, capacity = number(site, "tank/20/Level"), number(site, "tank/20/Capacity")
    assert number(site, "tank/20/Remaining") == pytest.approx(level * capacity / 100.0, abs=0.001)
    assert number(site, "dcsource/293/Dc/0/Power") == pytest.approx(
        number(site, "dcsource/293/Dc/0/Voltage") * number(site, "dcsource/293/Dc/0/Current"), abs=6.0
    )


def test_the_gx_works_out_where_the_power_goes(untouched: Site) -> None:
    site = untouched
    assert site.value(f"{SYSTEM}/SystemType") == "ESS"
    assert site.value(f"{SYSTEM}/ActiveBatteryService") == "com.victronenergy.battery/0"
    assert site.value(f"{SYSTEM}/ActiveBmsInstance") == 0
    assert site.value(f"{SYSTEM}/Ac/In/0/ServiceType") == "grid"
    assert site.value(f"{SYSTEM}/Ac/In/1/Source") == 2
    on_input = total(site, SYSTEM + "/Ac/ConsumptionOnInput/L{}/Power")
    car, workshop = number(site, "evcharger/40/Ac/Power"), number(site, "acload/31/Ac/Power")
    assert on_input == pytest.approx(car + workshop, rel=0.2)
    used = on_input + total(site, SYSTEM + "/Ac/ConsumptionOnOutput/L{}/Power")
    assert total(site, SYSTEM + "/Ac/Consumption/L{}/Power") == pytest.approx(used, abs=1.0)
    listed = site.value(f"{SYSTEM}/Batteries")
    assert isinstance(listed, list)
    assert [battery["instance"] for battery in listed] == [0, 277, 512]


def test_the_grid_gives_what_is_wanted_of_it() -> None:
    site = large()
    run(site, 10.0)
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(50.0, abs=30.0)
    site.write(f"{SETTINGS}/Settings/CGwacs/AcPowerSetPoint", 800.0)
    run(site, 6.0)
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(800.0, abs=30.0)
    site.write("hub4/0/Overrides/Setpoint", -300.0)
    run(site, 6.0)
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(-300.0, abs=30.0)
    run(site, 70.0)
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(800.0, abs=30.0)
    site.write(f"{SETTINGS}/Settings/CGwacs/Hub4Mode", 3)
    for phase in (1, 2, 3):
        site.write(f"{VEBUS}/Hub4/L{phase}/AcPowerSetpoint", 100)
    run(site, 6.0)
    assert number(site, f"{GRID}/Ac/Power") == pytest.approx(300.0, abs=30.0)


def test_without_the_grid_the_inverters_go_on_and_a_generator_helps() -> None:
    site = large()
    site.unplug()
    run(site, 6.0)
    assert site.value(f"{VEBUS}/State") == 9
    assert site.value(f"{VEBUS}/Ac/ActiveIn/ActiveInput") == 240
    assert site.value(f"{VEBUS}/Alarms/GridLost") == 2
    assert number(site, f"{GRID}/Ac/Power") == 0.0
    assert site.value("evcharger/40/Status") == 6
    assert site.write("generator/0/ManualStart", 1)
    run(site, 20.0)
    assert site.value("genset/0/StatusCode") == 8
    assert site.value("generator/0/RunningByConditionCode") == 1
    assert site.value(f"{VEBUS}/Ac/ActiveIn/ActiveInput") == 1
    assert site.value(f"{SYSTEM}/Ac/ActiveIn/Source") == 2
    assert number(site, f"{SYSTEM}/Ac/Genset/L1/Power") == pytest.approx(number(site, "genset/0/Ac/L1/Power"), rel=0.1)
    assert number(site, "genset/0/Engine/Speed") > 1400.0
    assert number(site, f"{VEBUS}/Ac/ActiveIn/P") <= 32.0 * 690.0 + 1.0
    assert site.write("generator/0/ManualStart", 0)
    run(site, 20.0)
    assert site.value("genset/0/StatusCode") == 0
    site.plug_in()
    run(site, 6.0)
    assert site.value(f"{VEBUS}/State") == 252


def test_a_generator_stops_when_its_time_is_over_and_starts_by_the_charge() -> None:
    site = large()
    site.write("generator/1/ManualStartTimer", 30)
    site.write("generator/1/ManualStart", 1)
    run(site, 20.0)
    assert number(site, "dcgenset/1/Dc/0/Current") > 40.0
    run(site, 30.0)
    assert site.value("generator/1/ManualStart") == 0
    assert site.value("dcgenset/1/StatusCode") == 0
    site.write("generator/0/AutoStartEnabled", 1)
    assert site.value(f"{SETTINGS}/Settings/Generator0/AutoStartEnabled") == 1
    site.write(f"{SETTINGS}/Settings/Generator0/Soc/Enabled", 1)
    site.write(f"{SETTINGS}/Settings/Generator0/Soc/StartValue", 90)
    run(site, 4.0)
    assert site.value("generator/0/RunningByCondition") == "soc"
    site.write(f"{SETTINGS}/Settings/Generator0/AutoStartEnabled", 0)
    run(site, 4.0)
    assert site.value("generator/0/State") == 0


def test_a_day_goes_round() -> None:
    site = large(hour=6.0)
    charges = []
    for _ in range(24):
        run(site, 3600.0, step=300.0)
        charges.append(number(site, "battery/0/Soc"))
        assert 44.0 < number(site, "battery/0/Dc/0/Voltage") < 57.5
        assert 10.5 < number(site, "battery/277/Dc/0/Voltage") < 14.6
        assert 0.0 <= number(site, "tank/20/Level") <= 100.0
        assert 0.0 <= number(site, "tank/21/Level") <= 100.0
    assert max(charges) - min(charges) > 15.0
    assert min(charges) > 5.0
    assert site.value("solarcharger/279/History/Daily/0/Nr") == 431
    assert site.value("solarcharger/288/History/Daily/0/Nr") == 403
    assert number(site, "pulsemeter/4/Count") > 128_444


# Writes


@pytest.mark.parametrize(
    ("topic", "sent", "stands"),
    [
        (f"{VEBUS}/Mode", 1, 1),
        (f"{VEBUS}/Ac/In/1/CurrentLimit", 30.0, 30.0),
        (f"{VEBUS}/Ac/In/2/CurrentLimit", 120.0, 100.0),
        (f"{VEBUS}/Devices/1/Settings/PowerAssistEnabled", 0, 0),
        ("battery/0/Mode", 252, 252),
        ("battery/277/CustomName", "Starter", "Starter"),
        ("solarcharger/288/Settings/ChargeCurrentLimit", 150.0, 150.0),
        ("inverter/278/Mode", 5, 5),
        ("multi/4/Settings/Ess/MinimumSocLimit", 25.0, 25.0),
        ("acsystem/0/Settings/Ess/Mode", 3, 3),
        ("dcdc/290/Settings/ChargeCurrentLimit", 10.5, 10.5),
        ("charger/292/Ac/In/CurrentLimit", 10.0, 10.0),
        ("evcharger/40/SetCurrent", 16.0, 16.0),
        ("evcharger/40/Mode", 1, 1),
        ("tank/20/Capacity", 0.5, 0.5),
        ("tank/21/FluidType", 5, 5),
        ("temperature/25/Offset", -1.5, -1.5),
        ("acload/33/PhaseSetting", 2, 2),
        ("pulsemeter/4/Settings/Multiplier", 0.01, 0.01),
        ("switch/50/SwitchableOutput/pwm_1/Dimming", 75.0, 75.0),
        ("switch/101/SwitchableOutput/heating/Dimming", 22.5, 22.5),
        ("generator/0/AutoStartEnabled", 1, 1),
        (f"{SETTINGS}/Settings/Generator1/Soc/StopValue", 80, 80),
        (f"{SYSTEM}/Relay/0/State", 1, 1),
    ],
)
def test_a_write_takes_effect(topic: str, sent: Value, stands: Value) -> None:
    site = large()
    assert site.write(topic, sent)
    assert topic in site.take_changes()
    run(site, 12.0)
    assert site.value(topic) == stands


@pytest.mark.parametrize(
    ("topic", "sent"),
    [
        (f"{VEBUS}/Mode", 5),
        (f"{VEBUS}/Ac/Out/L1/P", 0),
        ("battery/0/Soc", 50.0),
        ("battery/0/Mode", 4),
        ("solarcharger/280/Settings/ChargeCurrentLimit", 71.0),
        ("evcharger/40/SetCurrent", 40.0),
        ("evcharger/40/Current", 10.0),
        ("heatpump/34/TargetTemperature", 60.0),
        ("pump/0/State", 1),
        ("grid/30/Ac/Power", 0.0),
        ("switch/50/SwitchableOutput/pwm_1/Dimming", 101.0),
        ("switch/101/SwitchableOutput/lamp/Settings/CustomName", 5),
        (f"{SYSTEM}/Relay/1/State", 1),
        (f"{SETTINGS}/Settings/Generator0/TestRun/Interval", 0),
        (f"{SETTINGS}/Settings/Generator1/AcLoad/StartValue", 4),
    ],
)
def test_what_is_refused_changes_nothing(untouched: Site, topic: str, sent: Value) -> None:
    before = dict(untouched.values())
    assert not untouched.write(topic, sent)
    assert untouched.values() == before


def test_devices_obey() -> None:
    site = large()
    run(site, 10.0)
    assert number(site, "evcharger/40/Ac/Power") == pytest.approx(6900.0, rel=0.02)
    for topic, value in (
        ("evcharger/40/SetCurrent", 16.0),
        ("solarcharger/279/Mode", 4),
        ("inverter/278/Mode", 4),
        ("acload/33/SwitchableOutput/0/State", 1),
        ("switch/0/SwitchableOutput/2/State", 1),
        ("switch/0/SwitchableOutput/2/Dimming", 50.0),
        ("digitalinput/3/Settings/InvertTranslation", 1),
        ("charger/292/Mode", 4),
        ("dcdc/290/Mode", 4),
        ("acsystem/0/Mode", 4),
        (f"{SETTINGS}/Settings/Pump0/Mode", 1),
        ("tank/20/Alarms/Low/Active", 100),
    ):
        assert site.write(topic, value), topic
    run(site, 12.0)
    assert number(site, "evcharger/40/Ac/Power") == pytest.approx(11_040.0, rel=0.02)
    assert number(site, "solarcharger/279/Yield/Power") == 0.0
    assert site.value("solarcharger/279/DeviceOffReason") == 4
    assert number(site, "inverter/278/Ac/Out/L1/V") == 0.0
    assert number(site, "acload/33/Ac/Power") > 1000.0
    assert site.value("switch/0/SwitchableOutput/2/Status") == 9
    assert number(site, "switch/0/SwitchableOutput/2/Voltage") == pytest.approx(6.3, abs=0.1)
    assert site.value("digitalinput/3/State") == 9
    assert site.value("charger/292/State") == 0
    assert number(site, "dcdc/290/Dc/0/Current") == 0.0
    assert site.value("multi/4/State") == 0
    assert site.value("pump/0/State") == 1
    assert site.value("tank/20/Alarms/Low/State") == 1


@pytest.mark.parametrize(
    ("topic", "elsewhere", "shows"),
    [
        (f"{VEBUS}/RedetectSystem", f"{VEBUS}/RedetectSystem", 0),
        ("battery/0/History/Clear", "battery/0/History/Clear", None),
        ("generator/0/ServiceCounterReset", "generator/0/ServiceCounter", 900_000),
        ("genset/0/EnableRemoteStartMode", "genset/0/RemoteStartModeEnabled", 1),
        ("platform/0/Notifications/AcknowledgeAll", "platform/0/Notifications/0/Acknowledged", 1),
        ("platform/0/Device/Reboot", "platform/0/Device/Reboot", 0),
    ],
)
def test_an_action_is_counted_and_shows_elsewhere(topic: str, elsewhere: str, shows: Value) -> None:
    site = large()
    before = site.value(topic)
    assert site.write(topic, 1)
    assert [(action.topic, action.value) for action in site.actions] == [(topic, 1)]
    assert site.value(topic) == before
    assert site.value(elsewhere) == shows


def test_a_reset_cuts_the_output_for_a_moment() -> None:
    site = large()
    site.write(f"{VEBUS}/SystemReset", 1)
    run(site, 3.0)
    assert number(site, f"{VEBUS}/Ac/Out/L2/V") == 0.0
    assert site.value(f"{VEBUS}/State") == 0
    run(site, 10.0)
    assert number(site, f"{VEBUS}/Ac/Out/L2/V") > 220.0
    site.write(f"{VEBUS}/VebusSetChargeState", 3)
    run(site, 3.0)
    assert site.value(f"{VEBUS}/VebusChargeState") == 3


@pytest.mark.parametrize(
    ("topic", "sent", "rest"),
    [
        ("pvinverter/20/Ac/PowerLimit", 1200.0, float32(8200.0)),
        ("multi/4/Ess/AcPowerSetpoint", -500, 0),
        ("hub4/0/Pv/Disable", 1, 0),
        (f"{VEBUS}/PvInverter/Disable", 1, 0),
    ],
)
def test_what_is_volatile_falls_back_unless_it_is_written_again(topic: str, sent: Value, rest: Value) -> None:
    site = large()
    site.write(topic, sent)
    run(site, 50.0)
    site.write(topic, sent)
    run(site, 50.0)
    assert site.value(topic) == sent
    run(site, 15.0)
    assert site.value(topic) == rest


def test_the_suns_power_is_limited() -> None:
    site = large(hour=13.0)
    site.write("pvinverter/20/Ac/PowerLimit", 1200.0)
    run(site, 6.0)
    assert number(site, "pvinverter/20/Ac/Power") == pytest.approx(1200.0, abs=5.0)
    assert site.value("pvinverter/20/StatusCode") == 12
    site.write("hub4/0/Pv/Disable", 1)
    run(site, 6.0)
    assert number(site, f"{SYSTEM}/Ac/PvOnGrid/Total/Power") == 0.0


def test_a_device_leaves_and_returns() -> None:
    site = large()
    gone = site.remove("battery/0")
    assert "battery/0/Soc" in gone
    run(site, 4.0)
    assert site.value(f"{SYSTEM}/ActiveBatteryService") == "com.victronenergy.battery/277"
    site.write(f"{SETTINGS}/Settings/SystemSetup/BatteryService", "com.victronenergy.battery/512")
    run(site, 4.0)
    assert site.value(f"{SYSTEM}/ActiveBatteryService") == "com.victronenergy.battery/512"
    assert site.value(f"{SYSTEM}/AutoSelectedBatteryService") is None
    site.restore("battery/0")
    assert set(gone) <= set(site.take_changes())
    for device in ("grid/30", VEBUS, "genset/0", "tank/20", "evcharger/40"):
        site.remove(device)
    run(site, 10.0)
    assert site.value(f"{SYSTEM}/Ac/Grid/L1/Power") is None


def writable() -> list[str]:
    """What takes writes, and the settings that the site itself follows."""
    site = large()
    followed = ("/Settings/CGwacs/", "/Settings/Generator0/", "/Settings/Pump0/", "/Settings/SystemSetup/")
    rules = [service.key + path for service in site.bus for path in service.rules]
    return rules + [SETTINGS + path for path in site.bus[SETTINGS].values if path.startswith(followed)]


NUMBERS = st.floats(allow_nan=False, width=32) | st.integers(-(2**31), 2**31)
LIKELY = st.sampled_from([0, 1, 2, 3, 4, -1, 0.5, 100.0, 65535, True, "", "text"])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(writable()), LIKELY | NUMBERS), min_size=5, max_size=40))
def test_whatever_is_written_the_site_goes_on(writes: list[tuple[str, Value]]) -> None:
    site = large()
    for topic, value in writes:
        site.write(topic, value)
        run(site, 6.0, step=2.0)
        assert 30.0 < number(site, "battery/0/Dc/0/Voltage") < 70.0
    json.dumps(site.values(), allow_nan=False)
