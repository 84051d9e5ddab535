from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from victron_twin.twin.topics import Notice, Topic, parse


@pytest.mark.parametrize(
    ("topic", "parsed"),
    [
        (b"N/c0619ab2d3e4/battery/512/Dc/0/Voltage", Topic("c0619ab2d3e4", "battery", "512", "/Dc/0/Voltage")),
        (b"N/c0619ab2d3e4/gps/0/Fix", Topic("c0619ab2d3e4", "gps", "0", "/Fix")),
        (b"N/c0619ab2d3e4/temperature/ruuvi_f0/Status", Topic("c0619ab2d3e4", "temperature", "ruuvi_f0", "/Status")),
        (b"N/c0619ab2d3e4/heartbeat", Notice("c0619ab2d3e4", "heartbeat")),
        (b"N/c0619ab2d3e4/full_publish_completed", Notice("c0619ab2d3e4", "full_publish_completed")),
        (b"N/c0619ab2d3e4/GuiCustomizations/0/a/b", None),
        (b"N/c0619ab2d3e4/battery/512", None),
        (b"N/c0619ab2d3e4/battery//Soc", None),
        (b"W/c0619ab2d3e4/battery/512/Soc", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_takes_topics_apart(topic: bytes, parsed: object) -> None:
    assert parse(topic) == parsed


@given(st.binary(max_size=64))
def test_any_topic_is_something_or_nothing(topic: bytes) -> None:
    parse(topic)


def test_the_same_topic_to_write() -> None:
    assert Topic("c0", "vebus", "276", "/Mode").under("W") == "W/c0/vebus/276/Mode"
