"""Whatever JSON is desired, wherever: it is told what became of it, no delta stays, and nothing stops."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.simulation.seeds import few, more
from tests.simulation.world import CloudWorld, World, running
from victron_twin.twin.flat import flatten, nest

PATHS = (
    ("victron-vebus", ("mode",)), ("victron-vebus", ("currentLimit",)), ("victron-vebus", ("redetectSystem",)),
    ("victron-vebus", ("state",)), ("victron-vebus", ("commands", "mode")), ("victron-vebus", ("devices",)),
    ("victron-vebus", ("devices", "276", "mode")), ("victron-vebus", ("connected",)),
    ("victron-system", ("setpoints",)), ("victron-system", ("setpoints", "grid")), ("victron-system", ("dc",)),
    ("victron-system", ("setpoints", "grid", "value")), ("victron-system", ("relays", "0", "state")),
    ("victron-solarcharger", ("devices", "280", "mode")), ("victron-solarcharger", ("raw", "Link/ChargeCurrent")),
    ("victron-solarcharger", ("state",)), ("victron-battery", ("voltage", "deep")), ("victron-battery", ("",)),
    ("victron-twin", ("version",)), ("victron-settings", ("ess", "minimumSocLimit")), ("victron-gps", ("a.b",)),
)  # fmt: skip
TEXTS = ("", "On", "Off", "a", "é" * 9, "x" * 90, "\0", "😀", "0", "null", "2024-06-20T10:05:00Z")
NUMBERS = (0, 1, -1, 16, 1e308, -1e-300, 2**53, 2**64, -(10**22), 10**310, 0.1)


def value(random: Random, depth: int = 0) -> Any:
    kind = random.randrange(8 if depth < 2 else 4)
    if kind < 2:
        return random.choice(NUMBERS)
    if kind == 2:
        return random.choice(TEXTS)
    if kind == 3:
        return random.random() < 0.5
    if kind == 4:
        return [value(random, depth + 1) for _ in range(random.randrange(3))]
    keys: tuple[str, ...] = ("value", "id", "expires", "revertAfter", "state", "x", "é")
    if kind == 5:
        keys = ("value", "id", "expires")
        return {key: value(random, depth + 1) for key in keys}
    return {key: value(random, depth + 1) for key in keys if random.random() < 0.4}


def check(seed: int, made: World, hollow: bool = False) -> None:
    """``hollow``: empty objects may be left, which Shadow Manager does not clear."""
    random = Random(seed)
    said = []
    made.run(30)
    for _ in range(40):
        name, path = random.choice(PATHS)
        asked = value(random)
        if random.random() < 0.3:
            asked = {"value": random.choice(NUMBERS), "id": random.choice(TEXTS), "expires": random.choice(TEXTS)}
        said.append((name, path, asked))
        made.update(name, {"state": {"desired": nest({path: asked})}})
        made.run(random.choice([0.0, 0.1, 5.0, 20.0]))
    made.run(400)
    context = "\n".join(map(repr, [seed, *said]))
    for name in {name for name, _ in PATHS}:
        state = made.shadow(name)["state"]
        left = hollow and not flatten(state.get("delta", {}))
        assert left or "delta" not in state, f"{context}\n{name}: {state['delta']}"
        assert "reported" in state
    health = made.process.core.health
    assert health.healthy(), f"{context}\n{health.report()}"


@pytest.mark.parametrize("seed", few(3))
def test_any_desire(seed: int, tmp_path: Path) -> None:
    with running(World(tmp_path, seed)) as made:
        check(seed, made)


@pytest.mark.parametrize("seed", few(2))
def test_any_desire_of_the_cloud(seed: int, tmp_path: Path) -> None:
    with running(CloudWorld(tmp_path, seed)) as made:
        check(seed, made, hollow=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", more(10))
def test_any_desire_more_seeds(seed: int, tmp_path: Path) -> None:
    with running(World(tmp_path, seed)) as made:
        check(seed, made)
