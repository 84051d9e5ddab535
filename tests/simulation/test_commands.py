"""What the cloud desires is executed on the GX, confirmed and told, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.test_convergence import world
from tests.simulation.world import World
from victron_twin.simulator.plugin import BUS_DELAY
from victron_twin.twin.twin import iso


@pytest.fixture
def van(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, 1, VICTRON_TWIN_COMMANDS="all") as made:
        made.run(20)
        yield made


def no_delta(made: World, name: str) -> None:
    assert "delta" not in made.shadow(name)["state"]


@pytest.mark.parametrize("asked", ["Charger Only", "charger only", 1])
def test_a_setting_is_written_confirmed_and_settled(van: World, asked: Any) -> None:
    van.desire("victron-vebus", mode=asked)
    van.run(3)
    assert van.site.value("vebus/276/Mode") == 1
    assert van.reported("victron-vebus")["mode"] == "Charger Only"
    no_delta(van, "victron-vebus")
    assert van.shadow("victron-vebus")["state"]["desired"] == {"mode": "Charger Only"}
    result = van.result("victron-vebus", "mode")
    assert result.pop("at").endswith("Z")
    assert result == {"status": "applied", "value": asked, "reason": "", "id": ""}
    assert [s["step"] for s in van.steps()] == ["received", "written", "confirmed", "settled"]
    assert all(s["result"] for s in van.steps())
    assert len(van.gx.writes) == 1


def test_a_setting_is_written_at_once_and_settled_with_the_echo(van: World) -> None:
    for count, asked in enumerate(["Charger Only", "On"] * 5):
        van.desire("victron-vebus", mode=asked)
        desired = van.clock.seconds()
        while len(van.gx.writes) == count:
            van.step(1)
        assert van.clock.seconds() - desired <= BUS_DELAY[1]
        van.run(0)
        assert van.result("victron-vebus", "mode")["value"] == asked
        van.run(1)


def test_a_setting_costs_one_update(van: World) -> None:
    """What is not due is not hurried by it."""
    van.run(0.3)  # between two flushes
    for asked in ("Charger Only", "On") * 10:
        version = van.shadow("victron-vebus")["version"]
        van.desire("victron-vebus", mode=asked)
        van.run(0.1)
        assert van.result("victron-vebus", "mode")["value"] == asked
        assert van.shadow("victron-vebus")["version"] == version + 2
        van.run(3.9)


@pytest.mark.parametrize(
    ("shadow", "desired", "field", "reason"),
    [
        ("victron-vebus", {"mode": 99}, "mode", "must be one of"),
        ("victron-vebus", {"mode": "Sideways"}, "mode", "must be one of"),
        ("victron-vebus", {"mode": {"value": 1}}, "mode", "plain value"),
        ("victron-vebus", {"mode": {"value": 1, "id": "a", "expires": "2024-06-20T10:05:00Z"}}, "mode", "plain value"),
        ("victron-vebus", {"currentLimit": 10**22}, "currentLimit", "no value"),
        ("victron-vebus", {"currentLimit": 10**310}, "currentLimit", "number"),
        ("victron-vebus", {"currentLimit": 101}, "currentLimit", "from 0 to 100 A"),
        ("victron-vebus", {"currentLimit": "lots"}, "currentLimit", "number"),
        ("victron-vebus", {"currentLimit": True}, "currentLimit", "number"),
        ("victron-settings", {"ess": {"minimumSoc": 120}}, "ess.minimumSoc", "from 0 to 100 %"),
        ("victron-vebus", {"redetectSystem": 1}, "redetectSystem", '"expires"'),
        ("victron-vebus", {"devices": {"276": {"mode": 1}}}, "devices.276.mode", "at the top only"),
        ("victron-solarcharger", {"devices": {"999": {"mode": 4}}}, "devices.999.mode", "does not have"),
        ("victron-vebus", {"state": "Bulk"}, "state", "read-only"),
        ("victron-vebus", {"frobnicate": {"now": 1}}, "frobnicate.now", "no field"),
        ("victron-twin", {"version": "9"}, "version", "read-only"),
    ],
)
def test_what_cannot_be_is_rejected_with_a_reason_and_no_delta_stays(
    van: World, shadow: str, desired: dict[str, Any], field: str, reason: str
) -> None:
    van.desire(shadow, **desired)
    van.run(3)
    result = van.result(shadow, field)
    assert result["status"] == "rejected"
    assert reason in result["reason"]
    no_delta(van, shadow)
    assert not van.gx.writes
    assert not van.site.actions


def test_a_rounded_value_counts_as_applied_with_the_effective_value(van: World) -> None:
    van.desire("victron-vebus", currentLimit=99)
    van.run(4)
    assert van.reported("victron-vebus")["currentLimit"] == 50
    assert van.result("victron-vebus", "currentLimit")["status"] == "applied"
    no_delta(van, "victron-vebus")


def test_the_two_names_of_one_limit_follow_each_other(van: World) -> None:
    van.desire("victron-vebus", currentLimit=12.5, input1={"currentLimit": 12.5})
    van.run(3)
    van.desire("victron-vebus", input1={"currentLimit": 20})
    van.run(3)
    desired = van.shadow("victron-vebus")["state"]["desired"]
    assert desired == {"currentLimit": 20, "input1": {"currentLimit": 20}}
    no_delta(van, "victron-vebus")


def test_what_is_so_already_is_not_written(van: World) -> None:
    van.desire("victron-vebus", mode=3)
    van.run(3)
    assert van.result("victron-vebus", "mode")["status"] == "applied"
    assert not van.gx.writes


def test_ess_mode_is_two_settings_in_their_order(van: World) -> None:
    van.desire("victron-settings", ess={"mode": "Keep batteries charged"})
    van.run(3)
    paths = [topic for _, topic, _ in van.gx.writes]
    assert paths == ["settings/0/Settings/CGwacs/Hub4Mode", "settings/0/Settings/CGwacs/BatteryLife/State"]
    assert van.reported("victron-settings")["ess"]["mode"] == "Keep batteries charged"
    assert van.result("victron-settings", "ess.mode")["status"] == "applied"
    no_delta(van, "victron-settings")


SETTINGS = "settings/0/Settings"


@pytest.mark.parametrize(
    ("shadow", "desired", "topic", "value"),
    [
        ("victron-solarcharger", {"mode": "Off"}, "solarcharger/279/Mode", 4),
        ("victron-solarcharger", {"devices": {"280": {"mode": "Off"}}}, "solarcharger/280/Mode", 4),
        ("victron-system", {"relays": {"0": {"state": "Closed"}}}, "system/0/Relay/0/State", 1),
        ("victron-system", {"relays": {"1": {"state": 1}}}, "system/0/Relay/1/State", 1),
        ("victron-settings", {"ess": {"minimumSoc": 25}}, f"{SETTINGS}/CGwacs/BatteryLife/MinimumSocLimit", 25),
        ("victron-settings", {"dvcc": {"maxChargeCurrent": 60}}, f"{SETTINGS}/SystemSetup/MaxChargeCurrent", 60),
        ("victron-settings", {"dvcc": {"maxChargeVoltage": 14.2}}, f"{SETTINGS}/SystemSetup/MaxChargeVoltage", 14.2),
        ("victron-settings", {"acInputs": {"1": {"type": "Grid"}}}, f"{SETTINGS}/SystemSetup/AcInput1", 1),
    ],
)
def test_every_setting_of_the_first_slice(
    van: World, shadow: str, desired: dict[str, Any], topic: str, value: Any
) -> None:
    before = type(van.site.value(topic))
    van.desire(shadow, **desired)
    van.run(3)
    assert van.site.value(topic) == value
    assert type(van.site.value(topic)) is before
    assert [s["status"] for s in van.reported(shadow)["commands"].values()] == ["applied"]
    no_delta(van, shadow)


def test_a_relay_is_refused_unless_its_function_is_manual(van: World) -> None:
    van.site.panel("settings/0/Settings/Relay/Function", 0)
    van.run(5)
    van.desire("victron-system", relays={"0": {"state": "Closed"}})
    van.run(3)
    result = van.result("victron-system", "relays.0.state")
    assert (result["status"], "Relay/Function" in result["reason"]) == ("rejected", True)
    assert not van.gx.writes
    no_delta(van, "victron-system")


def test_a_panel_change_is_reported_and_the_old_desire_not_forced_back(van: World) -> None:
    van.desire("victron-vebus", mode="Charger Only")
    van.run(5)
    van.site.panel("vebus/276/Mode", 3)
    van.run(30)
    assert van.reported("victron-vebus")["mode"] == "On"
    assert van.site.value("vebus/276/Mode") == 3
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    van.restart()
    van.run(60)
    assert van.site.value("vebus/276/Mode") == 3
    assert len(van.gx.writes) == 1


def test_an_old_wish_can_be_wished_again(van: World) -> None:
    for mode, raw in (("Charger Only", 1), ("On", 3), ("Charger Only", 1)):
        van.desire("victron-vebus", mode=mode)
        van.run(4)
        assert van.site.value("vebus/276/Mode") == raw
    assert len(van.gx.writes) == 3


def action(van: World, identity: str, seconds: float = 60, value: Any = 1) -> dict[str, Any]:
    return {"value": value, "id": identity, "expires": iso(van.clock.seconds() + seconds)}


def test_an_action_runs_once_for_each_id(van: World) -> None:
    asked = action(van, "a-1")
    van.desire("victron-vebus", redetectSystem=asked)
    van.run(5)
    assert [a.topic for a in van.site.actions] == ["vebus/276/RedetectSystem"]
    assert van.result("victron-vebus", "redetectSystem")["status"] == "sent"
    assert van.reported("victron-vebus")["redetectSystem"] == asked
    no_delta(van, "victron-vebus")
    van.restart()
    van.run(40)
    van.desire("victron-vebus", redetectSystem=action(van, "a-1", 90))
    van.run(5)
    assert len(van.site.actions) == 1
    result = van.result("victron-vebus", "redetectSystem")
    assert (result["status"], result["id"]) == ("rejected", "a-1")
    no_delta(van, "victron-vebus")
    van.desire("victron-vebus", redetectSystem=action(van, "a-2"))
    van.run(5)
    assert len(van.site.actions) == 2


@pytest.mark.parametrize(("seconds", "status"), [(-5, "expired"), (90_000, "rejected")])
def test_an_action_has_its_time(van: World, seconds: float, status: str) -> None:
    van.desire("victron-vebus", redetectSystem=action(van, "a-1", seconds))
    van.run(5)
    assert van.result("victron-vebus", "redetectSystem")["status"] == status
    assert not van.site.actions
    no_delta(van, "victron-vebus")


def test_while_the_gx_is_away_a_setting_waits_and_an_action_expires(van: World) -> None:
    van.process.network.refuse = True
    van.process.network.cut()
    van.run(20)
    van.desire("victron-vebus", mode="Charger Only", redetectSystem=action(van, "a-1", 30))
    van.run(5)
    assert van.result("victron-vebus", "mode")["status"] == "pending"
    van.run(40)
    assert van.result("victron-vebus", "redetectSystem")["status"] == "expired"
    van.process.network.refuse = False
    van.run(120)
    assert van.result("victron-vebus", "mode")["status"] == "applied"
    assert van.site.value("vebus/276/Mode") == 1
    assert not van.site.actions
    no_delta(van, "victron-vebus")


def test_actions_wait_while_the_clocks_are_apart(van: World) -> None:
    van.gx.clock_skew = 300
    van.run(10)
    van.desire("victron-vebus", redetectSystem=action(van, "a-1"))
    van.run(5)
    assert van.result("victron-vebus", "redetectSystem")["status"] == "pending"
    van.gx.clock_skew = 0
    van.run(10)
    assert van.result("victron-vebus", "redetectSystem")["status"] == "sent"


def test_a_gx_that_takes_no_write_is_told_truthfully(van: World) -> None:
    van.site.panel("vebus/276/ModeIsAdjustable", 1)
    van.gx.write = lambda topic, value: None  # type: ignore[method-assign]  # a driver that refuses in silence
    van.desire("victron-vebus", mode="Charger Only")
    van.run(8)
    result = van.result("victron-vebus", "mode")
    assert result["status"] == "rejected"
    assert "keeps" in result["reason"]
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    no_delta(van, "victron-vebus")


def test_desires_that_were_made_while_the_service_was_down(van: World) -> None:
    van.process.kill()
    store = van.local
    store._file.open()
    van.desire("victron-vebus", mode="Charger Only")
    store._file.close()
    van.process = type(van.process)(van, **van.options)
    van.run(20)
    assert van.site.value("vebus/276/Mode") == 1
    assert van.result("victron-vebus", "mode")["status"] == "applied"


@pytest.mark.parametrize(
    ("mode", "desired", "status"),
    [
        ("allow-list", {"mode": "Off"}, "rejected"),
        ("allow-list", {"mode": "Charger Only"}, "rejected"),
        ("allow-list", {"mode": "Inverter Only"}, "applied"),
        ("off", {"mode": "Inverter Only"}, "rejected"),
        ("all", {"mode": "Off"}, "applied"),
    ],
)
def test_what_could_switch_the_site_off_is_not_in_the_default_allow_list(
    tmp_path: Path, mode: str, desired: dict[str, Any], status: str
) -> None:
    with world(tmp_path, 1, VICTRON_TWIN_COMMANDS=mode) as van:
        van.run(20)
        van.desire("victron-vebus", **desired)
        van.run(3)
        assert van.result("victron-vebus", "mode")["status"] == status
        assert len(van.gx.writes) == (status == "applied")
        no_delta(van, "victron-vebus")


def test_charger_only_is_allowed_while_shore_power_is_there(tmp_path: Path) -> None:
    with world(tmp_path, 1) as van:
        van.site.plug_in()
        van.run(120)
        van.desire("victron-vebus", mode="Charger Only")
        van.run(3)
        assert van.result("victron-vebus", "mode")["status"] == "applied", van.reported("victron-vebus")["acIn"]


def test_a_desire_for_what_the_site_does_not_have_is_taken_back(van: World) -> None:
    van.desire("victron-tank", devices={"3": {"level": 50}})
    van.run(3)
    assert "delta" not in van.shadow("victron-tank")["state"]
    assert "desired" not in van.shadow("victron-tank")["state"]


def test_the_shadow_of_another_application_is_left_alone(van: World) -> None:
    van.desire("my-app", mode="On")
    van.run(60)
    assert van.shadow("my-app")["state"]["desired"] == {"mode": "On"}
    assert van.shadow("my-app")["version"] == 1


def test_the_pending_desire_of_a_primary_that_changed_is_rejected(van: World) -> None:
    van.gx.remove("solarcharger", 279)
    van.run(5)
    van.desire("victron-solarcharger", mode="Off")
    van.run(5)
    assert van.result("victron-solarcharger", "mode")["status"] == "pending"
    van.process.core.gxs[0].twin.primaries["solarcharger"] = ("solarcharger", "280")
    van.process.core.gxs[0].twin._stale.add("victron-solarcharger")
    van.run(10)
    result = van.result("victron-solarcharger", "mode")
    assert (result["status"], "primary changed" in result["reason"]) == ("rejected", True)
    assert van.site.value("solarcharger/280/Mode") == 1
    assert not van.gx.writes
