"""What Prometheus reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.simulation.world import THING, World
from victron_twin.core import Core
from victron_twin.metrics import registry
from victron_twin.twin.readings import Trouble

Labels = frozenset[tuple[str, str]]


def samples(core: Core) -> dict[str, dict[Labels, float]]:
    """All samples by name and labels, as a reader of the text format sees them."""
    found: dict[str, dict[Labels, float]] = {}
    text = generate_latest(registry(core.health, core.bad_input)).decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {}), "twice the same"
            found[sample.name][labels] = sample.value
    return found


@pytest.fixture(scope="module")
def van(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("van"), 1)
    world.run(60)
    return world


ALONE: Labels = frozenset()
HOST: Labels = frozenset({("host", "venus.local")})
BATTERY: Labels = frozenset({("thing", THING), ("shadow", "victron-battery")})


def test_a_van_that_is_well(van: World) -> None:
    found = samples(van.process.core)
    assert found["victron_twin_healthy"] == {ALONE: 1}
    assert found["victron_twin_uptime_seconds"] == {ALONE: 60}
    assert found["victron_twin_gx_connected"] == {HOST: 1}
    assert found["victron_twin_gx_live"] == {HOST: 1}
    assert found["victron_twin_gx_connection_attempts_total"] == {HOST: 1}
    assert found["victron_twin_gx_messages_total"][HOST] > 500
    assert found["victron_twin_oldest_unacknowledged_seconds"] == {ALONE: 0}
    assert found["victron_twin_shadow_version"][BATTERY] == van.shadow("victron-battery")["version"]
    assert found["victron_twin_shadow_updates_total"][BATTERY] > 1
    assert found["victron_twin_shadow_failures_total"][BATTERY] == 0


def test_every_kind_of_bad_input_is_there_from_the_start(van: World) -> None:
    """A counter that only appears with its first count hides that count from a rate."""
    kinds = samples(van.process.core)["victron_twin_bad_input_total"]
    assert kinds == {frozenset({("kind", kind.value)}): 0 for kind in Trouble}


def test_the_reference_names_them_all(van: World) -> None:
    reference = (Path(__file__).parents[1] / "docs" / "http.md").read_text()
    assert [name for name in samples(van.process.core) if f"`{name}`" not in reference] == []


def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.run(30)
    world.site.force("battery/512/Soc", "text")
    world.process.backend.fault = "refuse"
    world.process.network.cut()
    world.process.network.refuse = True
    world.run(100)
    found = samples(world.process.core)
    assert found["victron_twin_healthy"] == {ALONE: 0}
    assert found["victron_twin_gx_connected"] == {HOST: 0}
    assert found["victron_twin_gx_live"] == {HOST: 0}
    assert found["victron_twin_gx_connection_attempts_total"][HOST] > 2
    assert found["victron_twin_shadow_failures_total"][BATTERY] > 1
    assert found["victron_twin_oldest_unacknowledged_seconds"][ALONE] > 60
    world.process.network.refuse = False
    world.run(120)
    found = samples(world.process.core)
    assert sum(found["victron_twin_bad_input_total"].values()) > 0


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "Küche"])
def test_names_that_need_quoting(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, 3)
    world.process.core.gxs[0].status.host = name
    assert samples(world.process.core)["victron_twin_gx_live"] == {frozenset({("host", name)}): 0}
