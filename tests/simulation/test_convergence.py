"""Whatever breaks on the way: the shadows converge to the GX, within each field's deadband."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.comparison import compare
from tests.conftest import ExpectErrors
from tests.simulation.seeds import few, more
from tests.simulation.world import THING, World, running
from tests.support import CATALOG
from victron_twin.gx.service import SUPPRESS
from victron_twin.twin.flat import dotted, flatten

SIX = ("victron-system", "victron-battery", "victron-solarcharger", "victron-vebus", "victron-gps", "victron-settings")

#: Longer than any back-off, hold and cadence together.
PEACE = 420.0


@contextmanager
def world(tmp_path: Path, seed: int, **more: Any) -> Iterator[World]:
    with running(World(tmp_path, seed, **more)) as made:
        yield made


def differences(world: World) -> list[str]:
    """Where a shadow is further from the model than the field's deadband."""
    return compare(world.site.values(), world.reported, CATALOG).differences


def freeze_the_model(world: World) -> None:
    """The devices measure nothing new: what the shadows must come to stands still."""
    turns = world.site.world.turns
    turns.update(dict.fromkeys(turns, lambda: None))
    world.gx.speed = 0.0


class Mischief:
    """What can go wrong; each undoes itself or is undone by peace."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: list[str] = []

    def kinds(self) -> list[Callable[[], None]]:
        return [
            self.cut, self.freeze, self.refuse, self.hang, self.broker_restart, self.deaf, self.device_away,
            self.null, self.rubbish, self.backend_fault, self.kill, self.slow_backend, self.wrong_password,
        ]  # fmt: skip

    def happen(self) -> None:
        kind = self.world.random.choice(self.kinds())
        self.log.append(f"{self.world.clock.seconds():.0f} {kind.__name__}")
        kind()

    def later(self, call: Callable[..., object], *args: Any) -> None:
        self.world.clock.callLater(self.world.random.uniform(1, 120), call, *args)

    def cut(self) -> None:
        self.world.process.network.cut()

    def freeze(self) -> None:
        network = self.world.process.network
        network.freeze()
        self.later(network.thaw)

    def refuse(self) -> None:
        network = self.world.process.network
        network.refuse = True
        network.cut()
        self.later(setattr, network, "refuse", False)

    def hang(self) -> None:
        network = self.world.process.network
        network.hang = True
        network.cut()
        self.later(setattr, network, "hang", False)

    def broker_restart(self) -> None:
        self.world.gx.restart()

    def deaf(self) -> None:
        self.world.gx.deaf = True
        self.later(setattr, self.world.gx, "deaf", False)

    def device_away(self) -> None:
        service, instance = self.world.random.choice(
            [("battery", 512), ("solarcharger", 280), ("gps", 0), ("vebus", 276)]
        )
        self.world.gx.remove(service, instance)
        self.later(self.world.gx.restore, service, instance)

    def null(self) -> None:
        self._force(None)

    def rubbish(self) -> None:
        self._force(self.world.random.choice(["text", True, [1], {"a": 1}]))

    def _force(self, value: Any) -> None:
        topic = self.world.random.choice(
            ["battery/512/Dc/0/Voltage", "battery/512/Soc", "vebus/276/State", "gps/0/Fix"]
        )
        with suppress(KeyError):  # the device may be away, then or now
            self.world.site.force(topic, value)
            self.later(self._release, topic)

    def _release(self, topic: str) -> None:
        with suppress(KeyError):
            self.world.site.release(topic)

    def backend_fault(self) -> None:
        backend = self.world.process.backend
        backend.fault = self.world.random.choice(["refuse", "lose", "lose-answer", "throttle"])
        self.later(setattr, backend, "fault", "")

    def slow_backend(self) -> None:
        self.world.process.backend.latency = self.world.random.uniform(0, 20)

    def wrong_password(self) -> None:
        world = self.world
        world.password = "wrong"
        world.process.network.cut()
        self.later(setattr, world, "password", world.gx.password)

    def kill(self) -> None:
        self.world.restart()

    def peace(self) -> None:
        world = self.world
        world.run(121)  # what was going to be undone is undone
        world.password = world.gx.password
        world.gx.deaf = False
        world.process.backend.fault, world.process.backend.latency = "", 0.0
        world.process.network.refuse = world.process.network.hang = False
        world.process.network.thaw()


def check(seed: int, tmp_path: Path, logged_errors: ExpectErrors, seconds: float = 3600.0) -> None:
    with world(tmp_path, seed) as made:
        mischief = Mischief(made)
        end = made.clock.seconds() + seconds
        while made.clock.seconds() < end:
            made.run(made.random.uniform(5, 240))
            mischief.happen()
        mischief.peace()
        freeze_the_model(made)
        made.run(PEACE)
        wrong = differences(made)
        assert not wrong, f"seed {seed}\n" + "\n".join([*mischief.log, *wrong])
        health = made.process.core.health
        assert health.healthy(), health.report()
        for name in SIX:
            state = made.shadow(name)["state"]
            assert "delta" not in state
            assert all(v is not None for v in flatten(state["reported"]).values()), dotted(())


@pytest.mark.parametrize("seed", few())
def test_the_shadows_converge_to_the_gx(seed: int, tmp_path: Path, logged_errors: ExpectErrors) -> None:
    check(seed, tmp_path, logged_errors)


@pytest.mark.slow
@pytest.mark.parametrize("seed", more(14))
def test_the_shadows_converge_to_the_gx_more_seeds(seed: int, tmp_path: Path, logged_errors: ExpectErrors) -> None:
    check(seed, tmp_path, logged_errors)


def test_a_quiet_hour_costs_little(tmp_path: Path) -> None:
    with world(tmp_path, 1) as made:
        made.run(60)
        freeze_the_model(made)
        made.run(120)
        versions = {name: made.shadow(name)["version"] for name in SIX}
        made.run(3600)
        assert {name: made.shadow(name)["version"] for name in SIX} == versions


def test_all_six_are_there_within_seconds(tmp_path: Path) -> None:
    with world(tmp_path, 3) as made:
        made.run(10)
        assert all(made.reported(name) for name in SIX)
        assert made.process.core.health.report()["mqttConnected"] is True
        assert made.reported("victron-twin")["portalId"] == made.site.portal_id


def test_firmware_that_never_completes_a_full_publish(tmp_path: Path) -> None:
    with world(tmp_path, 4, firmware="v3.40") as made:
        assert not made.gx.completes
        made.run(60)
        freeze_the_model(made)
        made.run(130)
        assert not differences(made)


def test_a_device_that_left_while_nobody_listened_is_noticed(tmp_path: Path) -> None:
    with world(tmp_path, 5) as made:
        made.run(60)
        made.process.network.refuse = True
        made.process.network.cut()
        made.run(3)
        made.gx.remove("solarcharger", 280)
        made.process.network.refuse = False
        made.run(60)
        assert made.reported("victron-solarcharger")["devices"]["280"]["connected"] is False
        made.gx.restore("solarcharger", 280)
        made.run(10)
        assert made.reported("victron-solarcharger")["devices"]["280"]["connected"] is True
        assert THING in {s.thing for s in made.process.core.sync.shadows()}


def test_what_changes_while_the_keepalive_has_lapsed_for_moments(tmp_path: Path) -> None:
    """The GX publishes nothing then, is not silent for long enough to be missed, and does not say it later."""
    with world(tmp_path, 6) as made:
        made.run(60)
        freeze_the_model(made)
        before = made.gx._alive_until
        while made.gx._alive_until == before:
            made.run(0.5)
        made.run(12)
        made.gx.received(f"R/{made.site.portal_id}/keepalive", SUPPRESS)  # somebody else's
        made.gx.deaf = True
        made.run(60.5)
        assert not made.gx.alive
        made.site.panel("settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit", 33.0)
        made.gx.flush()
        made.run(0.5)
        made.gx.deaf = False
        made.run(100)
        assert made.reported("victron-settings")["ess"]["minimumSoc"] == 33
