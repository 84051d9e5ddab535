"""The compact form loses nothing, and says how far each value can be relied on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import CATALOG
from tests.twin.test_twin import START, Bench
from victron_twin.twin.telemetry import Malformed, Point, Quality, decode, encode, points

POINTS = st.dictionaries(
    st.text(min_size=1),
    st.builds(
        Point,
        st.integers(0, 2**53),
        st.one_of(st.text(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False)),
        st.sampled_from(Quality),
    ),
    min_size=1,
)


@given(POINTS)
def test_nothing_is_lost(said: dict[str, Point]) -> None:
    assert decode(json.loads(json.dumps(encode(said)))) == said


def test_good_values_of_one_time_cost_no_more_than_themselves() -> None:
    said = {"voltage": Point(1000, 12.45), "soc": Point(1000, 87)}
    assert encode(said) == {"t": 1000, "v": {"voltage": 12.45, "soc": 87}}


def test_quality() -> None:
    bench = Bench(CATALOG)
    bench.battery()
    bench.hear("battery/512/ConsumedAmphours", -5)
    bench.hear("battery/513/Dc/0/Voltage", 12.1)
    bench.twin.settle()
    bench.shadow("victron-battery")
    bench.now += 5
    bench.hear("battery/512/Soc", None)
    bench.raw("battery/513/Dc/0/Voltage", b"")
    bench.shadow("victron-battery")
    found = points(bench.twin, "victron-battery")
    ms = int(START * 1000)
    assert found["voltage"] == Point(ms, 12.45)
    assert found["power"] == Point(ms, -64.74, Quality.DERIVED)
    assert found["soc"] == Point(ms + 5000, 87.5, Quality.DOUBTFUL)
    assert found["devices.513.voltage"].q is Quality.STALE


@pytest.mark.parametrize(
    "message",
    [{}, {"t": 1.5, "v": {}}, {"t": 1, "v": 5}, {"t": 1, "v": {"a": 1}, "q": {"a": 9}}, {"t": 1, "v": {}, "d": []}],
)
def test_what_is_not_of_this_form(message: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        decode(message)
