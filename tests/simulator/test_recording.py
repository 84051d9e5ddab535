"""What is recorded of a GX, and a GX that plays a recording."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.simulator import mqtt
from tests.simulator.mqtt import connect, publish, subscribe
from tests.simulator.test_gx import ECHO, MODE, PORTAL, SUPPRESS, Rig, messages, topics
from victron_twin.simulator.broker import Broker
from victron_twin.simulator.recording import Message, Recorder, RecordingError, ReplayGX, opened, read


def recorded(path: Path, *heard: tuple[float, str, bytes]) -> list[Message]:
    """Record messages at their times, and read them back."""
    clock = Clock()
    recorder = Recorder(clock, opened(path, "w"))
    for t, topic, payload in heard:
        clock.advance(t - clock.seconds())
        recorder.messageReceived(topic.encode(), payload, retained=False)
    recorder.close()
    return read(path)


def soc(t: float, value: object) -> Message:
    return Message(t, f"N/{PORTAL}/battery/512/Soc", b"" if value == "" else json.dumps({"value": value}).encode())


class Player:
    """A recording behind a broker, and a client that hears it."""

    def __init__(self, *recording: Message, speed: float = 1.0) -> None:
        self.clock = Clock()
        self.gx = ReplayGX(self.clock, recording, Random(1), password=None, speed=speed)
        self.broker = Broker(self.clock, self.gx)
        self.gx.start(self.broker)
        self.client = self.join()

    def join(self) -> mqtt.Client:
        client = mqtt.Client(self.clock, self.broker, connect("me", "u", "p"))
        client.connection.received(subscribe("#"))
        return client

    def say(self, topic: str, payload: bytes = b"") -> None:
        self.client.connection.received(publish(topic.replace("<id>", PORTAL), payload))

    def run(self, seconds: float) -> list[tuple[str, bytes]]:
        heard = []
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            heard += [(topic, payload) for topic, payload in messages(self.client) if topic[:2] not in ("R/", "W/")]
        return heard


# Recording


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_what_was_heard_is_read_back(tmp_path: Path, name: str) -> None:
    heard = [
        (0.0, "N/x/system/0/Serial", b'{"value":"x"}'),
        (1.5, "N/x/é", "ü".encode()),
        (2.25, "N/x/a/0/B", b"\xff\x00"),
    ]
    found = recorded(tmp_path / name, *heard)
    assert [(m.t, m.topic, m.payload) for m in found] == heard
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b") is name.endswith(".gz")


printable = st.text(min_size=1, max_size=20).filter(str.isprintable)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(printable, st.binary(max_size=40))))
def test_any_message_is_read_back(heard: list[tuple[str, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        found = recorded(Path(folder) / "r", *((0.0, topic, payload) for topic, payload in heard))
    assert [(m.topic, m.payload) for m in found] == heard


@pytest.mark.parametrize(
    ("topic", "payload", "kept"),
    [
        ("N/x/settings/0/Settings/LoadSheddingApi/Token", b'{"value":"abc"}', b'{"value":"******"}'),
        ("N/x/settings/0/Settings/LoadSheddingApi/Token", b'{"value":""}', b'{"value":""}'),
        ("N/x/settings/0/Settings/Vrmlogger/Http/Proxy", b'{"value":"http://u:p@h"}', b'{"value":"******"}'),
        ("N/x/platform/0/Security/Api", b'{"value":"{...}"}', b'{"value":"******"}'),
        ("W/x/platform/0/Security/Api", b"not json", b'{"value":"******"}'),
        ("N/x/platform/0/Tokens/Users", b'{"value":"[1]"}', b'{"value":"******"}'),
        ("N/x/platform/0/Tokens/Users", b'{"value":"[]"}', b'{"value":"[]"}'),
        ("N/x/settings/0/Settings/Ble/Service/Pincode", b'{"value":"123456"}', b'{"value":"******"}'),
        ("N/x/platform/0/Tokens/Users", b"", b""),
        ("N/x/system/0/Relay/0/State", b'{"value":1}', b'{"value":1}'),
    ],
)
def test_secrets_are_masked(tmp_path: Path, topic: str, payload: bytes, kept: bytes) -> None:
    assert [m.payload for m in recorded(tmp_path / "r", (0.0, topic, payload))] == [kept]


def test_events_stand_beside_and_are_not_played(tmp_path: Path) -> None:
    recorder = Recorder(Clock(), opened(tmp_path / "r", "w"))
    recorder.event("connack", rc=0)
    recorder.close()
    assert json.loads((tmp_path / "r").read_text()) == {"t": 0.0, "event": "connack", "rc": 0}
    assert read(tmp_path / "r") == []


def test_a_recording_that_was_cut_off_ends_there(tmp_path: Path) -> None:
    whole = [(float(n), "N/x/battery/1/Soc", b'{"value":%d}' % n) for n in range(200)]
    recorded(tmp_path / "r.jsonl", *whole)
    recorded(tmp_path / "r.jsonl.gz", *whole)
    for name in ("r.jsonl", "r.jsonl.gz"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-30])
        assert 100 < len(read(tmp_path / name)) < 200


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not json\n", "line 1"),
        (b'{"t":0,"event":"x"}\n{"t":1}\n', "line 2"),
        (b'{"t":"x","topic":"a","payload":""}\n', "line 1"),
        (b"[]\n", "line 1"),
        (b"\xff\n", "no recording"),
        (gzip.compress(b"x", mtime=0)[:5], "cannot be read|no recording"),
    ],
)
def test_a_bad_recording_is_named_with_its_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / ("r.gz" if content.startswith(b"\x1f\x8b") else "r")
    path.write_bytes(content)
    if path.suffix == ".gz":
        assert read(path) == []
    else:
        with pytest.raises(RecordingError, match=says):
            read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "plain.gz").write_text("{}\n")
    with pytest.raises(RecordingError, match=r"plain\.gz"):
        read(tmp_path / "plain.gz")


# Playing


def test_it_is_a_gx_with_a_serial_keepalive_heartbeat_and_completion() -> None:
    player = Player(soc(0.0, 50.0), soc(1.0, 51.0), soc(90.0, 52.0))
    assert messages(player.client) == [("system/0/Serial", b'{"value":"%s"}' % PORTAL.encode())]
    assert player.run(2.0) == []
    player.say("R/<id>/keepalive", ECHO)
    heard = player.run(0.1)
    assert ("battery/512/Soc", b'{"value": 51.0}') in heard
    assert "system/0/Serial" in topics(heard)
    assert json.loads(dict(heard)["full_publish_completed"])["full-publish-completed-echo"] == "x"
    assert topics(player.run(59.0)).count("heartbeat") >= 19
    assert player.run(60.0) == []
    assert player.gx.ended
    player.say("R/<id>/battery/512/Soc")
    assert player.run(0.1) == [("battery/512/Soc", b'{"value": 52.0}')]


def test_it_plays_at_its_own_pace_or_faster_and_stays_at_the_end() -> None:
    for speed in (1.0, 10.0):
        player = Player(soc(0.0, 1), soc(10.0, 2), soc(20.0, 3), speed=speed)
        player.say("R/<id>/keepalive", SUPPRESS)
        assert ("battery/512/Soc", b'{"value": 2}') not in player.run(9.5 / speed)
        assert ("battery/512/Soc", b'{"value": 2}') in player.run(1.0 / speed + 0.05)
        assert not player.gx.ended
        player.run(10.0 / speed + 0.05)
        assert player.gx.ended
        assert player.gx.payload("battery/512/Soc") == b'{"value": 3}'


def test_a_device_that_left_is_gone_whoever_keeps_alive_or_not() -> None:
    player = Player(soc(0.0, 1), soc(1.0, ""))
    player.client.hear()
    assert player.run(2.0) == [("battery/512/Soc", b"")]
    player.say("R/<id>/keepalive")
    assert "battery/512/Soc" not in topics(player.run(0.1))


def test_what_is_not_the_gxs_own_is_not_played() -> None:
    other = (
        Message(0.0, f"N/{PORTAL}/heartbeat", b'{"value":1}'),
        Message(0.0, f"N/{PORTAL}/full_publish_completed", b'{"value":1}'),
        Message(0.0, f"W/{PORTAL}/{MODE}", b'{"value":1}'),
        Message(0.0, f"R/{PORTAL}/keepalive", b""),
        Message(0.0, "N/another/battery/512/Soc", b'{"value":1}'),
    )
    player = Player(soc(0.0, 1), *other)
    player.client.hear()
    player.say("R/<id>/keepalive", SUPPRESS)
    heard = player.run(1.0)
    assert {topic for topic in topics(heard) if topic != "heartbeat"} <= {"battery/512/Soc"}
    assert all(json.loads(payload)["value"] != 1 or topic != "heartbeat" for topic, payload in heard)


def test_writes_have_no_effect_and_a_restart_goes_on() -> None:
    player = Player(soc(0.0, 1), soc(10.0, 2))
    player.run(5.0)
    player.say("W/<id>/battery/512/Soc", b'{"value":9}')
    player.run(0.1)
    assert player.gx.payload("battery/512/Soc") == b'{"value": 1}'
    player.gx.restart()
    player.client = player.join()
    player.run(4.0)
    assert not player.gx.ended
    player.run(2.0)
    assert player.gx.ended
    player.gx.stop()
    player.clock.advance(10.0)
    assert player.clock.getDelayedCalls() == []


def test_a_recording_without_a_gx_is_refused() -> None:
    with pytest.raises(RecordingError, match="no message of a GX"):
        ReplayGX(Clock(), [Message(0.0, "a/b", b"")], Random(1), password=None)


def test_a_recorded_van_plays_back_to_the_vans_own_values(tmp_path: Path) -> None:
    rig = Rig()
    recorder = Recorder(rig.clock, opened(tmp_path / "van.jsonl.gz", "w"))
    spy = rig.join("spy", "#")

    def listen(seconds: float) -> None:
        for topic, payload in rig.run(seconds, spy):
            whole = topic if topic[:2] in ("R/", "W/") else f"N/{PORTAL}/{topic}"
            recorder.messageReceived(whole.encode(), payload, retained=False)

    rig.keep_alive(b"")
    listen(5.0)
    rig.write(MODE, 1)
    listen(2.0)
    rig.gx.remove("gps", 0)
    listen(2.0)
    recorder.close()

    player = Player(*read(tmp_path / "van.jsonl.gz"), speed=5.0)
    player.run(3.0)
    assert player.gx.ended
    secret = "settings/0/Settings/Ble/Service/Pincode"
    expected: dict[str, Any] = {topic: rig.gx.payload(topic) for topic in rig.gx.topics()}
    assert {t: player.gx.payload(t) for t in player.gx.topics() if t != secret} == {
        topic: payload for topic, payload in expected.items() if topic != secret
    }
