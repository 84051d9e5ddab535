"""What a desire leaves to be done later: setpoints that are held, guarded settings, enforced ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.odd import CONFIG, odd_van
from tests.simulation.test_convergence import world
from tests.simulation.world import THING, CloudWorld, World, running
from victron_twin.simulator.site import Site
from victron_twin.twin.desires import at
from victron_twin.twin.twin import iso

GRID = "hub4/0/Overrides/Setpoint"
SAFE = 50.0


@pytest.fixture
def van(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, 1, VICTRON_TWIN_COMMANDS="all") as made:
        made.run(20)
        yield made


def setpoint(made: World, value: Any = -500, seconds: float = 300, identity: str = "s-1") -> dict[str, Any]:
    return {"value": value, "id": identity, "expires": iso(made.clock.seconds() + seconds)}


def hold(made: World, **more: Any) -> dict[str, Any]:
    asked = setpoint(made, **more)
    made.desire("victron-system", setpoints={"grid": asked})
    return asked


def result(made: World) -> dict[str, Any]:
    return made.result("victron-system", "setpoints.grid")


def writes(made: World, topic: str = GRID) -> list[tuple[float, Any]]:
    return [(when - made.began, value) for when, where, value in made.gx.writes if where == topic]


def holds(made: World) -> dict[Any, Any]:
    record = made.process.core.commands._offices[THING].record
    return {path: hold for shadow in record.holds.values() for path, hold in shadow.items()}


# Setpoints.


def test_a_setpoint_is_held_until_it_expires_and_let_go_of_to_its_safe_value(van: World) -> None:
    asked = hold(van)
    van.run(3)
    assert van.site.value(GRID) == -500
    assert (result(van)["status"], result(van)["id"]) == ("applied", "s-1")
    assert at(van.reported("victron-system"), ("setpoints", "grid")) == asked
    assert "delta" not in van.shadow("victron-system")["state"]
    for _ in range(28):
        van.run(10)
        assert van.site.value(GRID) == -500
    held = writes(van)
    assert all(later - sooner <= 25 for (sooner, _), (later, _) in pairwise(held))
    van.run(25)
    assert van.site.value(GRID) == SAFE
    assert result(van)["status"] == "expired"
    assert "let go of" in result(van)["reason"]
    count = len(van.gx.writes)
    van.run(200)
    assert len(van.gx.writes) == count
    assert "delta" not in van.shadow("victron-system")["state"]
    assert not holds(van)
    assert len(writes(van)) == len([s for s in van.steps() if s["step"] == "written"])
    assert [s["step"] for s in van.steps() if s["step"] != "written"] == [
        "received",
        "confirmed",
        "settled",
        "confirmed",
        "settled",
    ]


def test_it_is_never_written_after_it_expired(van: World) -> None:
    hold(van, seconds=45)
    end = van.clock.seconds() + 45
    van.run(120)
    assert all(when + van.began <= end for when, value in writes(van) if value == -500)
    assert van.site.value(GRID) is None or van.site.value(GRID) == SAFE


@pytest.mark.parametrize("asked", [-500, {"value": -500}, {"value": -500, "id": "a"}, "full"])
def test_a_bare_setpoint_is_refused_with_the_form(van: World, asked: Any) -> None:
    van.desire("victron-system", setpoints={"grid": asked})
    van.run(5)
    assert result(van)["status"] == "rejected"
    assert '"expires"' in result(van)["reason"]
    assert not van.gx.writes
    assert "delta" not in van.shadow("victron-system")["state"]


def test_it_is_let_go_of_when_it_is_desired_no_more(van: World) -> None:
    hold(van)
    van.run(10)
    van.update("victron-system", {"state": {"desired": {"setpoints": {"grid": None}}}})
    van.run(35)
    assert van.site.value(GRID) == SAFE
    assert (result(van)["status"], "no longer desired" in result(van)["reason"]) == ("expired", True)
    van.run(100)
    assert van.site.value(GRID) != -500


def test_what_a_withdrawal_leaves_in_desired_is_cleared(van: World) -> None:
    van.update("victron-system", {"state": {"desired": {"setpoints": {"grid": None}}}})
    van.run(10)
    state = van.shadow("victron-system")["state"]
    assert "setpoints" not in state.get("desired", {})
    assert "delta" not in state


def test_it_is_let_go_of_when_the_shadow_is_deleted(van: World) -> None:
    hold(van)
    van.run(10)
    van.process.store.delete(THING, "victron-system")
    van.run(40)
    assert van.site.value(GRID) == SAFE


def test_a_newer_one_takes_its_place(van: World) -> None:
    hold(van)
    van.run(5)
    asked = hold(van, value=800, identity="s-2")
    van.run(5)
    assert [value for _, value in writes(van)] == [-500, 800]
    assert result(van)["id"] == "s-2"
    assert at(van.reported("victron-system"), ("setpoints", "grid")) == asked
    van.run(60)
    assert van.site.value(GRID) == 800


def test_a_newer_one_that_is_refused_ends_it_all_the_same(van: World) -> None:
    hold(van)
    van.run(5)
    hold(van, value=99_999, identity="s-2")
    van.run(5)
    assert van.site.value(GRID) == SAFE
    assert (result(van)["status"], result(van)["id"]) == ("rejected", "s-2")
    van.run(100)
    assert [value for _, value in writes(van)] == [-500, SAFE]


def test_an_id_counts_once(van: World) -> None:
    asked = hold(van, seconds=30)
    van.run(60)
    assert result(van)["status"] == "expired"
    count = len(van.gx.writes)
    van.desire("victron-system", setpoints={"grid": {**asked, "expires": iso(van.clock.seconds() + 100)}})
    van.run(10)
    assert result(van)["status"] == "rejected"
    van.desire("victron-system", setpoints={"grid": asked})
    van.run(10)
    assert len(van.gx.writes) == count
    assert "delta" not in van.shadow("victron-system")["state"]


def test_it_goes_on_over_a_restart_and_ends_when_its_time_is_over(van: World) -> None:
    hold(van, seconds=120)
    van.run(10)
    van.restart()
    van.run(60)
    assert van.site.value(GRID) == -500
    assert result(van)["status"] == "applied"
    van.run(80)
    assert van.site.value(GRID) == SAFE
    assert result(van)["status"] == "expired"
    assert [s["step"] for s in van.steps()].count("received") == 1


def test_what_was_withdrawn_while_the_service_was_down_is_let_go_of(van: World) -> None:
    hold(van)
    van.run(10)
    van.process.kill()
    store = van.local
    store._file.open()
    van.update("victron-system", {"state": {"desired": None}})
    store._file.close()
    van.process = type(van.process)(van, **van.options)
    van.run(30)
    assert van.site.value(GRID) == SAFE
    assert [value for _, value in writes(van)] == [-500, SAFE]


def test_while_the_gx_is_away_it_waits_and_is_written_again_when_it_is_back(van: World) -> None:
    hold(van, seconds=600)
    van.run(10)
    van.process.network.refuse = True
    van.process.network.cut()
    van.run(90)
    assert van.site.value(GRID) != -500
    assert result(van)["status"] == "pending"
    van.process.network.refuse = False
    van.run(60)
    assert van.site.value(GRID) == -500
    assert result(van)["status"] == "applied"
    van.process.network.refuse = True
    van.process.network.cut()
    van.run(600)
    assert result(van)["status"] == "pending"
    van.process.network.refuse = False
    van.run(90)
    assert result(van)["status"] == "expired"
    assert van.site.value(GRID) != -500


def test_the_emergency_off_lets_go_at_once(van: World) -> None:
    hold(van)
    van.run(10)
    van.process.core.commands.switch(True, "test")
    van.run(5)
    assert van.site.value(GRID) == SAFE
    assert (result(van)["status"], "by hand" in result(van)["reason"]) == ("rejected", True)
    count = len(van.gx.writes)
    van.process.core.commands.switch(False, "test")
    van.run(60)
    assert len(van.gx.writes) == count


def test_a_clock_that_jumps_ends_it(van: World) -> None:
    hold(van)
    van.run(10)
    van.gx.clock_skew = 300
    van.run(10)
    assert van.site.value(GRID) == SAFE
    assert result(van)["status"] == "expired"


def test_a_precondition_that_is_no_longer_met_ends_it(tmp_path: Path) -> None:
    with running(World(tmp_path, 1, site=Site.large, VICTRON_TWIN_COMMANDS="all")) as made:
        made.site.force("settings/0/Settings/CGwacs/Hub4Mode", 3)
        made.run(40)
        topic = "vebus/276/Hub4/L1/AcPowerSetpoint"
        made.desire("victron-vebus", setpoints={"l1": {"acPower": setpoint(made)}})
        made.run(5)
        assert made.site.value(topic) == -500
        made.site.force("settings/0/Settings/CGwacs/Hub4Mode", 1)
        made.run(30)
        assert made.result("victron-vebus", "setpoints.l1.acPower")["status"] == "rejected"
        assert "Hub4Mode" in made.result("victron-vebus", "setpoints.l1.acPower")["reason"]
        assert writes(made, topic)[-1][1] == 0


def test_it_is_let_go_of_when_the_cloud_is_out_of_reach(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1, VICTRON_TWIN_COMMANDS="all")) as made:
        made.run(60)
        hold(made, seconds=3_000)
        made.run(200)
        assert made.site.value(GRID) == -500
        made.cloud.online = False
        made.run(250)
        assert made.site.value(GRID) == -500
        made.run(80)
        assert made.site.value(GRID) == SAFE
        made.cloud.online = True
        made.run(120)
        assert "out of reach" in result(made)["reason"]
        assert made.site.value(GRID) != -500


def test_a_quiet_cloud_is_not_one_that_is_out_of_reach(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1, VICTRON_TWIN_COMMANDS="all")) as made:
        made.run(60)
        hold(made, seconds=3_000)
        made.run(10)
        made.site.panel("system/0/Relay/0/State", 1)
        made.run(2_000)
        assert made.site.value(GRID) == -500


# Guarded settings.


def guard(made: World, value: Any = "Charger Only", after: float = 60, **more: Any) -> None:
    made.desire("victron-vebus", mode={"value": value, "revertAfter": after, **more})


def mode(made: World) -> Any:
    return made.site.value("vebus/276/Mode")


def test_a_guarded_setting_goes_back_unless_it_is_confirmed(van: World) -> None:
    guard(van)
    van.run(5)
    assert mode(van) == 1
    assert van.result("victron-vebus", "mode")["status"] == "applied"
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "Charger Only"
    assert "delta" not in van.shadow("victron-vebus")["state"]
    van.run(50)
    assert mode(van) == 1
    van.run(15)
    assert mode(van) == 3
    told = van.result("victron-vebus", "mode")
    assert (told["status"], told["reason"]) == ("expired", "not confirmed in time: back to On")
    assert van.reported("victron-vebus")["mode"] == "On"
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    assert "delta" not in van.shadow("victron-vebus")["state"]
    assert not holds(van)


@pytest.mark.parametrize("again", [{"revertAfter": 0}, {"revertAfter": 60}, {"revertAfter": 30, "id": "b"}])
def test_the_same_desire_once_more_confirms_it(van: World, again: dict[str, Any]) -> None:
    guard(van)
    van.run(20)
    van.desire("victron-vebus", mode={"value": "Charger Only", **again})
    van.run(200)
    assert mode(van) == 1
    assert van.result("victron-vebus", "mode")["status"] == "applied"
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "Charger Only"
    assert len(van.gx.writes) == 1
    assert not holds(van)


def test_an_old_document_that_comes_back_does_not_confirm_it(van: World) -> None:
    guard(van, id="g-1")
    van.run(20)
    guard(van, id="g-1")
    van.run(20)
    assert mode(van) == 1
    assert "delta" not in van.shadow("victron-vebus")["state"]
    van.run(40)
    assert mode(van) == 3


def test_a_guarded_setting_goes_back_after_a_restart_too(van: World) -> None:
    guard(van)
    van.run(20)
    van.process.kill()
    van.run(300)
    assert mode(van) == 1
    van.process = type(van.process)(van, **van.options)
    van.run(30)
    assert mode(van) == 3
    assert van.result("victron-vebus", "mode")["status"] == "expired"


def test_somebody_at_the_panel_ends_the_guard(van: World) -> None:
    guard(van)
    van.run(20)
    van.site.panel("vebus/276/Mode", 2)
    van.run(200)
    assert mode(van) == 2
    assert len(van.gx.writes) == 1
    assert van.shadow("victron-vebus")["state"]["desired"]["mode"] == "Inverter Only"


def test_another_desire_ends_the_guard(van: World) -> None:
    guard(van)
    van.run(20)
    van.desire("victron-vebus", mode="Inverter Only")
    van.run(200)
    assert mode(van) == 2


def test_a_second_guard_goes_back_to_what_was_before_the_first(van: World) -> None:
    guard(van)
    van.run(20)
    guard(van, "Inverter Only")
    van.run(100)
    assert mode(van) == 3
    assert [value for _, value in writes(van, "vebus/276/Mode")] == [1, 2, 3]


def test_a_desire_that_is_refused_does_not_confirm(van: World) -> None:
    guard(van)
    van.run(20)
    van.desire("victron-vebus", mode="Sideways")
    van.run(100)
    assert mode(van) == 3


def test_nothing_goes_back_when_commands_are_switched_off(van: World) -> None:
    guard(van)
    van.run(20)
    van.process.core.commands.switch(True, "test")
    van.run(100)
    assert mode(van) == 1
    assert "does not go back" in van.result("victron-vebus", "mode")["reason"]
    assert len(van.gx.writes) == 1


@pytest.mark.parametrize("after", [-1, 100_000, "soon", True])
def test_how_long_it_may_take(van: World, after: Any) -> None:
    guard(van, after=after)
    van.run(5)
    assert "revertAfter must be" in van.result("victron-vebus", "mode")["reason"]
    assert not van.gx.writes


def test_two_settings_go_back_together(van: World) -> None:
    before = {topic: van.site.value(f"settings/0/Settings/CGwacs/{topic}") for topic in ("Hub4Mode",)}
    shown = van.reported("victron-settings")["ess"]["mode"]
    van.desire("victron-settings", ess={"mode": {"value": "External control", "revertAfter": 30}})
    van.run(10)
    assert van.reported("victron-settings")["ess"]["mode"] == "External control"
    van.run(40)
    assert van.reported("victron-settings")["ess"]["mode"] == shown
    assert van.site.value("settings/0/Settings/CGwacs/Hub4Mode") in (1, before["Hub4Mode"])


# Enforced settings.


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "twin.toml").write_text('[commands]\nmode = "all"\nenforce = ["victron-vebus.mode"]\n')
    with world(tmp_path, 1, VICTRON_TWIN_CONFIG=str(tmp_path / "twin.toml")) as made:
        made.run(20)
        yield made


def test_what_is_enforced_is_written_again_when_somebody_moves_it(strict: World) -> None:
    strict.desire("victron-vebus", mode="Charger Only")
    strict.run(5)
    strict.site.panel("vebus/276/Mode", 3)
    strict.run(10)
    assert mode(strict) == 1
    assert strict.result("victron-vebus", "mode")["status"] == "applied"
    assert strict.shadow("victron-vebus")["state"]["desired"]["mode"] == "Charger Only"
    strict.restart()
    strict.run(30)
    strict.site.panel("vebus/276/Mode", 2)
    strict.run(10)
    assert mode(strict) == 1


def test_it_is_bounded_and_then_followed(strict: World) -> None:
    strict.desire("victron-vebus", mode="Charger Only")
    strict.run(5)
    for _ in range(8):
        strict.site.panel("vebus/276/Mode", 3)
        strict.run(10)
    assert mode(strict) == 3
    assert len(strict.gx.writes) == 6
    told = strict.result("victron-vebus", "mode")
    assert (told["status"], "followed" in told["reason"]) == ("rejected", True)
    assert strict.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    assert "delta" not in strict.shadow("victron-vebus")["state"]


def test_what_was_never_desired_is_not_enforced(strict: World) -> None:
    strict.site.panel("vebus/276/Mode", 1)
    strict.run(30)
    assert mode(strict) == 1
    strict.desire("victron-vebus", mode="Sideways")
    strict.run(10)
    strict.site.panel("vebus/276/Mode", 3)
    strict.run(30)
    assert mode(strict) == 3
    assert not strict.gx.writes


def test_other_fields_are_followed(strict: World) -> None:
    strict.desire("victron-solarcharger", mode="Off")
    strict.run(5)
    strict.site.panel("solarcharger/279/Mode", 1)
    strict.run(30)
    assert strict.site.value("solarcharger/279/Mode") == 1
    assert strict.shadow("victron-solarcharger")["state"]["desired"]["mode"] == "On"


# Paths that no table has.


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "twin.toml").write_text(CONFIG)
    with running(World(tmp_path, 1, site=odd_van, VICTRON_TWIN_CONFIG=str(tmp_path / "twin.toml"))) as made:
        made.run(30)
        yield made


@pytest.mark.parametrize(
    ("name", "value", "status", "reason"),
    [
        ("Bound", 12, "applied", ""),
        ("Bound", 21, "rejected", "the GX's range"),
        ("Bound", "x", "rejected", "must be a number"),
        ("Free", 8, "applied", ""),
        ("Free", 11, "rejected", "commands.limits"),
        ("Open", 2, "rejected", "commands.limits can give it"),
        ("Text", "b", "applied", ""),
    ],
)
def test_a_path_that_no_table_has(raw: World, name: str, value: Any, status: str, reason: str) -> None:
    raw.desire("victron-settings", raw={f"Settings/Odd/{name}": value})
    raw.run(5)
    told = raw.result("victron-settings", f"raw.Settings/Odd/{name}")
    assert (told["status"], reason in told["reason"]) == (status, True), told
    assert (raw.site.value(f"settings/0/Settings/Odd/{name}") == value) is (status == "applied")
    assert "delta" not in raw.shadow("victron-settings")["state"]


def test_what_is_never_written(raw: World) -> None:
    raw.desire("victron-solarcharger", raw={"Link/ChargeCurrent": 5})
    raw.run(5)
    found = [r for n, r in raw.reported("victron-solarcharger")["commands"].items() if "Link" in n]
    assert "never written" in found[0]["reason"] or "no field" in found[0]["reason"], found
    assert not raw.gx.writes


def test_without_a_pattern_nothing(van: World) -> None:
    van.desire("victron-settings", raw={"Settings/Odd/Bound": 7})
    van.run(5)
    assert van.result("victron-settings", "raw.Settings/Odd/Bound")["status"] == "rejected"
    assert not van.gx.writes
