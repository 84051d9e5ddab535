"""The twin of a GX, told by its messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import CATALOG
from victron_twin.catalog import Catalog
from victron_twin.twin.devices import HOLD
from victron_twin.twin.flat import nest
from victron_twin.twin.primary import SETTLE
from victron_twin.twin.readings import Trouble
from victron_twin.twin.twin import Twin, iso

PORTAL = "c0619ab2d3e4"
START = 1_700_000_000.0


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return CATALOG


class Bench:
    """A twin with its clock and what it reported."""

    def __init__(self, catalog: Catalog, **more: Any) -> None:
        self.now = START
        self.troubles: list[tuple[Trouble, str]] = []
        self.changes: list[tuple[str, Any, Any]] = []
        self.twin = Twin(
            catalog,
            lambda trouble, where, value: self.troubles.append((trouble, where)),
            changed=lambda *change: self.changes.append(change),
            **more,
        )
        self.twin.portal = PORTAL

    def raw(self, tail: str, payload: bytes) -> None:
        self.twin.receive(f"N/{PORTAL}/{tail}".encode(), payload, self.now)

    def hear(self, tail: str, value: Any) -> None:
        self.raw(tail, json.dumps({"value": value}).encode())

    def battery(self, instance: int = 512, volts: float = 12.45) -> None:
        self.hear(f"battery/{instance}/Dc/0/Voltage", volts)
        self.hear(f"battery/{instance}/Dc/0/Current", -5.2)
        self.hear(f"battery/{instance}/Soc", 87.5)

    def shadow(self, name: str) -> dict[str, Any]:
        sheet = self.twin.sheets(self.now).get(name)
        return nest(sheet.values) if sheet else {}


@pytest.fixture
def bench(catalog: Catalog) -> Bench:
    return Bench(catalog)


def test_a_battery_as_the_mission_shows_it(bench: Bench) -> None:
    bench.battery(volts=12.449999809265137)
    bench.hear("battery/512/TimeToGo", 28800)
    bench.hear("battery/512/ConsumedAmphours", -12.34)
    bench.hear("battery/512/Settings/HasTemperature", 1)
    bench.hear("battery/512/Dc/0/Temperature", 23.4)
    bench.twin.settle()
    battery = bench.shadow("victron-battery")
    assert battery["deviceInstance"] == 512
    assert battery["voltage"] == 12.45
    assert battery["power"] == -64.74
    assert battery["timeToGo"] == 28800
    assert battery["consumed"] == 12.34
    assert battery["temperature"] == 23.4
    assert battery["connected"] is True
    assert battery["lastUpdate"] == battery["since"] == "2023-11-14T22:13:20Z"
    assert battery["missing"] == ""


def test_missing_names_what_is_required_and_not_there(bench: Bench) -> None:
    bench.battery()
    bench.hear("battery/512/Soc", None)
    bench.twin.settle()
    assert bench.shadow("victron-battery")["missing"] == "soc"


def test_a_transient_null_is_held_and_a_lasting_one_removed(bench: Bench) -> None:
    bench.battery()
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.hear("battery/512/Soc", None)
    assert bench.shadow("victron-battery")["soc"] == 87.5
    bench.now += HOLD / 2
    bench.hear("battery/512/Soc", 88.0)
    assert bench.shadow("victron-battery")["soc"] == 88.0
    bench.hear("battery/512/Soc", None)
    bench.shadow("victron-battery")
    bench.now += HOLD
    assert "soc" not in bench.shadow("victron-battery")


def test_a_state_is_never_removed(bench: Bench) -> None:
    bench.hear("solarcharger/279/State", 3)
    bench.twin.settle()
    assert bench.shadow("victron-solarcharger")["state"] == "Bulk"
    bench.hear("solarcharger/279/State", None)
    bench.shadow("victron-solarcharger")
    bench.now += HOLD
    assert bench.shadow("victron-solarcharger")["state"] == "Unknown"


@pytest.mark.parametrize(
    ("payload", "trouble"),
    [
        (b'{"value":"12.45"}', Trouble.TYPE),
        (b"rubbish", Trouble.NOT_JSON),
        (b'{"value":NaN}', Trouble.NOT_A_NUMBER),
        (b'{"value":[12]}', Trouble.TYPE),
    ],
)
def test_rubbish_counts_as_invalid_and_stops_nothing(bench: Bench, payload: bytes, trouble: Trouble) -> None:
    bench.battery()
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.raw("battery/512/Dc/0/Voltage", payload)
    bench.hear("battery/512/Soc", 50.0)
    shown = bench.shadow("victron-battery")
    assert shown["voltage"] == 12.45
    assert shown["soc"] == 50
    assert trouble in {t for t, _ in bench.troubles}
    bench.now += HOLD
    assert "voltage" not in bench.shadow("victron-battery")


def test_zero_bytes_mark_a_device_as_gone_at_once_and_keep_what_was_last_known(bench: Bench) -> None:
    bench.battery()
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.now += 100
    for path in ("Dc/0/Voltage", "Dc/0/Current", "Soc"):
        bench.raw(f"battery/512/{path}", b"")
    gone = bench.shadow("victron-battery")
    assert gone["connected"] is False
    assert gone["since"] == "2023-11-14T22:15:00Z"
    bench.now += 1000
    assert bench.shadow("victron-battery")["voltage"] == 12.45
    bench.battery(volts=13.0)
    back = bench.shadow("victron-battery")
    assert back["connected"] is True
    assert back["voltage"] == 13


def test_a_silent_gx_shows_nothing_as_live(bench: Bench) -> None:
    bench.battery()
    bench.hear("gps/0/Fix", 1)
    bench.twin.settle()
    bench.now += 15
    bench.twin.silent(bench.now)
    assert not any(nest(s.values)["connected"] for s in bench.twin.sheets(bench.now).values())
    bench.hear("battery/512/Soc", 80.0)
    assert bench.shadow("victron-battery")["connected"] is True


def test_what_two_full_publishes_lack_is_gone(bench: Bench) -> None:
    bench.battery(512)
    bench.battery(513)
    bench.hear("battery/512/Soh", 99.0)
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.now += 50
    began = bench.now
    bench.battery(512)
    bench.twin.prune(began, bench.now)
    shown = bench.shadow("victron-battery")
    assert shown["devices"]["513"]["connected"] is False
    assert shown["connected"] is True
    bench.now += HOLD
    assert "health" not in bench.shadow("victron-battery")


def test_further_devices_stand_below_with_the_same_fields(bench: Bench) -> None:
    for instance, watts in ((279, 150.0), (280, 90.0)):
        bench.hear(f"solarcharger/{instance}/Yield/Power", watts)
        bench.hear(f"solarcharger/{instance}/Pv/V", 30.0)
    bench.twin.settle()
    shown = bench.shadow("victron-solarcharger")
    assert shown["deviceInstance"] == 279
    assert shown["pv"]["power"] == 150
    assert shown["devices"]["280"]["pv"] == {"power": 90, "voltage": 30, "current": 3}
    assert shown["devices"]["280"]["deviceInstance"] == 280


def test_the_gx_names_the_primary_battery(bench: Bench) -> None:
    bench.battery(279)
    bench.battery(512)
    bench.hear("system/0/ActiveBatteryService", "com.victronenergy.battery/512")
    bench.twin.settle()
    assert bench.shadow("victron-battery")["deviceInstance"] == 512


def test_a_change_of_the_primary_settles_and_is_told(bench: Bench) -> None:
    bench.battery(279)
    bench.battery(512)
    bench.hear("system/0/ActiveBatteryService", "com.victronenergy.battery/512")
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.hear("system/0/ActiveBatteryService", "com.victronenergy.battery/279")
    assert bench.shadow("victron-battery")["deviceInstance"] == 512
    bench.now += SETTLE
    assert bench.shadow("victron-battery")["deviceInstance"] == 279
    assert bench.changes[-1] == ("battery", ("battery", "512"), ("battery", "279"))


@pytest.mark.parametrize("active", ["com.victronenergy.vebus/276", None])
def test_without_an_active_battery_service_the_system_fills_the_top(bench: Bench, active: str | None) -> None:
    bench.battery(512)
    bench.hear("system/0/ActiveBatteryService", active)
    bench.hear("system/0/Dc/Battery/Voltage", 26.3)
    bench.hear("system/0/Dc/Battery/Soc", 75.5)
    bench.twin.settle()
    shown = bench.shadow("victron-battery")
    assert shown["source"] == "system/0/Dc/Battery"
    assert shown["voltage"] == 26.3
    assert "deviceInstance" not in shown
    assert shown["devices"]["512"]["voltage"] == 12.45


def test_bus_names_are_resolved(bench: Bench) -> None:
    bench.hear("gps/0/Fix", 1)
    bench.hear("gps/2/Fix", 1)
    bench.hear("system/0/GpsService", "com.victronenergy.gps.ve_ttyACM0")
    bench.hear("system/0/ServiceMapping/com_victronenergy_gps_2", "com.victronenergy.gps.ve_ttyACM0")
    bench.twin.settle()
    assert bench.shadow("victron-gps")["deviceInstance"] == 2


@pytest.mark.parametrize("configured", [True, False])
def test_the_remembered_primary_stays_while_it_is_away(catalog: Catalog, configured: bool) -> None:
    key = {"solarcharger": ("solarcharger", "280")}
    bench = Bench(catalog, **({"configured": key} if configured else {"remembered": key}))
    bench.hear("solarcharger/279/Yield/Power", 150.0)
    bench.twin.settle()
    shown = bench.shadow("victron-solarcharger")
    assert shown["devices"]["279"]["pv"]["power"] == 150
    assert "pv" not in shown


def test_what_an_earlier_run_has_shown_stands_until_the_gx_is_heard_or_silent(bench: Bench) -> None:
    bench.twin.restore(
        "victron-battery",
        {
            "deviceInstance": 512,
            "connected": True,
            "since": "2023-11-01T00:00:00Z",
            "voltage": 12.3,
            "health": 98,
            "devices": {"513": {"connected": True, "since": "2023-11-01T00:00:00Z", "voltage": 12.1}},
        },
    )
    shown = bench.shadow("victron-battery")
    assert shown["connected"] is True
    assert shown["voltage"] == 12.3
    bench.twin.silent(bench.now)
    assert bench.shadow("victron-battery")["connected"] is False
    bench.battery(512)
    bench.twin.settle()
    bench.twin.prune(START, bench.now)
    shown = bench.shadow("victron-battery")
    assert shown["voltage"] == 12.45
    assert "health" not in shown
    assert shown["devices"]["513"] == {
        "connected": False,
        "since": iso(START),
        "deviceInstance": 513,
        "voltage": 12.1,
    }


def test_nothing_for_a_service_that_the_site_does_not_have(bench: Bench) -> None:
    bench.battery()
    bench.twin.settle()
    assert set(bench.twin.sheets(bench.now)) == {"victron-battery"}


def test_only_what_is_included(catalog: Catalog) -> None:
    def select(service: str, instance: str, path: str) -> bool:
        return service == "battery" and path != "/Soc"

    bench = Bench(catalog, select=select)
    bench.battery()
    bench.hear("gps/0/Fix", 1)
    bench.twin.settle()
    assert set(bench.twin.sheets(bench.now)) == {"victron-battery"}
    assert "soc" not in bench.shadow("victron-battery")


def test_topics_of_another_form_are_counted_and_nothing_stops(bench: Bench) -> None:
    bench.raw("battery/512", b"1")
    bench.raw("GuiCustomizations/0/x", b"1")
    bench.battery()
    assert [t for t, _ in bench.troubles] == [Trouble.TOPIC, Trouble.TOPIC]


def test_the_documents_are_the_same_whatever_the_order(catalog: Catalog) -> None:
    messages: list[Callable[[Bench], None]] = [
        lambda b: b.hear("battery/512/Dc/0/Voltage", 12.5),
        lambda b: b.hear("battery/512/Dc/0/Current", 3.0),
        lambda b: b.hear("battery/512/Settings/HasTemperature", 0),
        lambda b: b.hear("battery/512/Dc/0/Temperature", 20.0),
        lambda b: b.hear("system/0/ActiveBatteryService", "com.victronenergy.battery/512"),
    ]
    shown = []
    for order in (messages, messages[::-1]):
        bench = Bench(catalog)
        for message in order:
            message(bench)
        bench.twin.settle()
        shown.append(bench.shadow("victron-battery"))
    assert shown[0] == shown[1]
    assert "temperature" not in shown[0]


def test_what_no_sensor_can_say_is_no_value(bench: Bench) -> None:
    bench.hear("vebus/276/Mode", 3)
    bench.hear("vebus/276/Dc/0/Temperature", -273.0)
    bench.twin.settle()
    assert "dc" not in bench.shadow("victron-vebus")


def test_an_oversized_message_counts_as_invalid(bench: Bench) -> None:
    bench.battery()
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.twin.oversized(f"N/{PORTAL}/battery/512/Soc".encode(), 2_000_000, bench.now)
    assert bench.shadow("victron-battery")["soc"] == 87.5
    bench.now += HOLD
    assert "soc" not in bench.shadow("victron-battery")
    assert bench.troubles[-1][0] is Trouble.OVERSIZED


def test_what_an_earlier_run_showed_moves_on_when_it_is_heard_again(bench: Bench) -> None:
    bench.twin.restore("victron-settings", {"connected": True, "deviceInstance": 0, "ess": {"minimumSoc": 15}})
    bench.hear("settings/0/Settings/SystemSetup/SystemName", "Van")
    assert bench.shadow("victron-settings")["ess"]["minimumSoc"] == 15
    bench.hear("settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit", 15)
    assert bench.shadow("victron-settings")["ess"]["minimumSoc"] == 15
    bench.hear("settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit", 35)
    assert bench.shadow("victron-settings")["ess"]["minimumSoc"] == 35
