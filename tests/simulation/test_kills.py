"""``kill -9`` at each step of each kind of command, and before and after each of its operations on the disk.

Whatever was under way ends as it must: no action twice, no setpoint beyond its time, a guarded setting goes back unless
it was confirmed, no delta, a truthful status, and nothing is left to be done but what is enforced.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.simulation.command_checks import check_audit, check_settled, check_statuses, kept
from tests.simulation.odd import CONFIG, odd_van
from tests.simulation.test_convergence import world
from tests.simulation.world import Process, World
from victron_twin.twin.desires import at
from victron_twin.twin.holds import Keep
from victron_twin.twin.twin import iso
from victron_twin.worker import InlineWorker, T

GRID, MODE = "hub4/0/Overrides/Setpoint", "vebus/276/Mode"
SAFE = 50.0
ENFORCED = "solarcharger/280/Mode"
CONFIGURED = CONFIG + 'mode = "all"\nenforce = ["victron-solarcharger.devices.280.mode"]\n'
#: When everything is shown, and nothing is under way, in s.
READY = 20.0


class Mortal:
    """Makes workers whose process is killed in its n-th operation on the disk, with that ``done`` or before it is."""

    def __init__(self, done: bool) -> None:
        self.done = done
        self.world: World | None = None
        self.dead = False
        self._left = 0

    def within(self, world: World, count: int) -> None:
        """From now on count."""
        self.world, self._left = world, count

    def worker(self) -> InlineWorker:
        return _MortalWorker(self)

    def run(self, operation: Callable[[], Deferred[T]]) -> Deferred[T]:
        if self.dead:
            return Deferred()
        self._left -= self.world is not None
        if self.world is None or self._left > 0:
            return operation()
        if self.done:
            operation()
        self.dead = True
        self.world.process.kill()
        return Deferred()


class _MortalWorker(InlineWorker):
    def __init__(self, mortal: Mortal) -> None:
        self._mortal = mortal

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return self._mortal.run(lambda: InlineWorker.run(self, function, *args))


@dataclass(frozen=True)
class Kind:
    """A command, killed at some time within ``window`` s of what ``begin`` does; the next process comes ``down`` s
    later, and ``soon`` and ``end`` look at what there is ``until`` 15 s after that and long after."""

    name: str
    begin: Callable[[World], None]
    end: Callable[[World], None]
    soon: Callable[[World], None] = lambda _: None
    window: float = 6.0
    down: float = 0.0
    until: float = 60.0


def desire(made: World, shadow: str, path: str, asked: Any) -> None:
    for key in reversed(path.split("|")):
        asked = {key: asked}
    made.update(shadow, {"state": {"desired": asked}})


def told(made: World, shadow: str, field: str, *status: str) -> dict[str, Any]:
    result = made.result(shadow, field)
    assert result.get("status") in status, result
    return result


def writes(made: World, topic: str) -> list[tuple[float, Any]]:
    return [(when - made.began - READY, value) for when, where, value in made.gx.writes if where == topic]


def applied(shadow: str, path: str, value: Any, raw: dict[str, Any], keeps: Keep | None = None) -> Callable[..., None]:
    """The field shows the value, which the GX has, and was not asked for it oftener than a kill explains."""

    def check(made: World) -> None:
        told(made, shadow, path.replace("|", "."), "applied")
        assert at(made.reported(shadow), tuple(path.split("|"))) == value
        assert at(made.shadow(shadow)["state"]["desired"], tuple(path.split("|"))) == value
        for topic, code in raw.items():
            assert made.site.value(topic) == code
            assert 1 <= len(writes(made, topic)) <= 2
        assert [hold.keep for hold in kept(made)] == ([keeps] if keeps else [])

    return check


# Setpoints.


def setpoint(made: World, value: float, seconds: float, identity: str) -> None:
    """It ends so many s after the beginning of it all."""
    expires = iso(made.began + READY + seconds)
    desire(made, "victron-system", "setpoints|grid", {"value": value, "id": identity, "expires": expires})


def holds(value: float, identity: str) -> Callable[[World], None]:
    def check(made: World) -> None:
        assert made.site.value(GRID) == value
        assert told(made, "victron-system", "setpoints.grid", "applied")["id"] == identity

    return check


def lets_go(reason: str, last: float) -> Callable[[World], None]:
    """Its value is never written later than ``last``, and it is let go of at the end."""

    def check(made: World) -> None:
        result = told(made, "victron-system", "setpoints.grid", "expired")
        assert reason in result["reason"], result
        assert made.site.value(GRID) in (None, 0, SAFE)
        assert all(when <= last for when, value in writes(made, GRID) if value != SAFE)
        assert not kept(made)

    return check


def taken(made: World) -> None:
    setpoint(made, -500, 40, "s-1")


def repeated(made: World) -> None:
    setpoint(made, -500, 50, "s-1")
    made.run(19)


def replaced(made: World) -> None:
    setpoint(made, -500, 50, "s-1")
    made.run(5)
    setpoint(made, 800, 45, "s-2")


def expiring(made: World) -> None:
    setpoint(made, -500, 15, "s-1")
    made.run(14)


def withdrawn(made: World) -> None:
    setpoint(made, -500, 300, "s-1")
    made.run(5)
    desire(made, "victron-system", "setpoints|grid", None)
    made.run(5)


def released(made: World) -> None:
    assert made.site.value(GRID) in (None, 0, SAFE)


# Guarded settings.


def guard(made: World, after: float) -> None:
    desire(made, "victron-vebus", "mode", {"value": "Charger Only", "revertAfter": after})


def confirming(made: World) -> None:
    guard(made, 30)
    made.run(5)
    guard(made, 0)


def reverting(made: World) -> None:
    guard(made, 10)
    made.run(9)


def goes_back(made: World) -> None:
    assert "back to On" in told(made, "victron-vebus", "mode", "expired")["reason"]
    assert made.site.value(MODE) == 3
    assert made.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    values = [value for _, value in writes(made, MODE)]
    assert values == sorted(values)  # first there, then back
    assert values.count(1) in (1, 2)
    assert values.count(3) in (1, 2)
    assert not kept(made)


# All the others.


def acting(made: World) -> None:
    asked = {"value": 1, "id": "a-1", "expires": iso(made.began + READY + 300)}
    desire(made, "victron-vebus", "redetectSystem", asked)


def acted(made: World) -> None:
    """Once, or told as unconfirmed."""
    result = told(made, "victron-vebus", "redetectSystem", "sent", "unconfirmed")
    count = len(writes(made, "vebus/276/RedetectSystem"))
    assert count == 1 or (result["status"], count) == ("unconfirmed", 0)


def enforcing(made: World) -> None:
    desire(made, "victron-solarcharger", "devices|280|mode", "Off")
    made.run(5)
    made.site.panel(ENFORCED, 1)


def enforced(made: World) -> None:
    told(made, "victron-solarcharger", "devices.280.mode", "applied")
    assert made.site.value(ENFORCED) == 4
    assert made.shadow("victron-solarcharger")["state"]["desired"]["devices"]["280"]["mode"] == "Off"
    assert len(writes(made, ENFORCED)) in (2, 3)
    assert [hold.keep for hold in kept(made)] == [Keep.ENFORCED]


def refused(made: World) -> None:
    assert "must be one of" in told(made, "victron-vebus", "mode", "rejected")["reason"]
    assert made.shadow("victron-vebus")["state"]["desired"]["mode"] == "On"
    assert not made.gx.writes


def cleared(made: World) -> None:
    assert "no field" in told(made, "victron-vebus", "frobnicate.now", "rejected")["reason"]
    assert "frobnicate" not in made.shadow("victron-vebus")["state"].get("desired", {})
    assert not made.gx.writes


def asks(shadow: str, path: str, asked: Any) -> Callable[[World], None]:
    return lambda made: desire(made, shadow, path, asked)


SETTINGS = "settings/0/Settings"
ESS = {f"{SETTINGS}/CGwacs/Hub4Mode": 1, f"{SETTINGS}/CGwacs/BatteryLife/State": 9}
VEBUS, SYSTEM = "victron-vebus", "victron-settings"
CHARGES = applied(VEBUS, "mode", "Charger Only", {MODE: 1})
OVER, UNWANTED = "its time is over: let go of", "no longer desired: let go of"

KINDS = [
    Kind("setting", asks(VEBUS, "mode", "Charger Only"), CHARGES),
    Kind(
        "two settings",
        asks(SYSTEM, "ess|mode", "Keep batteries charged"),
        applied(SYSTEM, "ess|mode", "Keep batteries charged", ESS),
    ),
    Kind("action", acting, acted),
    Kind("setpoint", taken, lets_go(OVER, 40), holds(-500, "s-1")),
    Kind("setpoint, over meanwhile", taken, lets_go("", 40), released, down=50),
    Kind("repeated setpoint", repeated, lets_go(OVER, 50), holds(-500, "s-1")),
    Kind("replaced setpoint", replaced, lets_go(OVER, 45), holds(800, "s-2")),
    Kind("setpoint at its end", expiring, lets_go(OVER, 15), released),
    Kind("withdrawn setpoint", withdrawn, lets_go(UNWANTED, 35), released),
    Kind("guarded setting", lambda made: guard(made, 30), goes_back),
    Kind("guarded setting, late meanwhile", lambda made: guard(made, 30), goes_back, down=40),
    Kind("confirmed setting", confirming, CHARGES),
    Kind("confirmed setting, late meanwhile", confirming, CHARGES, down=40),
    Kind("setting that goes back", reverting, goes_back),
    Kind("enforced setting", enforcing, enforced, window=8),
    Kind(
        "path that no table has",
        asks(SYSTEM, "raw|Settings/Odd/Bound", 12),
        applied(SYSTEM, "raw|Settings/Odd/Bound", 12, {f"{SETTINGS}/Odd/Bound": 12}),
    ),
    Kind("rejected desire", asks(VEBUS, "mode", 99), refused),
    Kind("unknown field", asks(VEBUS, "frobnicate|now", 1), cleared),
]


def check(kind: Kind, folder: Path, kill: Callable[[World], bool], mortal: Mortal | None = None) -> bool:
    """Whether the process was killed before nothing happened any more; it is alive again at the end."""
    folder.mkdir()
    (folder / "twin.toml").write_text(CONFIGURED)
    worker = InlineWorker if mortal is None else mortal.worker
    with world(folder, 1, site=odd_van, worker=worker, VICTRON_TWIN_CONFIG=str(folder / "twin.toml")) as made:
        made.run(READY)
        kind.begin(made)
        killed = kill(made)
        made.process.kill()
        made.run(kind.down)
        made.worker = InlineWorker
        made.process = Process(made, **made.options)
        made.run(15)
        kind.soon(made)
        made.run(kind.until)
        kind.end(made)
        check_settled(made)
        check_statuses(made)
        check_audit(made)
        assert len(made.site.actions) <= 1
        return killed


def check_steps(kind: Kind, folder: Path, every: int = 1) -> None:
    def after(steps: int) -> Callable[[World], bool]:
        def kill(made: World) -> bool:
            began = made.clock.seconds()
            return made.step(steps) == steps and made.clock.seconds() <= began + kind.window

        return kill

    steps = 1
    while check(kind, folder / str(steps), after(steps)):
        steps += every
    assert steps > 1


def check_operations(kind: Kind, folder: Path, done: bool, every: int = 1, first: int = 1) -> None:
    def within(count: int) -> bool:
        mortal = Mortal(done)

        def kill(made: World) -> bool:
            mortal.within(made, count)
            made.run(kind.window)
            return mortal.dead

        return check(kind, folder / str(count), kill, mortal)

    count = first
    while within(count):
        count += every


#: Every which step or operation is tried; ``VICTRON_TWIN_KILLS=1`` tries all.
STRIDE = int(os.environ.get("VICTRON_TWIN_KILLS", "0"))

few = pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=lambda kind: str(kind.name))
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
ways = pytest.mark.parametrize("done", [True, False], ids=["done", "undone"])


@few
def test_killed_between_two_steps(kind: Kind, tmp_path: Path) -> None:
    check_steps(kind, tmp_path, STRIDE or 8)


@ways
@few
def test_killed_in_an_operation_on_the_disk(kind: Kind, done: bool, tmp_path: Path) -> None:
    check_operations(kind, tmp_path, done, STRIDE or 4)


@pytest.mark.slow
@kinds
def test_killed_between_two_steps_of_every_kind(kind: Kind, tmp_path: Path) -> None:
    check_steps(kind, tmp_path, STRIDE or 9)


@pytest.mark.slow
@ways
@kinds
def test_killed_in_an_operation_on_the_disk_of_every_kind(kind: Kind, done: bool, tmp_path: Path) -> None:
    check_operations(kind, tmp_path, done, STRIDE or 14, 1 + KINDS.index(kind) % 4)
