"""A parked van's position stands still, and is shown as far as its owner wants."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG
from tests.twin.test_twin import Bench
from victron_twin.twin.position import Position, Privacy, metres

BERLIN = 52.520008, 13.404954
PARIS = 48.856613, 2.352222


def test_distances_on_the_ground() -> None:
    assert round(metres(BERLIN, PARIS) / 1000) == 877
    assert metres(BERLIN, BERLIN) == 0
    assert 111_100 < metres((0, 179.5), (0, -179.5)) < 111_300


@given(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), st.tuples(st.floats(-90, 90), st.floats(-180, 180)))
def test_what_is_shown_is_never_further_than_the_deadband(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    position = Position(Privacy(distance=20.0))
    position.shown(*first)
    shown = position.shown(*second)
    assert shown in (first, second)
    assert metres((float(shown[0] or 0), float(shown[1] or 0)), second) < 20.0


def test_jitter_changes_nothing_and_both_coordinates_change_together() -> None:
    random = Random(1)
    position = Position(Privacy(distance=20.0))
    jitter = {position.shown(BERLIN[0] + random.gauss(0, 2e-5), BERLIN[1] + random.gauss(0, 2e-5)) for _ in range(500)}
    assert len(jitter) == 1
    assert position.shown(*PARIS) == PARIS


def test_rounded_at_the_edge_of_a_cell_does_not_flip() -> None:
    position = Position(Privacy(distance=20.0, decimals=2))
    edge = 52.525
    shown = {position.shown(edge + step * 1e-5, 13.0) for step in (0, -1, 1, -2, 2)}
    assert len(shown) == 1
    assert position.shown(52.6049, 13.4049) == (52.6, 13.4)


def test_half_a_point_is_none() -> None:
    assert Position(Privacy()).shown(52.5, None) == (None, None)


def fixed(bench: Bench, latitude: float, longitude: float) -> tuple[object, object]:
    bench.hear("gps/0/Position/Latitude", latitude)
    bench.hear("gps/0/Position/Longitude", longitude)
    gps = bench.shadow("victron-gps")
    return gps.get("latitude"), gps.get("longitude")


def test_only_where_moved_holds_over_a_restart() -> None:
    bench = Bench(CATALOG, privacy=Privacy(distance=500.0))
    bench.hear("gps/0/Fix", 1)
    bench.twin.settle()
    assert fixed(bench, *BERLIN) == BERLIN
    assert fixed(bench, BERLIN[0] + 0.003, BERLIN[1]) == BERLIN
    again = Bench(CATALOG, privacy=Privacy(distance=500.0))
    again.twin.restore("victron-gps", bench.shadow("victron-gps"))
    again.hear("gps/0/Fix", 1)
    again.twin.settle()
    assert fixed(again, BERLIN[0] + 0.003, BERLIN[1]) == BERLIN
    assert fixed(again, *PARIS) == PARIS
