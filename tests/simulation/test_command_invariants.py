"""Commands under faults: whatever the order of deltas, echoes, losses, kills, restarts and changes at the panel.

No write outside range, type or policy; no action twice; no setpoint that is not desired at that moment; nothing but
safe values while commands are off; each desire ends with a truthful status; no delta stays; nothing is held at the end;
a bounded number of writes for each desire that was changed.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.simulation.command_checks import audited, check_audit, check_settled
from tests.simulation.odd import CONFIG, odd_van
from tests.simulation.seeds import few, more
from tests.simulation.test_convergence import PEACE, Mischief, differences, freeze_the_model, world
from tests.simulation.world import THING, World
from victron_twin.commands.hand import BEGINNINGS
from victron_twin.commands.writer import TRIES
from victron_twin.simulator.bus import Value
from victron_twin.twin.desires import moment
from victron_twin.twin.flat import nest
from victron_twin.twin.holds import Keep
from victron_twin.twin.twin import iso


def guarded(value: Any, after: float, identity: str = "") -> dict[str, Any]:
    return {"value": value, "revertAfter": after, **({"id": identity} if identity else {})}


#: What is desired at times, and what of it may never reach the GX: (shadow, field, values, forbidden raw values).
WISHES: list[tuple[str, tuple[str, ...], list[Any]]] = [
    ("victron-vebus", ("mode",), ["On", "Inverter Only", 1, 3, "Off", 99, "rubbish", True]),
    ("victron-vebus", ("currentLimit",), [10, 12.5, 30, 101, -1, "x"]),
    ("victron-vebus", ("input1", "currentLimit"), [16, 25]),
    ("victron-solarcharger", ("mode",), ["On", "Off", 4, 1, 2]),
    ("victron-solarcharger", ("devices", "280", "mode"), ["On", "Off"]),
    ("victron-solarcharger", ("devices", "279", "mode"), ["Off"]),
    ("victron-system", ("relays", "0", "state"), ["Open", "Closed", 7]),
    ("victron-settings", ("ess", "minimumSoc"), [10, 20, 30.5, 200]),
    ("victron-settings", ("ess", "mode"), [0, 1, "Keep batteries charged", "External control"]),
    ("victron-settings", ("dvcc", "maxChargeCurrent"), [-1, 50, 60, 12.5]),
    ("victron-battery", ("voltage",), [14.4]),
    ("victron-gps", ("nothing", "of", "the", "kind"), [1]),
    ("victron-vebus", ("mode",), [guarded("Inverter Only", 20), guarded("On", 90), guarded("Inverter Only", 60, "g")]),
    ("victron-vebus", ("currentLimit",), [guarded(14, 30), guarded(14, 0), guarded(101, 30)]),
    ("victron-settings", ("ess", "mode"), [guarded("External control", 40), guarded(1, 100)]),
    ("victron-settings", ("raw", "Settings/Odd/Bound"), [3, 19, 21, "x", guarded(7, 30)]),
    ("victron-solarcharger", ("raw", "Link/ChargeCurrent"), [5]),
]

#: Setpoints: (path in victron-system, values that can be, topic, the safe one).
SETPOINTS: list[tuple[tuple[str, ...], list[Any], str, Any]] = [
    (("setpoints", "grid"), [-500, 800, 99_999], "hub4/0/Overrides/Setpoint", 50),
    (("setpoints", "maxChargePower"), [0, 1000], "hub4/0/Overrides/MaxChargePower", -1),
    (("setpoints", "forceCharge"), [True, False], "hub4/0/Overrides/ForceCharge", 0),
]

#: What a write to a topic may hold: from the catalogue's ranges, in the type of the path, by the default policy.
ALLOWED: dict[str, tuple[type, Any]] = {
    "vebus/276/Mode": (int, lambda v: v in (1, 2, 3)),
    "vebus/276/Ac/In/1/CurrentLimit": (float, lambda v: 0 <= v <= 100),
    "vebus/276/RedetectSystem": (int, lambda v: v in (0, 1)),
    "solarcharger/279/Mode": (int, lambda v: v in (1, 4)),
    "solarcharger/280/Mode": (int, lambda v: v in (1, 4)),
    "system/0/Relay/0/State": (int, lambda v: v in (0, 1)),
    "settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit": (float, lambda v: 0 <= v <= 100),
    "settings/0/Settings/CGwacs/Hub4Mode": (int, lambda v: v in (1, 2, 3)),
    "settings/0/Settings/CGwacs/BatteryLife/State": (int, lambda v: v in (1, 9, 10)),
    "settings/0/Settings/SystemSetup/MaxChargeCurrent": (int, lambda v: -1 <= v <= 10000),
    "settings/0/Settings/Odd/Bound": (int, lambda v: 0 <= v <= 20),
    "hub4/0/Overrides/Setpoint": (float, lambda v: -32767 <= v <= 32767),
    "hub4/0/Overrides/MaxChargePower": (float, lambda v: v >= -1),
    "hub4/0/Overrides/ForceCharge": (int, lambda v: v in (0, 1)),
}

#: Times that the one enforced field may be written again.
ENFORCED = 5

PANEL: list[tuple[str, list[Value]]] = [
    ("vebus/276/Mode", [3, 2, 1]),
    ("solarcharger/279/Mode", [1, 4]),
    ("system/0/Relay/0/State", [0, 1]),
    ("settings/0/Settings/CGwacs/BatteryLife/MinimumSocLimit", [15.0, 35.0]),
    ("solarcharger/280/Mode", [1, 4]),
]


class Cloud:
    """An application that wishes, a person at the panel, and the switch."""

    def __init__(self, made: World, random: Random) -> None:
        self.world = made
        self.random = random
        self.wishes = 0
        self.ids: list[str] = []
        self.held: list[tuple[str, Any, float, float]] = []  #: topic, value, from when, until when
        self.off: list[tuple[float, float]] = []
        self.said: list[tuple[str, tuple[str, ...], Any]] = []
        self._numbers = 0

    def wish(self) -> None:
        self.wishes += 1
        kind = self.random.choices([self.set, self.act, self.hold, self.withdraw, self.repeat], [60, 18, 12, 5, 5])[0]
        kind()

    def set(self) -> None:
        shadow, path, values = self.random.choice(WISHES)
        self.say(shadow, path, self.random.choice(values))

    def say(self, shadow: str, path: tuple[str, ...], asked: Any) -> None:
        if asked is not None:
            self.said.append((shadow, path, asked))
        self.world.update(shadow, {"state": {"desired": nest({path: asked})}})

    def act(self) -> None:
        again = self.ids and self.random.random() < 0.2
        identity = self.random.choice(self.ids) if again else f"id-{len(self.ids)}"
        self.ids.append(identity)
        self.say("victron-vebus", ("redetectSystem",), self._dated(1, identity, [-10, 20, 300]))

    def hold(self) -> None:
        path, values, topic, _ = self.random.choice(SETPOINTS)
        self._numbers += 1
        asked = self._dated(self.random.choice(values), f"s-{self._numbers}", [-10, 30, 120, 300])
        now = self.world.clock.seconds()
        self.held.append((topic, asked["value"], now, moment(asked["expires"]) or 0.0))
        self.say("victron-system", path, asked)

    def withdraw(self) -> None:
        self.say("victron-system", self.random.choice(SETPOINTS)[0], None)

    def repeat(self) -> None:
        """An old desire comes back."""
        if self.said:
            self.say(*self.random.choice(self.said))

    def _dated(self, value: Any, identity: str, seconds: list[float]) -> dict[str, Any]:
        expires = iso(self.world.clock.seconds() + self.random.choice(seconds))
        return {"value": value, "id": identity, "expires": expires}

    def panel(self) -> None:
        topic, values = self.random.choice(PANEL)
        try:
            self.world.site.panel(topic, self.random.choice(values))
        except KeyError:
            return  # the device is away

    def switch(self) -> None:
        """Somebody switches commands off, and on again after a while."""
        now, seconds = self.world.clock.seconds(), self.random.uniform(1, 60)
        if self.off and now <= self.off[-1][1]:
            return
        self.off.append((now, now + seconds))
        self.world.process.core.commands.switch(True, "test")
        self.world.clock.callLater(seconds, lambda: self.world.process.core.commands.switch(False, "test"))

    def skew(self) -> None:
        """The clocks of the GX and of this computer go apart for a while."""
        self.world.gx.clock_skew = self.random.choice([-300.0, 300.0])
        self.world.clock.callLater(self.random.uniform(1, 90), setattr, self.world.gx, "clock_skew", 0.0)

    def happen(self) -> None:
        self.random.choices([self.panel, self.switch, self.skew], [6, 1, 1])[0]()


def check_writes(made: World, cloud: Cloud) -> None:
    safe = {topic: value for *_, topic, value in SETPOINTS}
    for _, topic, value in made.gx.writes:
        kind, good = ALLOWED[topic]
        assert type(value) is kind, (topic, value)
        assert good(value), (topic, value)
    sent = [step for step in audited(made) if step["step"] == "written"]
    assert sum(step["result"] not in safe for step in sent) <= (cloud.wishes + ENFORCED) * 2 * TRIES * BEGINNINGS
    for step in sent:  # what a frozen link delivers comes later than it was sent
        topic, value, when = step["result"], step["new"], moment(step["at"]) or 0.0
        if topic in safe and value != safe[topic]:
            assert any(
                topic == held and value == asked and since - 1 <= when <= until
                for held, asked, since, until in cloud.held
            ), step
        if any(begin < when and when + 1 < end for begin, end in cloud.off):
            assert (topic, value) == (topic, safe.get(topic)), step


def check_holds(made: World) -> None:
    """Nothing is left but what is enforced, and no setpoint stands."""
    record = made.process.core.commands._offices[THING].record
    left = [(path, hold) for holds in record.holds.values() for path, hold in holds.items()]
    assert {hold.keep for _, hold in left} <= {Keep.ENFORCED}, left
    for *_, topic, safe in SETPOINTS:
        assert made.site.value(topic) in (None, safe, 0, 0.0), topic


def check_actions(made: World, cloud: Cloud) -> None:
    assert len(made.site.actions) <= len(set(cloud.ids))


def run(seed: int, tmp_path: Path, seconds: float = 900.0) -> None:
    (tmp_path / "twin.toml").write_text(CONFIG + 'enforce = ["victron-solarcharger.devices.280.mode"]\n')
    with world(tmp_path, seed, site=odd_van, VICTRON_TWIN_CONFIG=str(tmp_path / "twin.toml")) as made:
        random = Random(seed * 7 + 1)
        mischief, cloud = Mischief(made), Cloud(made, random)
        made.run(15)
        end = made.clock.seconds() + seconds
        while made.clock.seconds() < end:
            made.run(random.choice([0.0, 0.01, 0.05, 0.5, 5.0, 60.0]))
            random.choices([cloud.wish, mischief.happen, cloud.happen, lambda: None], [10, 4, 3, 2])[0]()
        mischief.peace()
        freeze_the_model(made)
        made.run(PEACE)
        context = f"seed {seed}\n" + "\n".join(mischief.log)
        wrong = differences(made)
        assert not wrong, "\n".join([context, *wrong])
        check_writes(made, cloud)
        check_holds(made)
        check_actions(made, cloud)
        check_settled(made)
        check_audit(made)


@pytest.mark.parametrize("seed", few())
def test_commands_under_faults(seed: int, tmp_path: Path) -> None:
    run(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", more(12))
def test_commands_under_faults_more_seeds(seed: int, tmp_path: Path) -> None:
    run(seed, tmp_path)
