"""Any sequence of desires, losses, kills and changes: never an unsafe write or an action twice, always an end, always
a truthful status.

``VICTRON_TWIN_EXAMPLES`` says how many sequences there are, other ones at each run.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.simulation.command_checks import audited, check_audit, check_settled, check_statuses, results
from tests.simulation.conftest import MEMORY
from tests.simulation.odd import CONFIG, odd_van
from tests.simulation.test_command_invariants import (
    PANEL,
    SETPOINTS,
    WISHES,
    Cloud,
    check_actions,
    check_holds,
    check_writes,
    guarded,
)
from tests.simulation.test_convergence import PEACE, differences, freeze_the_model
from tests.simulation.world import World, simulate_paho
from victron_twin.simulator.bus import Value
from victron_twin.twin.desires import at, moment, shorten
from victron_twin.twin.twin import iso

_WANTED = os.environ.get("VICTRON_TWIN_EXAMPLES")
EXAMPLES, STEPS = 15, 25
CONFIGURED = CONFIG + 'enforce = ["victron-solarcharger.devices.280.mode"]\n'

#: Fields whose every value is followed: the topic of each, and the names of its codes.
PICTURE: dict[tuple[str, str], tuple[str, dict[int, str]]] = {
    ("victron-vebus", "mode"): ("vebus/276/Mode", {1: "Charger Only", 2: "Inverter Only", 3: "On", 4: "Off"}),
    ("victron-vebus", "currentLimit"): ("vebus/276/Ac/In/1/CurrentLimit", {}),
    ("victron-solarcharger", "devices.280.mode"): ("solarcharger/280/Mode", {1: "On", 4: "Off"}),
    ("victron-system", "relays.0.state"): ("system/0/Relay/0/State", {0: "Open", 1: "Closed"}),
    ("victron-settings", "ess.minimumSoc"): ("settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit", {}),
    ("victron-settings", "raw.Settings/Odd/Bound"): ("settings/0/Settings/Odd/Bound", {}),
}
DEVICES = [("solarcharger", 280), ("vebus", 276), ("solarcharger", 279)]


class WatchedWorld(World):
    """Remembers what the fields of the picture ever had on the GX, as it is shown."""

    def furnish(self) -> None:
        self.had: defaultdict[tuple[str, str], set[Value]] = defaultdict(set)
        self.watch()

    def advance(self, to: float) -> None:
        super().advance(to)
        self.watch()

    def watch(self) -> None:
        for field, (topic, texts) in PICTURE.items():
            found = self.site.bus.find(topic)
            if found is not None:
                value = found[0][found[1]]
                self.had[field].add(texts[value] if texts and isinstance(value, int) else value)


class CommandMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="victron-twin-", dir=MEMORY if MEMORY.is_dir() else None))
        (self.folder / "twin.toml").write_text(CONFIGURED)
        config = str(self.folder / "twin.toml")
        self.world = WatchedWorld(self.folder, 1, site=odd_van, VICTRON_TWIN_CONFIG=config)
        self.restore_paho = simulate_paho(self.world.clock)
        self.cloud = Cloud(self.world, Random(1))
        self.away: set[tuple[str, int]] = set()
        self.takes = self.world.gx.write
        self.sound = True
        self.world.run(15)

    @property
    def now(self) -> float:
        return self.world.clock.seconds()

    def wish(self, shadow: str, path: tuple[str, ...], asked: Any) -> None:
        self.cloud.wishes += 1
        self.cloud.say(shadow, path, asked)

    # What the cloud asks for.

    @rule(wish=st.sampled_from([(s, p, v) for s, p, values in WISHES for v in values]))
    def desire(self, wish: tuple[str, tuple[str, ...], Any]) -> None:
        self.wish(*wish)

    @rule(wish=st.sampled_from([(s, p, v) for s, p, values in WISHES for v in values if isinstance(v, dict)]))
    def confirm(self, wish: tuple[str, tuple[str, ...], Any]) -> None:
        shadow, path, asked = wish
        self.wish(shadow, path, guarded(asked["value"], 0))

    @rule(number=st.integers(0, 4), seconds=st.sampled_from([-10.0, 20.0, 300.0]))
    def act(self, number: int, seconds: float) -> None:
        """The id is new, or was used before."""
        identity = f"id-{number if number < len(self.cloud.ids) else len(self.cloud.ids)}"
        self.cloud.ids.append(identity)
        asked = {"value": 1, "id": identity, "expires": iso(self.now + seconds)}
        self.wish("victron-vebus", ("redetectSystem",), asked)

    @rule(
        which=st.sampled_from([(path, v, topic) for path, values, topic, _ in SETPOINTS for v in values]),
        seconds=st.sampled_from([-10.0, 30.0, 120.0, 300.0]),
    )
    def hold(self, which: tuple[tuple[str, ...], Any, str], seconds: float) -> None:
        path, value, topic = which
        asked = {"value": value, "id": f"s-{len(self.cloud.held)}", "expires": iso(self.now + seconds)}
        self.cloud.held.append((topic, value, self.now, moment(asked["expires"]) or 0.0))
        self.wish("victron-system", path, asked)

    @rule(path=st.sampled_from([path for path, *_ in SETPOINTS]), bare=st.booleans())
    def withdraw(self, path: tuple[str, ...], bare: bool) -> None:
        """It is removed, or something that is no setpoint takes its place."""
        self.wish("victron-system", path, 100 if bare else None)

    @precondition(lambda self: self.cloud.said)
    @rule(number=st.integers(0, 30))
    def come_back(self, number: int) -> None:
        """An old desire is sent once more."""
        self.wish(*self.cloud.said[number % len(self.cloud.said)])

    # What happens to the GX and to the way to it.

    @rule(change=st.sampled_from([(topic, value) for topic, values in PANEL for value in values]))
    def panel(self, change: tuple[str, Value]) -> None:
        topic, value = change
        self.cloud.wishes += 1  # what is enforced is written once more for each
        if self.world.site.bus.find(topic) is not None:
            self.world.site.panel(topic, value)
            self.world.watch()

    @rule(way=st.sampled_from(["cut", "refuse", "accept", "freeze", "thaw", "hang"]))
    def link(self, way: str) -> None:
        network = self.world.process.network
        if way in ("freeze", "thaw"):
            network.freeze() if way == "freeze" else network.thaw()
            return
        network.refuse, network.hang = way == "refuse", way == "hang"
        if way != "accept":
            network.cut()

    @rule(seconds=st.sampled_from([0.0, 0.3, 2.0]))
    def slow_link(self, seconds: float) -> None:
        """Echoes come late."""
        self.world.process.network.latency = seconds

    @rule(deaf=st.booleans(), stubborn=st.booleans())
    def lose(self, deaf: bool, stubborn: bool) -> None:
        """It answers nothing, or takes no write."""
        self.world.gx.deaf = deaf
        self.world.gx.write = (lambda topic, value: None) if stubborn else self.takes  # type: ignore[method-assign]

    @rule(device=st.sampled_from(DEVICES))
    def come_or_go(self, device: tuple[str, int]) -> None:
        if device in self.away:
            self.away.remove(device)
            self.world.gx.restore(*device)
        else:
            self.away.add(device)
            self.world.gx.remove(*device)
        self.world.watch()

    @rule(seconds=st.sampled_from([-300.0, 300.0, 0.0]))
    def skew(self, seconds: float) -> None:
        self.world.gx.clock_skew = seconds

    # What happens to the process.

    @rule(fault=st.sampled_from(["", "", "refuse", "lose", "lose-answer", "throttle"]), latency=st.sampled_from([0, 5]))
    def backend(self, fault: str, latency: float) -> None:
        self.world.process.backend.fault, self.world.process.backend.latency = fault, latency

    @rule(steps=st.integers(0, 6))
    def kill(self, steps: int) -> None:
        self.world.step(steps)
        self.world.restart()

    @rule(off=st.booleans())
    def switch(self, off: bool) -> None:
        is_off = bool(self.cloud.off) and self.cloud.off[-1][1] > self.now
        if off and not is_off:
            self.cloud.off.append((self.now, float("inf")))
        elif is_off and not off:
            self.cloud.off[-1] = (self.cloud.off[-1][0], self.now)
        self.world.process.core.commands.switch(off, "test")

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 1.0, 20.0, 20.0, 90.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    # What holds at any time.

    @invariant()
    def holds(self) -> None:
        self.sound = False
        check_writes(self.world, self.cloud)
        check_actions(self.world, self.cloud)
        check_statuses(self.world)
        self.check_once()
        self.check_shown()
        self.sound = True

    def check_once(self) -> None:
        """No id is sent twice."""
        sent = [s["id"] for s in audited(self.world) if s["step"] == "written" and s["field"] == "redetectSystem"]
        twice = [identity for identity, count in Counter(sent).items() if count > 1]
        assert not twice

    def check_shown(self) -> None:
        """Whatever is desired and told, what is shown is what the GX had."""
        for (shadow, field), had in self.world.had.items():
            shown = at(self.world.reported(shadow), tuple(field.split(".")))
            assert shown is None or any(shown == value or _near(shown, value) for value in had), (field, shown, had)

    # And at the end.

    def teardown(self) -> None:
        try:
            if self.sound:
                self.make_peace()
                self.check_end()
                self.world.stop()
        finally:
            self.restore_paho()
            shutil.rmtree(self.folder)

    def make_peace(self) -> None:
        self.link("accept")
        self.link("thaw")
        self.slow_link(0.0)
        self.lose(False, False)
        for device in tuple(self.away):
            self.come_or_go(device)
        self.skew(0.0)
        self.backend("", 0.0)
        self.switch(False)
        self.world.run(60)
        freeze_the_model(self.world)
        self.world.run(PEACE)

    def check_end(self) -> None:
        wrong = differences(self.world)
        assert not wrong, "\n".join(wrong)
        self.holds()
        check_holds(self.world)
        check_settled(self.world)
        check_audit(self.world)
        self.check_truth()

    def check_truth(self) -> None:
        """Each status was decided and written down as such; what was applied the GX had, what was sent was sent."""
        steps = audited(self.world)
        for (shadow, field), result in results(self.world).items():
            of_field = [s for s in steps if (s["shadow"], s["field"]) == (shadow, field)]
            told = [
                s
                for s in of_field
                if s["step"] in ("confirmed", "refused")
                and s["result"] == result["status"]
                and s["reason"][:200] == result["reason"]
                and _is_told(s["new"], result)
            ]
            assert told, (shadow, field, result, of_field)
            if result["status"] == "sent":
                assert any(s["step"] == "written" and s["id"] == result["id"] for s in of_field), result
            if result["status"] == "applied" and not result["reason"] and (shadow, field) in PICTURE:
                self.check_had(shadow, field, told[-1]["new"])

    def check_had(self, shadow: str, field: str, asked: Any) -> None:
        texts = PICTURE[shadow, field][1]
        value = asked["value"] if isinstance(asked, Mapping) else asked
        wanted = texts.get(value, value) if texts and not isinstance(value, str) else value
        had = self.world.had[shadow, field]
        assert any(str(wanted).casefold() == str(v).casefold() or _near(wanted, v) for v in had), (field, asked, had)


def _is_told(asked: Any, result: dict[str, Any]) -> bool:
    """The text of an object may be in another order."""
    if isinstance(asked, Mapping | list):
        identity = str(asked["id"]) if isinstance(asked, Mapping) and "id" in asked else ""
        return bool(identity == result["id"])
    return bool(result["value"] == ("" if asked is None else shorten(asked)))


def _near(one: Any, other: Any) -> bool:
    return isinstance(one, int | float) and isinstance(other, int | float) and bool(abs(one - other) < 0.05)


def test_any_sequence_ends_well() -> None:
    run_state_machine_as_test(
        CommandMachine,
        settings=settings(
            max_examples=int(_WANTED) if _WANTED else EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=not _WANTED,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate] if os.environ.get("VICTRON_TWIN_NO_SHRINKING") else list(Phase),
        ),
    )
    gc.collect()  # what nobody waits for is told of here, not in a later test
