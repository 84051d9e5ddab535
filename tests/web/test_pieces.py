"""What the page is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.world import THING, World
from tests.support import CATALOG
from victron_twin.web.pieces import Pieces

KINDS = ("system", "battery", "solarcharger", "vebus", "gps", "settings", "twin")


@pytest.fixture
def van(tmp_path: Path) -> World:
    world = World(tmp_path, 1)
    world.run(30)
    return world


def pieces(world: World) -> dict[str, Any]:
    core = world.process.core
    return Pieces(core.catalog, core.health, core.sources)()


def test_each_shadow_that_is_there_with_its_fields_before_it(van: World) -> None:
    names = [f"{piece}/{THING}/victron-{kind}" for kind in KINDS for piece in ("fields", "shadow")]
    assert list(pieces(van)) == ["health", *names]
    json.dumps(pieces(van), allow_nan=False)


def test_a_shadow_as_it_is_now(van: World) -> None:
    piece = pieces(van)[f"shadow/{THING}/victron-battery"]
    assert (piece["thing"], piece["name"], piece["problem"]) == (THING, "victron-battery", "")
    assert piece["version"] == van.shadow("victron-battery")["version"]
    assert 10 < piece["reported"]["voltage"] < 16
    van.process.backend.fault = "refuse"
    van.run(30)
    assert pieces(van)[f"shadow/{THING}/victron-battery"]["problem"] == "refused"


def test_what_is_said_of_the_fields_serves_all_devices(van: World) -> None:
    piece = pieces(van)[f"fields/{THING}/victron-solarcharger"]
    assert piece["title"] == CATALOG.shadows["victron-solarcharger"].title
    (row,) = [row for row in CATALOG.fields("victron-solarcharger") if row.name == "pv.power"]
    assert piece["fields"]["pv.power"] == {"title": row.title, "unit": "W", "first": True}
    assert piece["fields"]["productId"]["first"] is False
    devices = pieces(van)[f"shadow/{THING}/victron-solarcharger"]["reported"]["devices"]
    assert devices["280"]["pv"]["power"] > 0


def test_fields_stand_in_the_order_of_the_catalogue(van: World) -> None:
    order = [row.name for row in CATALOG.fields("victron-gps")]
    fields = list(pieces(van)[f"fields/{THING}/victron-gps"]["fields"])
    assert fields == [name for name in order if name in fields]
    phases = [n for n in pieces(van)[f"fields/{THING}/victron-system"]["fields"] if n.startswith("ac.consumption.")]
    assert phases == ["ac.consumption.l1", "ac.consumption.l2", "ac.consumption.l3"]


def test_what_is_said_of_the_fields_does_not_change_with_the_values(van: World) -> None:
    before = pieces(van)
    van.run(60)
    after = pieces(van)
    for kind in ("system", "battery", "gps"):
        name = f"fields/{THING}/victron-{kind}"
        assert after[name] == before[name]
