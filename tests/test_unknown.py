"""What ``victron-twin doctor --unknown`` lists."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock

from tests.support import CATALOG
from victron_twin.config import Config
from victron_twin.doctor import unknown
from victron_twin.gx.pins import Pins
from victron_twin.gx.visit import Visit


def test_topics_that_no_table_knows(tmp_path: Path) -> None:
    config = Config.load({}, {"VICTRON_TWIN_STATE_DIR": str(tmp_path)})
    visit = Visit(Clock(), config.gx[0], Pins(tmp_path / "pins.json"))
    for topic, payload in {
        "battery/512/Dc/0/Voltage": b'{"value":12.5}',
        "battery/512/Odd": b'{"value":7}',
        "battery/512/Gone": b"",
        "toaster/3/Slices": b'{"value":2}',
        "battery/512/Settings/Password": b'{"value":"geheim"}',
    }.items():
        service, instance, path = topic.split("/", 2)
        visit.values[service, instance, f"/{path}"] = payload
    assert list(unknown(CATALOG, visit)) == [
        'unknown battery/512/Odd {"value":7}',
        "unknown battery/512/Settings/Password (a secret)",
        'unknown toaster/3/Slices {"value":2}',
    ]
