"""Behind Shadow Manager: whatever breaks, the cloud converges to the shadows and they to the GX.

Faults of the way to the cloud come in groups. With none of them (``QUICK``) nothing that Shadow Manager loses may ever
be sent. While updates wait for their way to the cloud (``WAITING``) a delete may get lost among them, which nobody can
know before; it is found and repaired. Nothing tells of an update that is skipped (``SKIPPING``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.simulation.command_checks import check_audit, check_settled
from tests.simulation.seeds import few, more
from tests.simulation.test_command_invariants import (
    Cloud as Application,
)
from tests.simulation.test_command_invariants import (
    check_actions,
    check_holds,
    check_writes,
)
from tests.simulation.test_convergence import PEACE, SIX, Mischief, differences, freeze_the_model
from tests.simulation.world import THING, CloudWorld, running
from victron_twin.twin.flat import dotted, flatten

#: Longer than the looks at the cloud and the repairs of what they find, one after the other.
REPAIRS = 600.0


#: Values that vanish one after the other and do not come back: each is a delete that has to arrive in the cloud.
VANISHING = (
    "battery/512/TimeToGo", "battery/512/ConsumedAmphours", "battery/512/Dc/0/Power", "solarcharger/279/Pv/V",
    "solarcharger/280/Pv/V", "gps/0/Speed", "gps/0/Altitude", "vebus/276/Dc/0/Current", "vebus/276/Ac/Out/L1/P",
)  # fmt: skip


class CloudMischief(Mischief):
    """What can go wrong between Shadow Manager and the cloud, beside all else."""

    def __init__(self, made: CloudWorld, faults: tuple[str, ...]) -> None:
        super().__init__(made)
        self.made = made
        self.faults = faults
        self.vanishing = self.made.random.sample(VANISHING, len(VANISHING))

    def kinds(self) -> list[Callable[[], None]]:
        return super().kinds() + 2 * [self.vanish, *(getattr(self, fault) for fault in self.faults)]

    def vanish(self) -> None:
        if self.vanishing:
            with suppress(KeyError):  # the device may be away
                self.made.site.force(self.vanishing.pop(), None)

    def link_away(self) -> None:
        self.made.cloud.online = False
        self.later(setattr, self.made.cloud, "online", True)

    def slow_sync(self) -> None:
        self.made.manager.sync.latency = self.made.random.uniform(0, 5)

    def nucleus_restart(self) -> None:
        self.made.restart_nucleus()

    def throttled_sync(self) -> None:
        self._fail(429)

    def skipped_sync(self) -> None:
        self._fail(403)

    def _fail(self, code: int) -> None:
        random = self.made.random
        self.made.manager.sync.fail_next(THING, random.choice(SIX), random.randint(1, 3), code)

    def peace(self) -> None:
        super().peace()
        self.made.cloud.online = True
        self.made.manager.sync.heal()
        self.made.manager.sync.latency = 0.0


QUICK: tuple[str, ...] = ()
WAITING = (*QUICK, "link_away", "slow_sync", "nucleus_restart", "throttled_sync")
SKIPPING = (*WAITING, "skipped_sync")
#: What happens in the tests. SKIPPING, as soon as shadows are looked at in the cloud without an occasion too.
FAULTS = WAITING
#: A desire that Shadow Manager never brings here.
PASSED_OVER = "are taken for done"
#: What it loses without that anybody could know before.
BLIND = ("waited to be synced", PASSED_OVER)


def parted(made: CloudWorld) -> list[str]:
    """Where the cloud has something else than the shadow."""
    return [
        f"{name} {dotted(path)}: here {here.get(path)!r}, in the cloud {cloud.get(path)!r}"
        for name in made.manager.named(THING)
        for here, cloud in [(flatten(made.reported(name)), flatten(made.cloud_reported(name)))]
        for path in sorted(here.keys() | cloud.keys())
        if here.get(path) != cloud.get(path)
    ]


def check_cloud(made: CloudWorld, faults: tuple[str, ...], context: str) -> None:
    wrong = differences(made) + parted(made)
    assert not wrong, "\n".join([context, *made.manager.lost, *wrong])
    assert made.manager.settled()
    assert set(SIX) <= set(made.cloud.named(THING))
    avoidable = [line for line in made.manager.lost if not (faults and any(reason in line for reason in BLIND))]
    assert not avoidable, "\n".join([context, *avoidable])
    for name in SIX:
        if any(line.startswith(f"{THING}/{name}: ") and PASSED_OVER in line for line in made.manager.lost):
            continue
        cloud = made.cloud.get(THING, name)["state"]
        assert flatten(made.shadow(name)["state"].get("desired", {})) == flatten(cloud.get("desired", {})), context
        assert not flatten(cloud.get("delta", {})), context


def check(seed: int, tmp_path: Path, faults: tuple[str, ...], seconds: float = 1800.0) -> None:
    with running(CloudWorld(tmp_path, seed)) as made:
        mischief = CloudMischief(made, faults)
        end = made.clock.seconds() + seconds
        while made.clock.seconds() < end:
            made.run(made.random.uniform(1, 90))
            mischief.happen()
        mischief.peace()
        freeze_the_model(made)
        made.run(PEACE + (REPAIRS if faults else 0.0))
        check_cloud(made, faults, "\n".join([f"seed {seed}", *mischief.log]))
        health = made.process.core.health
        assert health.healthy(), health.report()


def check_commands(seed: int, tmp_path: Path, faults: tuple[str, ...], seconds: float = 900.0) -> None:
    with running(CloudWorld(tmp_path, seed)) as made:
        random = Random(seed * 7 + 1)
        mischief, application = CloudMischief(made, faults), Application(made, random)
        made.run(15)
        end = made.clock.seconds() + seconds
        while made.clock.seconds() < end:
            made.run(random.choice([0.0, 0.01, 0.05, 0.5, 5.0, 60.0]))
            random.choices([application.wish, mischief.happen, application.happen, lambda: None], [10, 4, 3, 2])[0]()
        mischief.peace()
        freeze_the_model(made)
        made.run(PEACE + (REPAIRS if faults else 0.0))
        check_cloud(made, faults, "\n".join([f"seed {seed}", *mischief.log]))
        check_writes(made, application)
        check_holds(made)
        check_actions(made, application)
        check_settled(made, hollow=True)
        check_audit(made)


@pytest.mark.parametrize("seed", few(4))
def test_nothing_that_gets_lost_is_sent(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, QUICK)


@pytest.mark.parametrize("seed", few(4))
def test_the_cloud_converges_to_the_gx(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path, FAULTS)


@pytest.mark.parametrize("seed", few(4))
def test_commands_come_from_the_cloud(seed: int, tmp_path: Path) -> None:
    check_commands(seed, tmp_path, QUICK)


@pytest.mark.parametrize("seed", few(4))
def test_commands_come_from_the_cloud_whatever_breaks(seed: int, tmp_path: Path) -> None:
    check_commands(seed, tmp_path, FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", more(9))
def test_the_cloud_converges_to_the_gx_more_seeds(seed: int, tmp_path: Path) -> None:
    for number, faults in enumerate((QUICK, FAULTS)):
        for which, one in enumerate((check, check_commands)):
            folder = tmp_path / f"{number}-{which}"
            folder.mkdir()
            one(seed, folder, faults)


def test_a_delete_that_got_lost_without_link_is_made_good(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1)) as made:
        made.run(60)
        assert "timeToGo" in made.cloud_reported("victron-battery")
        made.cloud.online = False
        made.run(60)
        made.site.force("battery/512/TimeToGo", None)
        made.run(60)
        assert "timeToGo" not in made.reported("victron-battery")
        assert '"timeToGo": null' in made.manager.lost[-1]
        made.cloud.online = True
        made.run(2)
        assert "timeToGo" in made.cloud_reported("victron-battery")
        freeze_the_model(made)
        made.run(REPAIRS)
        assert "timeToGo" not in made.cloud_reported("victron-battery")
        assert not parted(made)


def test_a_desire_whose_clearing_got_lost_is_cleared_again(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1)) as made:
        made.run(60)
        made.manager.sync.latency = 2.0
        made.update("victron-battery", {"state": {"desired": {"voltage": 14.4}}})
        made.run(1)
        made.cloud.online = False  # the status is on its way, and the clearing comes while it waits
        made.run(20)
        made.cloud.online = True
        made.run(3)
        assert '{"desired": null} came while' in made.manager.lost[-1]
        assert made.cloud.get(THING, "victron-battery")["state"]["desired"] == {"voltage": 14.4}
        assert "desired" not in made.shadow("victron-battery")["state"]
        made.run(REPAIRS)
        assert "desired" not in made.cloud.get(THING, "victron-battery")["state"]


def test_a_desired_state_is_cleared_here_and_in_the_cloud(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1)) as made:
        made.run(60)
        made.update("victron-solarcharger", {"state": {"desired": {"state": "Float", "mode": "Off"}}})
        made.run(60)
        assert not made.manager.lost
        for document in (made.shadow("victron-solarcharger"), made.cloud.get(THING, "victron-solarcharger")):
            assert document["state"]["desired"] == {"mode": "Off"}
            assert "delta" not in document["state"]


def test_a_stop_does_not_lose_what_stood_beside_a_desired_state(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1)) as made:
        made.run(60)
        made.gx.remove("solarcharger", 280)
        made.run(5)
        pending = {"devices": {"280": {"mode": "Off"}}}
        made.update("victron-solarcharger", {"state": {"desired": {"state": "Float", **pending}}})
        made.run(1)
        while "desired" in made.shadow("victron-solarcharger")["state"]:
            made.run(1)
        made.process.core.root.stopService()
        made.run(10)
        assert made.shadow("victron-solarcharger")["state"]["desired"] == pending
        made.restart()


def test_a_sync_that_loses_repairs_as_well_is_looked_at_ever_more_seldom(tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, 1)) as made:
        made.run(60)
        made.manager.sync.period = 300.0  # of all updates of a period one is made, and a delete among them is lost
        made.run(600)
        made.model.looks.clear()
        made.site.force("battery/512/TimeToGo", None)
        made.run(3600)
        assert len(made.model.looks) < 60  # it would be over 500 each 8 s
        made.manager.sync.period = 0.0
        made.run(3600)
        assert not parted(made)
