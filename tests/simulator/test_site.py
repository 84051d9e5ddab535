"""The van as a model: believable numbers, and writes that do what they do on a GX."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.sites import number, run
from victron_twin.simulator import sun
from victron_twin.simulator.build import Van
from victron_twin.simulator.bus import Value, expand, float32
from victron_twin.simulator.power import FLOAT, rest_voltage
from victron_twin.simulator.site import Site

NOVEMBER, JUNE = 1_795_500_000.0, 1_782_000_000.0
SOLAR, BATTERY, VEBUS, SETTINGS, SYSTEM = "solarcharger/279", "battery/512", "vebus/276", "settings/0", "system/0"


def van(seed: int = 1, time: float = NOVEMBER, hour: float | None = None) -> Site:
    return Site.van(Random(seed), time=time, hour=hour)


def behind(site: Site) -> Van:
    assert isinstance(site.world, Van)
    return site.world


# What stands on the bus


@pytest.mark.parametrize("time", [NOVEMBER, JUNE, NOVEMBER + 9 * 3600.0])
def test_at_the_start_every_field_of_the_mission_has_a_value(time: float) -> None:
    site = van(time=time)
    for topic in (
        f"{BATTERY}/Dc/0/Voltage",
        f"{BATTERY}/Dc/0/Current",
        f"{BATTERY}/Dc/0/Power",
        f"{BATTERY}/Dc/0/Temperature",
        f"{BATTERY}/Soc",
        f"{BATTERY}/TimeToGo",
        f"{BATTERY}/ConsumedAmphours",
        f"{SOLAR}/Pv/V",
        f"{SOLAR}/Yield/Power",
        f"{SOLAR}/Yield/System",
        f"{SOLAR}/History/Daily/0/Yield",
        f"{SOLAR}/History/Daily/1/Yield",
        f"{SOLAR}/Dc/0/Voltage",
        f"{SYSTEM}/Ac/Consumption/L1/Power",
        f"{SYSTEM}/Dc/Battery/Power",
        f"{SYSTEM}/Dc/System/Power",
        f"{SYSTEM}/Dc/Pv/Power",
        "gps/0/Position/Latitude",
    ):
        assert number(site, topic) == number(site, topic)
    assert site.value(f"{BATTERY}/Settings/HasTemperature") == 1
    assert site.value(f"{SOLAR}/State") == 3
    assert number(site, f"{BATTERY}/Dc/0/Current") < -1.0
    assert 3600.0 < number(site, f"{BATTERY}/TimeToGo") < 864_000.0
    assert number(site, f"{BATTERY}/ConsumedAmphours") < 0.0
    assert number(site, f"{SOLAR}/Yield/Power") > 20.0


def test_it_looks_like_a_gx() -> None:
    site = van()
    values = site.values()
    assert 1_000 < len(values) < 1_500
    assert {topic.split("/")[0] for topic in values} == {
        *("system", "settings", "platform", "hub4", "gps", "battery", "solarcharger", "vebus"),
    }
    assert values[f"{SYSTEM}/Serial"] == "c0619ab2d3e4"
    assert values["platform/0/Firmware/Installed/Version"] == "v3.70"
    assert values[f"{SYSTEM}/ActiveBatteryService"] == "com.victronenergy.battery/512"
    assert values[f"{SYSTEM}/VebusService"] == values[f"{SYSTEM}/ServiceMapping/com_victronenergy_vebus_276"]
    assert values[f"{SYSTEM}/GpsService"] == values[f"{SYSTEM}/ServiceMapping/com_victronenergy_gps_0"]
    for topic in values:
        assert "{" not in topic
    measured = [value for topic, value in values.items() if topic.startswith(SOLAR) and isinstance(value, float)]
    assert all(value == float32(value) for value in measured)
    assert any(value != round(value, 2) for value in measured)


def test_settings_publish_ranges_where_a_gx_does() -> None:
    ranges = van().ranges
    assert ranges[f"{SETTINGS}/Settings/CGwacs/BatteryLife/MinimumSocLimit"] == (0.0, 100.0)
    assert ranges[f"{SETTINGS}/Settings/SystemSetup/MaxChargeCurrent"] == (-1, 10000)
    assert ranges[f"{SETTINGS}/Settings/Gui/Gauges/Pv/Power/Max"] == (0.0, None)
    assert f"{SETTINGS}/Settings/CGwacs/BatteryLife/State" not in ranges
    assert f"{SETTINGS}/Settings/Relay/Function" not in ranges
    assert f"{VEBUS}/Ac/In/1/CurrentLimit" not in ranges


def test_about_as_many_changes_as_a_gx_and_some_of_them_repeats() -> None:
    site = van()
    last = dict(site.values())
    changes = repeats = 0
    for _ in range(300):
        for topic in run(site, 1.0):
            changes += 1
            value = site.value(topic)
            repeats += last[topic] == value
            last[topic] = value
    assert 35 < changes / 300 < 65
    assert 0.03 < repeats / changes < 0.12


def test_the_same_seed_is_the_same_van() -> None:
    one, other, different = van(7), van(7), van(8)
    assert run(one, 120.0) == run(other, 120.0)
    run(different, 120.0)
    assert one.values() == other.values()
    assert one.values() != different.values()


# Energy


def test_power_is_conserved_at_the_battery() -> None:
    site = van(hour=12.0)
    for _ in range(200):
        run(site, 30.0, step=10.0)
        power = behind(site).power
        current = sum(mppt.current for mppt in power.mppts) * power.battery.voltage
        balance = current + power.multi.dc_power - power.dc_load
        assert power.battery.current * power.battery.voltage == pytest.approx(balance, abs=25.0)


def test_a_day_charges_the_battery_and_a_night_drains_it() -> None:
    site = van(time=JUNE, hour=8.0)
    behind(site).power.battery.soc = 0.6
    run(site, 9 * 3600.0, step=120.0)
    assert behind(site).power.battery.soc > 0.65
    evening = behind(site).power.battery.soc
    run(site, 12 * 3600.0, step=120.0)
    assert behind(site).power.battery.soc < evening
    assert 0.0 <= behind(site).power.battery.soc <= 1.0


def test_the_chargers_day_begins_with_the_light_and_moves_the_history_on() -> None:
    site = van(hour=17.0)
    run(site, 3 * 3600.0, step=120.0)
    assert site.value(f"{SOLAR}/State") == 0
    assert site.value(f"{SOLAR}/DeviceOffReason") == 1
    today, number_of_day = site.value(f"{SOLAR}/History/Daily/0/Yield"), number(site, f"{SOLAR}/History/Daily/0/Nr")
    run(site, 8 * 3600.0, step=120.0)
    assert site.value(f"{SOLAR}/History/Daily/0/Yield") == today, "not at midnight"
    run(site, 6 * 3600.0, step=120.0)
    assert site.value(f"{SOLAR}/History/Daily/1/Yield") == today
    assert number(site, f"{SOLAR}/History/Daily/0/Nr") == number_of_day + 1
    assert f"{SOLAR}/History/Daily/31/Yield" not in site.values()


def test_shore_power_charges_through_all_stages() -> None:
    site = van()
    site.plug_in()
    run(site, 3.0)
    assert site.value(f"{VEBUS}/State") == 3
    assert site.value(f"{VEBUS}/Leds/Mains") == 1
    assert site.value(f"{VEBUS}/Leds/Inverter") == 0
    assert site.value(f"{VEBUS}/Ac/ActiveIn/ActiveInput") == 0
    assert site.value(f"{SYSTEM}/Ac/ActiveIn/Source") == 3
    assert number(site, f"{SYSTEM}/Ac/Grid/L1/Power") > 1000.0
    assert number(site, f"{BATTERY}/Dc/0/Current") > 50.0
    assert number(site, f"{VEBUS}/Ac/ActiveIn/L1/I") <= 16.5
    seen = set()
    for _ in range(240):
        run(site, 60.0, step=30.0)
        seen.add(site.value(f"{VEBUS}/State"))
        assert number(site, f"{BATTERY}/Dc/0/Voltage") < 14.4
    assert seen == {3, 4, 5}
    assert site.value(f"{BATTERY}/TimeToGo") is None
    site.unplug()
    run(site, 2.0)
    assert site.value(f"{VEBUS}/State") == 9
    assert site.value(f"{SYSTEM}/Ac/ActiveIn/Source") == 240


def test_an_empty_battery_alarms_and_shuts_the_inverter_down() -> None:
    site = van()
    behind(site).campsite = False
    behind(site).power.battery.soc = 0.004
    run(site, 5.0)
    assert site.value(f"{VEBUS}/State") == 0
    assert site.value(f"{VEBUS}/Alarms/LowBattery") == 2
    assert site.value(f"{BATTERY}/Alarms/LowSoc") == 2


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_fuller_battery_has_no_lower_voltage(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 10.0 < rest_voltage(low) <= rest_voltage(high) < 14.2


@given(st.floats(-65.0, 65.0), st.floats(0.0, 365.0), st.floats(0.0, 24.0))
def test_the_sun_is_up_after_sunrise_only(latitude: float, day: float, hour: float) -> None:
    rise = sun.sunrise(latitude, day)
    sine = sun.elevation(latitude, day, hour)
    if abs(abs(hour - 12.0) - (12.0 - rise)) > 1e-6:
        assert (sine > 0.0) == (abs(hour - 12.0) < 12.0 - rise)
    assert 0.0 <= sun.clear_sky(sine) < 1100.0


def test_people_look_for_shore_power_before_the_battery_is_empty() -> None:
    site = van(hour=20.0)
    behind(site).power.battery.soc = 0.26
    states = set()
    for _ in range(96):
        run(site, 900.0, step=120.0)
        states.add(site.value(f"{VEBUS}/Ac/ActiveIn/Connected"))
        assert number(site, f"{BATTERY}/Soc") > 20.0
    assert states == {0, 1}


# Writes


@pytest.mark.parametrize(
    ("topic", "sent", "stands"),
    [
        (f"{VEBUS}/Mode", 1, 1),
        (f"{VEBUS}/Mode", 4.0, 4.0),
        (f"{VEBUS}/Mode", True, True),
        (f"{VEBUS}/Ac/In/1/CurrentLimit", 12, 12.0),
        (f"{VEBUS}/Ac/In/1/CurrentLimit", 12.34, float32(12.3)),
        (f"{VEBUS}/Ac/In/1/CurrentLimit", 80.0, 50.0),
        (f"{SOLAR}/Mode", 4, 4),
        (f"{SOLAR}/Settings/ChargeCurrentLimit", 25, 25),
        (f"{SYSTEM}/Relay/0/State", 1, 1),
        (f"{SETTINGS}/Settings/CGwacs/BatteryLife/MinimumSocLimit", 35, 35.0),
        (f"{SETTINGS}/Settings/CGwacs/Hub4Mode", 3, 3),
        (f"{SETTINGS}/Settings/SystemSetup/MaxChargeCurrent", 45, 45),
        (f"{SETTINGS}/Settings/SystemSetup/MaxChargeCurrent", "45", 45),
        (f"{SETTINGS}/Settings/SystemSetup/MaxChargeVoltage", 14.1, 14.1),
        (f"{SETTINGS}/Settings/SystemSetup/AcInput1", 1, 1),
        (f"{SETTINGS}/Settings/SystemSetup/SystemName", 5, "5"),
    ],
)
def test_a_write_takes_effect_in_the_form_the_device_gives_it(topic: str, sent: Value, stands: Value) -> None:
    site = van()
    assert site.write(topic, sent)
    assert site.take_changes()[0] == topic
    assert site.value(topic) == stands
    assert type(site.value(topic)) is type(stands)


@pytest.mark.parametrize(
    ("topic", "sent"),
    [
        (f"{VEBUS}/Mode", 99),
        (f"{VEBUS}/Mode", "1"),
        (f"{VEBUS}/Mode", None),
        (f"{VEBUS}/State", 3),
        (f"{VEBUS}/Nothing", 3),
        ("vebus/277/Mode", 3),
        ("nothing/0/Mode", 3),
        (f"{VEBUS}/Ac/In/1/CurrentLimit", "12"),
        (f"{SOLAR}/Mode", 2),
        (f"{SOLAR}/Settings/ChargeCurrentLimit", 99),
        (f"{BATTERY}/Soc", 50.0),
        (f"{SETTINGS}/Settings/CGwacs/BatteryLife/MinimumSocLimit", 101.0),
        (f"{SETTINGS}/Settings/SystemSetup/MaxChargeCurrent", -2),
        (f"{SETTINGS}/Settings/Services/Modbus", "x"),
        (f"{SETTINGS}/Settings/Services/Modbus", None),
        (f"{SETTINGS}/Settings/Services/Modbus", [1]),
        (f"{SETTINGS}/Settings/NoSuch", 1),
        (f"{SETTINGS}/Settings/Gui/DisplayOff", 1e300),
        (f"{SETTINGS}/Settings/CGwacs/AcPowerSetPoint", "nan"),
    ],
)
def test_what_is_refused_changes_nothing(topic: str, sent: Value) -> None:
    site = van()
    before = site.values()
    assert not site.write(topic, sent)
    assert site.values() == before
    assert site.take_changes() == []
    assert site.actions == []


def test_the_same_value_again_is_no_change() -> None:
    site = van()
    assert site.write(f"{VEBUS}/Mode", 3)
    assert site.take_changes() == []


def test_mode_needs_to_be_adjustable_and_relays_to_be_manual() -> None:
    site = van()
    site.panel(f"{VEBUS}/ModeIsAdjustable", 0)
    site.panel(f"{VEBUS}/Ac/In/1/CurrentLimitIsAdjustable", 0)
    site.panel(f"{SETTINGS}/Settings/Relay/Function", 0)
    assert not site.write(f"{VEBUS}/Mode", 1)
    assert not site.write(f"{VEBUS}/Ac/In/1/CurrentLimit", 10.0)
    assert not site.write(f"{SYSTEM}/Relay/0/State", 1)
    assert site.write(f"{SYSTEM}/Relay/1/State", 1)


def test_the_inverter_follows_its_mode() -> None:
    site = van()
    for mode, state, volts in ((1, 0, False), (2, 9, True), (4, 0, False), (3, 9, True)):
        site.write(f"{VEBUS}/Mode", mode)
        run(site, 2.0)
        assert site.value(f"{VEBUS}/State") == state
        assert (number(site, f"{VEBUS}/Ac/Out/L1/V") > 200.0) is volts
        assert site.value(f"{VEBUS}/Leds/Inverter") == int(volts)


def test_the_owners_limits_hold_only_with_dvcc() -> None:
    site = van()
    site.plug_in()
    site.write(f"{SETTINGS}/Settings/SystemSetup/MaxChargeCurrent", 20)
    run(site, 5.0)
    assert number(site, f"{BATTERY}/Dc/0/Current") == pytest.approx(20.0, abs=1.0)
    assert site.value(f"{SYSTEM}/Control/MaxChargeCurrent") == 1
    site.write(f"{SETTINGS}/Settings/Services/Bol", 0)
    run(site, 5.0)
    assert number(site, f"{BATTERY}/Dc/0/Current") > 50.0


def test_the_input_limit_and_the_solar_switch_are_followed() -> None:
    site = van(hour=12.0)
    site.plug_in()
    site.write(f"{VEBUS}/Ac/In/1/CurrentLimit", 6.0)
    assert site.value(f"{VEBUS}/Ac/ActiveIn/CurrentLimit") == 6.0
    run(site, 5.0)
    assert number(site, f"{VEBUS}/Ac/ActiveIn/L1/P") <= 6.0 * 230.0 + 1.0
    site.write(f"{SOLAR}/Mode", 4)
    run(site, 2.0)
    assert number(site, f"{SOLAR}/Yield/Power") == 0.0
    assert site.value(f"{SOLAR}/State") == 0


@pytest.mark.parametrize("topic", [f"{VEBUS}/RedetectSystem", f"{VEBUS}/SystemReset"])
def test_an_action_is_counted_and_its_value_does_not_move(topic: str) -> None:
    site = van()
    before = site.value(topic)
    assert site.write(topic, 1)
    assert site.write(topic, 1)
    assert not site.write(topic, 2)
    assert [(action.topic, action.value) for action in site.actions] == [(topic, 1), (topic, 1)]
    assert site.value(topic) == before
    assert site.take_changes() == []


def test_a_reset_cuts_the_output_for_a_moment_and_a_charge_state_shows_elsewhere() -> None:
    site = van()
    site.write(f"{VEBUS}/SystemReset", 1)
    run(site, 2.0)
    assert number(site, f"{VEBUS}/Ac/Out/L1/V") == 0.0
    run(site, 10.0)
    assert number(site, f"{VEBUS}/Ac/Out/L1/V") > 200.0
    site.plug_in()
    run(site, 2.0)
    site.write(f"{VEBUS}/VebusSetChargeState", 3)
    site.refresh(VEBUS)
    assert site.value(f"{VEBUS}/VebusChargeState") == FLOAT - 2
    assert site.value(f"{VEBUS}/VebusSetChargeState") == 0


def test_a_volatile_setpoint_lapses_unless_it_is_written_again() -> None:
    site = van()
    topic = "hub4/0/Overrides/Setpoint"
    site.write(topic, 100.0)
    run(site, 50.0)
    site.write(topic, 100.0)
    run(site, 50.0)
    assert site.value(topic) == 100.0
    run(site, 15.0)
    assert site.value(topic) is None


def test_what_the_gx_owns_is_written_over_and_a_restarted_battery_life_moves_on() -> None:
    site = van()
    assert site.write(f"{SOLAR}/Link/VoltageSense", 99.0)
    assert site.write(f"{SETTINGS}/Settings/CGwacs/BatteryLife/State", 1)
    assert site.value(f"{SOLAR}/Link/VoltageSense") == 99.0
    run(site, 1.0)
    assert number(site, f"{SOLAR}/Link/VoltageSense") < 15.0
    assert site.value(f"{SETTINGS}/Settings/CGwacs/BatteryLife/State") == 2


def test_a_person_at_the_panel_is_not_bound() -> None:
    site = van()
    site.panel(f"{VEBUS}/ModeIsAdjustable", 0)
    site.take_changes()
    site.panel(f"{VEBUS}/Mode", 4)
    assert site.take_changes() == [f"{VEBUS}/Mode"]
    run(site, 1.0)
    assert site.value(f"{VEBUS}/State") == 0


# Devices that come and go, and strange values


def test_a_device_leaves_and_returns() -> None:
    site = van()
    gone = site.remove(BATTERY)
    assert f"{BATTERY}/Soc" in gone
    assert site.remove(BATTERY) == []
    changes = run(site, 2.0)
    assert not any(topic.startswith(BATTERY) for topic in changes)
    assert not any(topic.startswith(BATTERY) for topic in site.values())
    assert site.value(f"{SYSTEM}/ActiveBatteryService") == "com.victronenergy.vebus/276"
    assert site.value(f"{SYSTEM}/ServiceMapping/com_victronenergy_battery_512") is None
    assert site.value(f"{SYSTEM}/Dc/Battery/TimeToGo") is None
    assert not site.write(f"{BATTERY}/CustomName", "x")
    with pytest.raises(KeyError):
        site.value(f"{BATTERY}/Soc")
    site.restore(BATTERY)
    assert set(gone) <= set(site.take_changes())
    run(site, 1.0)
    assert site.value(f"{SYSTEM}/ActiveBatteryService") == "com.victronenergy.battery/512"


def test_without_any_charger_there_is_no_solar_power() -> None:
    site = van()
    site.remove(SOLAR)
    site.remove("solarcharger/280")
    site.remove(VEBUS)
    run(site, 1.0)
    assert site.value(f"{SYSTEM}/Dc/Pv/Power") is None
    assert site.value(f"{SYSTEM}/VebusService") is None
    assert site.value(f"{SYSTEM}/Ac/Consumption/L1/Power") is None


def test_a_forced_value_stays_until_it_is_released() -> None:
    site = van()
    site.force(f"{SOLAR}/State", 245)
    assert site.take_changes() == [f"{SOLAR}/State"]
    run(site, 3.0)
    assert site.value(f"{SOLAR}/State") == 245
    site.release(f"{SOLAR}/State")
    assert site.value(f"{SOLAR}/State") == 3


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(KeyError, match="battery/1"):
        van().remove("battery/1")


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/Soc", ["/Soc"]),
        ("/{A,B}/{1-3}", ["/A/1", "/A/2", "/A/3", "/B/1", "/B/2", "/B/3"]),
        ("/Relay/{1/,}Function", ["/Relay/1/Function", "/Relay/Function"]),
    ],
)
def test_patterns_expand(pattern: str, paths: list[str]) -> None:
    assert list(expand(pattern)) == paths


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 24.0), st.booleans(), st.sampled_from([1, 2, 3, 4]))
def test_whatever_happens_the_numbers_stay_believable(seed: int, hour: float, shore: bool, mode: int) -> None:
    site = van(seed, hour=hour)
    if shore:
        site.plug_in()
    site.write(f"{VEBUS}/Mode", mode)
    run(site, 1800.0, step=30.0)
    assert 10.0 < number(site, f"{BATTERY}/Dc/0/Voltage") < 14.5
    assert 0.0 <= number(site, f"{BATTERY}/Soc") <= 100.0
    assert number(site, f"{SOLAR}/Yield/Power") >= 0.0
    assert 0.0 <= number(site, f"{SOLAR}/Pv/V") < 30.0
