"""What the owner allows: limits, the rate of what is kept in flash, and the emergency off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.test_convergence import world
from tests.simulation.world import World
from tests.support import CATALOG
from victron_twin.config import Config, ConfigError
from victron_twin.core import check_fields
from victron_twin.twin.policy import Limit

LIMIT = "settings/0/Settings/SystemSetup/MaxChargeCurrent"


@pytest.fixture
def van(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, 1, VICTRON_TWIN_COMMANDS="all") as made:
        made.run(20)
        yield made


def adjust(made: World, **commands: object) -> None:
    """As a new configuration of the component does."""
    config = Config.load({}, {"VICTRON_TWIN_STATE_DIR": str(made.folder), **made.options})
    made.process.core.adjust(replace(config, commands=replace(config.commands, **commands)))  # type: ignore[arg-type]  # its fields


def limit(made: World, amperes: float) -> None:
    made.desire("victron-settings", dvcc={"maxChargeCurrent": amperes})


def test_a_limit_counts_from_when_it_is_configured(van: World) -> None:
    limit(van, 60)
    van.run(3)
    adjust(van, limits=(Limit.read("victron-settings.dvcc.maxChargeCurrent=..50"),))
    limit(van, 55)
    van.run(3)
    result = van.result("victron-settings", "dvcc.maxChargeCurrent")
    assert result["status"] == "rejected"
    assert "commands.limits: victron-settings.dvcc.maxChargeCurrent=..50" in result["reason"]
    assert van.site.value(LIMIT) == 60
    limit(van, 50)
    van.run(3)
    assert van.site.value(LIMIT) == 50


def test_what_is_kept_in_flash_is_written_so_often_a_minute_and_the_newest_wins(van: World) -> None:
    for amperes in range(40, 60):
        limit(van, amperes)
        van.run(1.5)
    assert [value for _, _, value in van.gx.writes] == [40, 41, 42, 43, 44, 45]
    result = van.result("victron-settings", "dvcc.maxChargeCurrent")
    assert (result["status"], result["value"]) == ("pending", 59)
    assert "commands.rate" in result["reason"]
    van.desire("victron-vebus", mode="Charger Only")  # of another field, and not kept in flash
    van.run(3)
    assert van.site.value("vebus/276/Mode") == 1
    van.run(40)
    assert [value for _, topic, value in van.gx.writes if topic == LIMIT] == [*range(40, 46), 59]
    assert van.result("victron-settings", "dvcc.maxChargeCurrent")["status"] == "applied"
    assert "delta" not in van.shadow("victron-settings")["state"]


def test_the_rate_can_be_configured_while_it_runs(van: World) -> None:
    adjust(van, rate=1)
    for amperes in (40, 41):
        limit(van, amperes)
        van.run(3)
    assert van.site.value(LIMIT) == 40
    van.run(60)
    assert van.site.value(LIMIT) == 41


def test_the_emergency_off_refuses_everything_until_it_is_switched_on_also_over_a_restart(van: World) -> None:
    core = van.process.core
    assert core.health.report()["commands"] == "all"
    assert core.commands.switch(True, "a test") == ""
    assert core.health.report()["commands"] == "off (by hand)"
    adjust(van, mode="all")
    for _ in range(2):
        limit(van, 60 + len(van.steps()))
        van.run(3)
        result = van.result("victron-settings", "dvcc.maxChargeCurrent")
        assert (result["status"], result["reason"]) == ("rejected", "commands are off (by hand)")
        assert "delta" not in van.shadow("victron-settings")["state"]
        van.restart()
        van.run(20)
        assert van.process.core.health.report()["commands"] == "off (by hand)"
    assert not van.gx.writes
    assert van.process.core.commands.switch(False, "a test") == ""
    limit(van, 60)
    van.run(3)
    assert van.site.value(LIMIT) == 60


def test_nothing_that_waits_or_is_under_way_is_begun_anew_after_it(van: World) -> None:
    van.site.panel("vebus/276/ModeIsAdjustable", 1)
    van.site.bus["settings/0"].forced["/Settings/SystemSetup/MaxChargeCurrent"] = -1  # keeps what it has
    limit(van, 60)
    van.desire("victron-settings", ess={"minimumSoc": 33})
    while not van.gx.writes:
        van.step(1)
    van.process.core.commands.switch(True, "a test")
    van.run(5)
    assert len(van.gx.writes) == 1
    assert van.result("victron-settings", "ess.minimumSoc")["reason"] == "commands are off (by hand)"
    assert van.result("victron-settings", "dvcc.maxChargeCurrent")["status"] == "rejected"


def test_a_desire_that_waits_for_the_gx_is_refused_by_it(van: World) -> None:
    van.gx.remove("vebus", 276)
    van.run(5)
    van.desire("victron-vebus", mode="Charger Only")
    van.run(5)
    assert van.result("victron-vebus", "mode")["status"] == "pending"
    van.process.core.commands.switch(True, "a test")
    van.run(5)
    assert van.result("victron-vebus", "mode")["status"] == "rejected"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("victron-vebus.currentLmit=..10", "cannot be written"),
        ("victron-vebus.mode=..2", "is no number"),
        ("victron-house.*=..2", "no shadow is called"),
        ("victron-vebus.currentLimit=10", "must read"),
        ("victron-vebus.currentLimit=5..2", "allows nothing"),
        ("victron-vebus.currentLimit=..10", ""),
        ("victron-vebus.input*.currentLimit=..10", ""),
        ("victron-vebus.devices.276.input2.currentLimit=..10", ""),
        ("victron-load.devices.acload-31.outputs.2.dimming=..10", ""),
        ("victron-*=..10", ""),
    ],
)
def test_a_limit_that_would_bound_nothing_is_refused_at_the_start(tmp_path: Path, limits: str, reason: str) -> None:
    (tmp_path / "twin.toml").write_text(f'[commands]\nlimits = ["{limits}"]\n')
    error = ""
    try:
        check_fields(Config.load({"config": "twin.toml"}, {}, folder=tmp_path), CATALOG)
    except ConfigError as raised:
        error = str(raised)
    assert bool(error) is bool(reason)
    assert reason in error
    assert not reason or "commands.limits" in error
