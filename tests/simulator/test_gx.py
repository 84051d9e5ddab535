"""The simulated GX as its clients see it: whole conversations over its broker, on a simulated clock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.simulator import mqtt
from tests.simulator.mqtt import connack, connect, publish, subscribe
from victron_twin.simulator.broker import Broker
from victron_twin.simulator.frames import Packet
from victron_twin.simulator.gx import GX, firmware
from victron_twin.simulator.logins import WRONG_LIMIT, Logins
from victron_twin.simulator.payloads import written
from victron_twin.simulator.site import Site

PORTAL = "c0619ab2d3e4"
EPOCH = 1_795_500_000.0
SUPPRESS = b'{"keepalive-options":["suppress-republish"]}'
ECHO = b'{"keepalive-options":[{"full-publish-completed-echo":"x"}]}'
MODE = "vebus/276/Mode"
DEEP = b'{"value":' + b"[" * 980 + b"]" * 980 + b"}"


class Rig:
    """A GX, its broker, and a client that hears everything on N."""

    def __init__(self, seed: int = 1, firmware: str = "v3.70", speed: float = 1.0, boot: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH)
        self.site = Site.van(Random(seed), time=EPOCH, firmware=firmware, portal_id=PORTAL)
        self.gx = GX(self.clock, self.site, Random(seed + 1), password="right", speed=speed, boot=boot)
        self.broker = Broker(self.clock, self.gx)
        self.gx.start(self.broker)
        self.client = self.join()

    def join(self, name: str = "me", wanted: str = f"N/{PORTAL}/#") -> mqtt.Client:
        client = mqtt.Client(self.clock, self.broker, connect(name, "u", "right"))
        client.say(subscribe(wanted))
        return client

    def say(self, topic: str, payload: bytes = b"") -> None:
        self.client.connection.received(publish(topic.replace("<id>", PORTAL), payload))

    def keep_alive(self, payload: bytes = SUPPRESS) -> None:
        self.say("R/<id>/keepalive", payload)

    def write(self, topic: str, value: Any) -> None:
        self.say(f"W/<id>/{topic}", json.dumps({"value": value}).encode())

    def run(self, seconds: float, client: mqtt.Client | None = None) -> list[tuple[str, bytes]]:
        """Let time pass; the messages that a client heard in it, without ``N/<portal id>/``."""
        heard = []
        for _ in range(round(seconds * 1000 / 25)):
            self.clock.advance(0.025)
            heard += messages(client or self.client)
        return heard


def messages(client: mqtt.Client) -> list[tuple[str, bytes]]:
    found = []
    for packet, _, body in client.hear():
        if packet is Packet.PUBLISH:
            length = int.from_bytes(body[:2], "big")
            found.append((body[2 : 2 + length].decode().replace(f"N/{PORTAL}/", ""), body[2 + length :]))
    return found


def topics(heard: list[tuple[str, bytes]]) -> list[str]:
    return [topic for topic, _ in heard]


def values(heard: list[tuple[str, bytes]], topic: str) -> list[Any]:
    return [json.loads(payload)["value"] for heard_topic, payload in heard if heard_topic == topic]


def devices(heard: list[tuple[str, bytes]]) -> list[str]:
    return [topic for topic in topics(heard) if "/" in topic]


# Keepalive


def test_nothing_but_the_retained_serial_without_a_keepalive() -> None:
    rig = Rig()
    fresh = rig.join("other", "N/+/system/0/Serial")
    assert fresh.writes == []
    other = mqtt.Client(rig.clock, rig.broker, connect("third", "u", "right"))
    answer = other.say(subscribe("N/+/system/0/Serial"))
    assert answer[-1] == mqtt.message(f"N/{PORTAL}/system/0/Serial", b'{"value":"%s"}' % PORTAL.encode(), retain=True)
    assert rig.run(30.0) == []


def test_a_keepalive_republishes_everything_says_so_and_lasts_sixty_seconds() -> None:
    rig = Rig()
    rig.keep_alive(ECHO)
    heard = rig.run(0.1)
    full = heard[: topics(heard).index("full_publish_completed")]
    assert set(devices(full)) == set(rig.site.values())
    assert devices(full) != sorted(devices(full))
    last = dict(heard)
    assert json.loads(last["full_publish_completed"]) == {
        "full-publish-completed-echo": "x",
        "value": int(rig.clock.seconds()),
    }
    assert json.loads(last["heartbeat"])["value"] == int(rig.clock.seconds())
    later = rig.run(59.5)
    assert len(values(later, "heartbeat")) == 19
    assert 35 * 60 < len(devices(later)) < 65 * 60
    last_heard = dict(later)
    assert last_heard["system/0/Dc/Battery/Voltage"] == rig.gx.payload("system/0/Dc/Battery/Voltage")
    assert rig.run(0.35) != []
    rig.run(0.1)
    assert rig.run(120.0) == [], "silence, without nulls"


@pytest.mark.parametrize("payload", [b"", b"?", b"[]", b'{"keepalive-options":7}', b'{"keepalive-options":["new"]}'])
def test_what_a_keepalive_does_not_understand_is_a_full_republish(payload: bytes) -> None:
    rig = Rig()
    rig.keep_alive(payload)
    heard = rig.run(0.1)
    assert len(set(devices(heard))) == len(rig.site.values())
    assert json.loads(dict(heard)["full_publish_completed"]) == {"value": int(rig.clock.seconds())}


def test_a_suppressed_keepalive_only_lets_changes_flow() -> None:
    rig = Rig()
    rig.keep_alive()
    heard = rig.run(1.0)
    assert "full_publish_completed" not in topics(heard)
    assert "heartbeat" in topics(heard)
    assert 10 < len(devices(heard)) < 120


def test_one_keepalive_is_enough_for_all_and_moves_the_end() -> None:
    rig = Rig()
    other = rig.join("other")
    rig.keep_alive()
    rig.run(30.0)
    other.say(publish(f"R/{PORTAL}/keepalive", SUPPRESS))
    other.hear()
    assert rig.run(59.0, other) != []
    messages(rig.client)
    rig.run(2.0)
    assert rig.run(10.0) == []


def test_reading_the_serial_is_a_keepalive_and_another_portals_is_none() -> None:
    rig = Rig()
    rig.say("R/aabbccddeeff/keepalive")
    assert rig.run(1.0) == []
    rig.say("R/<id>/system/0/Serial")
    assert len(devices(rig.run(0.1))) >= len(rig.site.values())


def test_more_than_three_full_republishes_a_second_are_dropped_in_silence() -> None:
    rig = Rig()
    for _ in range(10):
        rig.keep_alive(ECHO)
    heard = rig.run(0.9)
    assert topics(heard).count("full_publish_completed") == 3
    assert topics(heard).count("system/0/Connected") == 3
    rig.run(0.2)
    rig.keep_alive(ECHO)
    assert topics(rig.run(0.5)).count("full_publish_completed") == 1


def test_an_old_firmware_and_an_odd_echo_complete_nothing() -> None:
    old = Rig(firmware="v3.42")
    old.keep_alive(ECHO)
    assert len(devices(old.run(0.1))) >= 1000
    assert "full_publish_completed" not in topics(old.run(1.0))
    odd = Rig()
    odd.keep_alive(b'{"keepalive-options":[{"full-publish-completed-echo":[1]}]}')
    assert "full_publish_completed" not in topics(odd.run(1.0))


def test_just_after_a_boot_completion_comes_too_early() -> None:
    rig = Rig(boot=20.0)
    rig.keep_alive(ECHO)
    early = rig.run(1.0)
    assert "full_publish_completed" in topics(early)
    assert devices(early) == []
    rest = rig.run(20.0)
    assert set(rig.site.values()) == set(devices(rest))


# Reads


def test_a_read_answers_at_any_time_with_the_range() -> None:
    rig = Rig()
    rig.say("R/<id>/settings/0/Settings/SystemSetup/MaxChargeCurrent", b"")
    assert rig.run(0.1) == [("settings/0/Settings/SystemSetup/MaxChargeCurrent", b'{"max":10000,"min":-1,"value":-1}')]
    rig.say("R/<id>/settings/0/Settings/Relay")
    assert len(rig.run(0.1)) == 12
    rig.say("R/<id>/battery/512/Dc")
    assert {topic.split("/")[2] for topic in topics(rig.run(0.1))} == {"Dc"}
    for nothing in ("battery/512/Nothing", "battery/1/Soc", "battery", "", "battery/512/"):
        rig.say(f"R/<id>/{nothing}")
        assert rig.run(0.1) == []


def test_an_open_side_of_a_range_is_null_and_a_new_setting_has_none_until_the_restart() -> None:
    rig = Rig()
    open_sided = "settings/0/Settings/Gui/Gauges/Pv/Power/Max"
    assert rig.gx.payload(open_sided) == b'{"max":null,"min":0.0,"value":388.0}'
    rig.site.add_setting("/Settings/New", 1, (0, 5))
    assert rig.gx.payload("settings/0/Settings/New") == b'{"value":1}'
    rig.gx.restart()
    assert rig.gx.payload("settings/0/Settings/New") == b'{"max":5,"min":0,"value":1}'


# Writes


def test_a_write_is_echoed_soon_once_and_only_while_alive_and_changed() -> None:
    rig = Rig()
    rig.write(MODE, 1)
    assert rig.run(1.0) == []
    assert rig.gx.value(MODE) == 1
    rig.keep_alive()
    rig.run(1.0)
    rig.write(MODE, 1)
    assert values(rig.run(0.05), MODE) == []
    rig.write(MODE, 3)
    assert values(rig.run(0.05), MODE) == [3]


def test_what_is_refused_is_silent_and_a_read_tells_the_truth() -> None:
    rig = Rig()
    rig.keep_alive()
    rig.run(1.0)
    for topic, value in ((MODE, 99), (MODE, "1"), ("battery/512/Soc", 1.0), ("no/0/Such", 1)):
        rig.write(topic, value)
        assert topic not in topics(rig.run(0.1))
    for payload in (
        b"",
        b"5",
        b"null",
        b"[1]",
        b'{"Value":1}',
        b"not json",
        b"{'value':1}",
        b"\xff",
        b'{"value":1e400}',
    ):
        rig.say(f"W/<id>/{MODE}", payload)
        assert MODE not in topics(rig.run(0.1))
    rig.say("W/aabbccddeeff/vebus/276/Mode", b'{"value":4}')
    rig.say(f"R/<id>/{MODE}")
    assert values(rig.run(0.1), MODE) == [3]


def test_reads_and_writes_keep_their_order() -> None:
    rig = Rig()
    for mode in (1, 2, 4, 3, 1):
        rig.write(MODE, mode)
        rig.say(f"R/<id>/{MODE}")
    assert values(rig.run(1.0), MODE) == [1, 2, 4, 3, 1]


def test_the_device_rounds_and_clips_and_an_action_has_no_echo() -> None:
    rig = Rig()
    rig.keep_alive()
    rig.run(1.0)
    rig.write("vebus/276/Ac/In/1/CurrentLimit", 99)
    assert values(rig.run(0.1), "vebus/276/Ac/In/1/CurrentLimit") == [50.0]
    rig.write("vebus/276/RedetectSystem", 1)
    assert "vebus/276/RedetectSystem" not in topics(rig.run(5.0))
    assert [action.topic for action in rig.site.actions] == ["vebus/276/RedetectSystem"]
    assert [topic for _, topic, _ in rig.gx.writes] == ["vebus/276/Ac/In/1/CurrentLimit", "vebus/276/RedetectSystem"]


def test_everybody_sees_a_write_and_nobody_else_speaks_on_n() -> None:
    rig = Rig()
    spy = rig.join("spy", "#")
    messages(spy)
    rig.write(MODE, 1)
    assert [topic for topic, _ in messages(spy)] == [f"W/{PORTAL}/{MODE}"]
    rig.client.say(publish(f"N/{PORTAL}/{MODE}", b'{"value":4}'))
    assert messages(spy) == []


def test_a_person_at_the_panel_is_heard() -> None:
    rig = Rig()
    rig.keep_alive()
    rig.run(1.0)
    rig.site.panel(MODE, 1)
    assert values(rig.run(1.0), MODE) == [1]


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"value":4}', 4),
        (b'{"value":4.0}', 4.0),
        (b'{"value":true}', True),
        (b'{"value":1,"extra":2}', 1),
        (b'{"value":null}', None),
        (b'{"value":"a\\u0000b"}', "a"),
        (b'{"value":9223372036854775807}', 9223372036854775807),
        (b'{"value":9223372036854775808}', -9223372036854775808),
        (b'{"value":1e3}', 1000.0),
        (b'{"value":[]}', None),
        (b'{"value":[1,2]}', [1, 2]),
        (b'{"value":"\\ud800"}', "?"),
        ('{"value":"Zürich ⚡"}'.encode(), "Zürich ⚡"),
    ],
)
def test_a_payload_as_it_arrives_on_the_bus(payload: bytes, value: Any) -> None:
    assert written(payload) == value
    assert type(written(payload)) is type(value)


@pytest.mark.parametrize(
    "payload", [b'{"value":{"a":1}}', b'{"value":[1,"a"]}', b'{"value":NaN}', b"[" * 100_000, DEEP]
)
def test_a_payload_that_does_nothing(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        written(payload)


@settings(max_examples=30, deadline=None)
@given(st.binary())
def test_no_payload_breaks_the_gx(payload: bytes) -> None:
    rig = Rig()
    rig.say("R/<id>/keepalive", payload)
    rig.say(f"W/<id>/{MODE}", payload)
    rig.run(0.05)
    assert rig.gx.value(MODE) in (1, 2, 3, 4)


# Devices that come and go


def test_a_device_that_leaves_sends_zero_bytes_whoever_keeps_alive_or_not() -> None:
    rig = Rig()
    battery = [topic for topic in rig.site.values() if topic.startswith("battery/512/")]
    rig.gx.remove("battery", 512)
    heard = rig.run(0.0) + messages(rig.client)
    assert sorted(topics(heard)) == sorted(battery)
    assert {payload for _, payload in heard} == {b""}
    rig.say("R/<id>/battery/512/Soc")
    assert rig.run(0.1) == []
    rig.keep_alive(b"")
    full = rig.run(0.1)
    assert not any(topic.startswith("battery/") for topic in topics(full))
    rig.run(2.0)
    rig.gx.restore("battery", 512)
    assert set(battery) <= set(topics(messages(rig.client)))


def test_nulls_and_strange_values_go_out_as_they_are() -> None:
    rig = Rig()
    rig.keep_alive()
    rig.run(1.0)
    for value, payload in ((None, b"null"), (float("nan"), b"null"), (245, b"245"), ("?", b'"?"'), ([1], b"[1]")):
        rig.site.force("battery/512/Soc", value)
        rig.gx.flush()
        assert ("battery/512/Soc", b'{"value":%s}' % payload) in messages(rig.client)


# Logins, restarts, time


def knock(rig: Rig, password: str | None, wait: float = 7.0) -> float | None:
    """Log in; the seconds until the refusal, None for a welcome."""
    client = mqtt.Client(rig.clock, rig.broker)
    client.connection.received(connect("knock", "u", password))
    waited = 0.0
    while not client.writes and waited < wait:
        rig.clock.advance(0.25)
        waited += 0.25
    answer = client.hear()
    assert answer in ([connack(0)], [connack(5)])
    client.connection.lost()
    return None if answer == [connack(0)] else waited


def test_a_wrong_password_is_refused_late_and_a_changed_one_is_right() -> None:
    rig = Rig()
    for wrong in ("wrong", "", None):
        waited = knock(rig, wrong)
        assert waited is not None
        assert 1.0 <= waited <= 6.25
    assert knock(rig, "right") is None
    rig.gx.password = "new"
    assert knock(rig, "right") is not None
    assert knock(rig, "new") is None
    rig.gx.password = None
    assert knock(rig, "whatever") is None


def test_twenty_attempts_at_once_then_one_a_second() -> None:
    logins = Logins("right", Random(1))
    assert [logins.judge(0.0, b"right").accepted for _ in range(22)] == [True] * 20 + [False] * 2
    assert logins.judge(0.5, b"right").accepted is False
    assert logins.judge(1.1, b"right").accepted is True
    assert logins.judge(1.2, b"right").accepted is False


def test_after_many_distinct_wrong_passwords_nobody_gets_in_for_a_day() -> None:
    logins = Logins("right", Random(1))
    for number in range(400):
        assert not logins.judge(number * 2.0, b"the same").accepted
    assert logins.judge(1000.0, b"right").accepted
    for number in range(WRONG_LIMIT):
        logins.judge(1000.0 + number * 2.0, b"%d" % number)
    assert not logins.judge(2000.0, b"right").accepted
    assert logins.judge(2000.0 + 86_400.0, b"right").accepted


def test_turning_mqtt_off_drops_everybody() -> None:
    rig = Rig()
    rig.write("settings/0/Settings/Services/MqttLocal", 0)
    rig.clock.advance(0.05)
    assert rig.client.closed
    assert knock(rig, "right") is not None


def test_a_restart_forgets_clients_and_keepalives() -> None:
    rig = Rig()
    rig.keep_alive()
    rig.run(1.0)
    rig.gx.restart()
    rig.clock.advance(0.0)
    assert rig.client.closed
    rig.client = rig.join()
    assert rig.run(5.0)[1:] == []
    rig.keep_alive(ECHO)
    assert "full_publish_completed" in topics(rig.run(0.1))


def test_a_stopped_gx_leaves_nothing_behind() -> None:
    rig = Rig()
    rig.keep_alive(ECHO)
    rig.gx.stop()
    rig.clock.advance(10.0)
    assert rig.client.closed
    assert rig.clock.getDelayedCalls() == []


def test_a_deaf_gx_answers_nothing() -> None:
    rig = Rig()
    rig.gx.deaf = True
    rig.keep_alive(ECHO)
    rig.say(f"R/<id>/{MODE}")
    rig.write(MODE, 1)
    assert rig.run(5.0) == []
    assert rig.gx.value(MODE) == 3


def test_the_site_can_run_faster_and_the_clock_of_the_gx_be_wrong() -> None:
    rig = Rig(speed=60.0)
    began = rig.site.time
    rig.gx.clock_skew = 3600.0
    rig.keep_alive()
    heard = rig.run(10.0)
    assert rig.site.time - began == pytest.approx(600.0, abs=15.0)
    assert values(heard, "heartbeat")[0] == int(EPOCH) + 3600
    assert len(devices(heard)) < 800


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    def bytes_of(seed: int) -> list[tuple[str, bytes]]:
        rig = Rig(seed)
        rig.keep_alive(ECHO)
        heard = rig.run(5.0)
        rig.write(MODE, 1)
        return heard + rig.run(5.0)

    once = bytes_of(seed)
    assert once == bytes_of(seed)
    assert once != bytes_of(seed + 1)


@pytest.mark.parametrize(
    ("version", "numbers"), [("v3.70", (3, 70)), ("v3.50~12", (3, 50)), ("3.4", (3, 4)), ("x", (0, 0))]
)
def test_a_firmware_version(version: str, numbers: tuple[int, int]) -> None:
    assert firmware(version) == numbers


def test_topics_have_the_form_of_a_gx() -> None:
    form: Callable[[str], Any] = re.compile(r"[a-z0-9]+/\d+(/[A-Za-z0-9_]+)+").fullmatch
    assert [topic for topic in Rig().gx.topics() if not form(topic)] == []
