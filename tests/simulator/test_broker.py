"""The broker's core: whole conversations on a simulated clock, and any bytes in any fragments."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.conftest import ExpectErrors
from tests.simulator import mqtt
from tests.simulator.mqtt import Client, connack, connect, message, publish, subscribe, unsubscribe
from victron_twin.simulator.broker import Broker, Login, Open, Verdict
from victron_twin.simulator.connection import CONNECT_TIMEOUT, QUEUE_LIMIT
from victron_twin.simulator.filters import is_filter, matches
from victron_twin.simulator.frames import Packet


class Door(Open):
    """A policy as a GX's: a password, a delayed refusal, nothing on N."""

    def __init__(self) -> None:
        self.logins: list[Login] = []
        self.got: list[tuple[str, bytes]] = []
        self.react: Callable[[str, bytes], None] = lambda topic, payload: None

    def login(self, login: Login) -> Verdict:
        self.logins.append(login)
        return Verdict(True) if login.password in (None, b"right") else Verdict(False, 3.0)

    def allows(self, topic: str) -> bool:
        return not topic.startswith("N/")

    def received(self, topic: str, payload: bytes) -> None:
        self.got.append((topic, payload))
        self.react(topic, payload)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def broker(clock: Clock, door: Door) -> Broker:
    return Broker(clock, door)


@pytest.fixture
def client(clock: Clock, broker: Broker) -> Client:
    """One that has logged in."""
    client = Client(clock, broker)
    assert client.say(connect()) == [connack(0)]
    return client


# Login


def test_a_right_login_is_accepted_at_once(clock: Clock, broker: Broker, door: Door) -> None:
    client = Client(clock, broker)
    assert client.say(connect("me", "gx", "right")) == [connack(0)]
    assert door.logins == [Login("me", "gx", b"right")]
    assert list(broker.clients) == ["me"]
    assert len(broker.connections) == 1


def test_a_refusal_comes_after_its_delay_and_closes(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker)
    assert client.say(connect("me", "gx", "wrong")) == []
    clock.advance(2.9)
    assert client.hear() == []
    clock.advance(0.1)
    assert client.hear() == [connack(5)]
    assert client.closed
    assert broker.connections == ()
    assert clock.getDelayedCalls() == []


def test_what_comes_ahead_of_a_late_verdict_waits_for_it(clock: Clock, broker: Broker, door: Door) -> None:
    door.login = lambda login: Verdict(True, 2.0)  # type: ignore[method-assign]
    client = Client(clock, broker)
    assert client.say(connect() + subscribe("a") + publish("a", b"1")) == []
    clock.advance(2)
    assert client.hear() == [connack(0), (Packet.SUBACK, 0, b"\0\1\0"), message("a", b"1")]


def test_too_much_ahead_of_the_verdict_closes(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker, connect("me", "gx", "wrong"))
    client.say(publish("a", bytes(2 << 20)))
    assert client.closed


def test_a_link_lost_before_the_verdict_leaves_nothing(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker, connect("me", "gx", "wrong"))
    client.connection.lost()
    clock.advance(10)
    assert client.hear() == []
    assert clock.getDelayedCalls() == []


def test_an_empty_client_id_gets_a_name_of_its_own(clock: Clock, broker: Broker) -> None:
    for _ in range(2):
        assert Client(clock, broker).say(connect("")) == [connack(0)]
    assert len(broker.clients) == 2


def test_a_session_without_a_client_id_is_refused(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker)
    assert client.say(connect("", clean=False)) == [connack(2)]
    assert client.closed


def test_mqtt_3_1_is_spoken(clock: Clock, broker: Broker) -> None:
    assert Client(clock, broker).say(connect(protocol=mqtt.text("MQIsdp") + b"\x03")) == [connack(0)]


def test_mqtt_5_is_told_that_its_version_is_not_spoken(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker)
    assert client.say(connect(protocol=mqtt.text("MQTT") + b"\x05")) == [connack(1)]
    assert client.closed


def test_silence_instead_of_a_connect_is_not_waited_for(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker)
    clock.advance(CONNECT_TIMEOUT)
    assert client.closed


def test_the_same_client_id_kicks_the_older(clock: Clock, broker: Broker, client: Client) -> None:
    newer = Client(clock, broker)
    assert newer.say(connect()) == [connack(0)]
    assert client.closed
    assert not newer.closed
    client.connection.lost()
    assert list(broker.clients) == ["test"]
    broker.publish("a", b"1")
    assert newer.say(subscribe("b"), mqtt.PING)[-1] == mqtt.PONG


# Subscriptions


def test_messages_go_to_those_who_subscribed(clock: Clock, broker: Broker, client: Client) -> None:
    other = Client(clock, broker, connect("other"))
    client.say(subscribe("N/+/heartbeat"))
    broker.publish("N/abc/heartbeat", b"1")
    broker.publish("N/abc/system/0/Serial", b"2")
    assert client.hear() == [message("N/abc/heartbeat", b"1")]
    assert other.hear() == []


def test_retained_ones_come_with_the_subscription_and_say_so(broker: Broker, client: Client) -> None:
    broker.publish("N/abc/system/0/Serial", b"abc", retain=True)
    broker.publish("N/abc/system/0/Other", b"x")
    assert client.say(subscribe("N/+/system/0/Serial")) == [
        (Packet.SUBACK, 0, b"\0\1\0"),
        message("N/abc/system/0/Serial", b"abc", retain=True),
    ]
    broker.publish("N/abc/system/0/Serial", b"def", retain=True)
    assert client.hear() == [message("N/abc/system/0/Serial", b"def")]
    assert client.say(subscribe("N/+/system/0/Serial"))[-1] == message("N/abc/system/0/Serial", b"def", retain=True)


def test_an_empty_retained_message_clears(broker: Broker, client: Client) -> None:
    broker.publish("a", b"1", retain=True)
    broker.publish("a", b"", retain=True)
    assert client.say(subscribe("a")) == [(Packet.SUBACK, 0, b"\0\1\0")]


def test_an_empty_message_is_a_message(broker: Broker, client: Client) -> None:
    client.say(subscribe("#"))
    broker.publish("a", b"")
    assert client.hear() == [message("a", b"")]


def test_unsubscribed_is_silent(broker: Broker, client: Client) -> None:
    client.say(subscribe("a", "b"))
    broker.publish("a", b"0")
    client.hear()
    assert client.say(unsubscribe("a", "never", identifier=7)) == [(Packet.UNSUBACK, 0, b"\0\7")]
    broker.publish("a", b"1")
    broker.publish("b", b"2")
    assert client.hear() == [message("b", b"2")]


def test_overlapping_subscriptions_deliver_twice(broker: Broker, client: Client) -> None:
    client.say(subscribe("N/#"), subscribe("N/a", identifier=2), subscribe("N/a", identifier=3))
    broker.publish("N/a", b"1")
    assert client.hear() == [message("N/a", b"1")] * 2


def test_one_turn_leaves_in_one_write(clock: Clock, broker: Broker, client: Client) -> None:
    client.say(subscribe("#"))
    for number in range(2112):
        broker.publish(f"N/abc/{number}", b'{"value":1}')
    assert client.writes == []
    clock.advance(0)
    assert len(client.writes) == 1
    assert len(client.hear()) == 2112


def test_flush_writes_now(broker: Broker, client: Client) -> None:
    client.say(subscribe("#"))
    broker.publish("a", b"1")
    broker.flush()
    assert len(client.writes) == 1
    assert client.hear() == [message("a", b"1")]


# Messages of clients


def test_a_message_is_routed_and_then_told_to_the_policy(broker: Broker, client: Client, door: Door) -> None:
    door.react = lambda topic, payload: broker.publish("N/echo", payload)
    client.say(subscribe("#"))
    assert client.say(publish("W/a", b"1")) == [message("W/a", b"1"), message("N/echo", b"1")]
    assert door.got == [("W/a", b"1")]


def test_qos_1_is_acknowledged(client: Client, door: Door) -> None:
    assert client.say(publish("W/a", b"1", qos=1, identifier=513)) == [(Packet.PUBACK, 0, b"\2\1")]
    assert door.got == [("W/a", b"1")]


def test_qos_2_is_taken_once_until_released(client: Client, door: Door) -> None:
    for _ in range(2):
        assert client.say(publish("W/a", b"1", qos=2, identifier=9)) == [(Packet.PUBREC, 0, b"\0\x09")]
    assert client.say(mqtt.release(9)) == [(Packet.PUBCOMP, 0, b"\0\x09")]
    assert door.got == [("W/a", b"1")]
    client.say(publish("W/a", b"1", qos=2, identifier=9))
    assert len(door.got) == 2


def test_what_the_policy_refuses_is_dropped_and_acknowledged(broker: Broker, client: Client, door: Door) -> None:
    client.say(subscribe("#"))
    assert client.say(publish("N/a", b"1", qos=1, retain=True, identifier=3)) == [(Packet.PUBACK, 0, b"\0\3")]
    assert door.got == []
    assert client.say(subscribe("N/a"))[1:] == []


def test_a_retained_message_of_a_client_stays(client: Client) -> None:
    client.say(publish("W/a", b"1", retain=True))
    assert client.say(subscribe("W/#"))[1:] == [message("W/a", b"1", retain=True)]
    assert client.say(publish("W/a", b"", retain=True)) == [message("W/a", b"")]
    assert client.say(subscribe("W/#"))[1:] == []


def test_a_policy_that_fails_is_logged_and_the_client_stays(
    client: Client, door: Door, logged_errors: ExpectErrors
) -> None:
    logged_errors("the GX failed on a message to W/a")

    def fail(topic: str, payload: bytes) -> None:
        raise RuntimeError("the GX failed on a message to W/a")

    door.react = fail
    assert client.say(publish("W/a", b"1", qos=1, identifier=1)) == [(Packet.PUBACK, 0, b"\0\1")]


def test_a_policy_may_drop_everybody_while_it_is_told(broker: Broker, client: Client, door: Door) -> None:
    door.react = lambda topic, payload: broker.drop_clients()
    client.say(publish("W/a", b"1", qos=1, identifier=1) + publish("W/b", b"2"))
    assert client.closed
    assert door.got == [("W/a", b"1")]


# The life of a link


def test_ping(client: Client) -> None:
    assert client.say(mqtt.PING) == [mqtt.PONG]


def test_silence_beyond_the_keepalive_closes(clock: Clock, broker: Broker) -> None:
    client = Client(clock, broker, connect(keepalive=10))
    for _ in range(5):
        clock.advance(14)
        assert client.say(mqtt.PING)[-1] == mqtt.PONG
    clock.pump([0.7] * 21)
    assert not client.closed
    clock.pump([0.7] * 2)
    assert client.closed
    assert clock.getDelayedCalls() == []


def test_no_keepalive_no_limit(clock: Clock, client: Client) -> None:
    clock.advance(86400)
    assert not client.closed


@pytest.mark.parametrize("end", ["lost", "keepalive", "takeover", "malformed"])
def test_a_will_is_published_when_the_client_goes_without_a_word(
    end: str, clock: Clock, broker: Broker, door: Door
) -> None:
    watcher = Client(clock, broker, connect("watcher") + subscribe("#"))
    client = Client(clock, broker, connect(keepalive=10, will=("W/will", b"gone"), retain_will=True))
    watcher.hear()
    match end:
        case "lost":
            client.connection.lost()
        case "keepalive":
            clock.advance(15)
        case "takeover":
            Client(clock, broker, connect())
        case "malformed":
            client.say(b"\xff\xff")
    assert watcher.hear() == [message("W/will", b"gone")]
    assert watcher.say(subscribe("#"))[1:] == [message("W/will", b"gone", retain=True)]
    assert door.got == [("W/will", b"gone")]


def test_no_will_after_a_goodbye(clock: Clock, broker: Broker, door: Door) -> None:
    client = Client(clock, broker, connect(will=("W/will", b"gone")))
    client.say(mqtt.DISCONNECT)
    client.connection.lost()
    assert client.closed
    assert door.got == []


def test_no_will_of_one_who_never_got_in(clock: Clock, broker: Broker, door: Door) -> None:
    client = Client(clock, broker, connect("me", "gx", "wrong", will=("W/will", b"gone")))
    clock.advance(3)
    assert client.closed
    assert door.got == []


def test_drop_clients_closes_all_after_what_was_written(clock: Clock, broker: Broker, client: Client) -> None:
    other = Client(clock, broker)
    client.say(subscribe("#"))
    broker.publish("a", b"1")
    broker.drop_clients()
    assert client.closed
    assert other.closed
    assert client.hear() == [message("a", b"1")]
    assert broker.connections == ()
    assert broker.clients == {}
    assert clock.getDelayedCalls() == []
    broker.publish("a", b"2")
    assert client.hear() == []


def test_a_slow_reader_loses_messages_beyond_its_queue_and_nothing_else(broker: Broker, client: Client) -> None:
    client.say(subscribe("#"))
    client.connection.pause()
    payload = bytes(100_000)
    for number in range(200):
        broker.publish(f"a/{number}", payload)
    assert client.say(mqtt.PING) == []
    client.connection.resume()
    heard = client.hear()
    kept = QUEUE_LIMIT // 100_010
    assert heard == [message(f"a/{n}", payload) for n in range(kept)] + [mqtt.PONG]
    broker.publish("b", b"1")
    assert client.hear() == [message("b", b"1")]


def test_a_burst_beyond_the_queue_does_not_wait_for_the_end_of_the_turn(broker: Broker, client: Client) -> None:
    client.say(subscribe("#"))
    for number in range(200):
        broker.publish(f"a/{number}", bytes(100_000))
    assert len(client.hear()) == 200


# Bad input


BAD = {
    "not a CONNECT": mqtt.PING,
    "a second CONNECT": connect() + connect(),
    "packet type 0": connect() + b"\x00\x00",
    "packet type 15": connect() + b"\xf0\x00",
    "a broker's packet": connect() + mqtt.frame(0x20, b"\0\0"),
    "flags": connect() + b"\x80\x05\0\1\0\1a\0",
    "a length of five bytes": connect() + b"\x30\xff\xff\xff\xff\x01",
    "a frame of 17 MiB": connect() + b"\x30\x80\x80\x80\x09",
    "no protocol": mqtt.frame(0x10, b""),
    "a CONNECT cut off": mqtt.frame(0x10, connect("long enough")[2:-1]),
    "bytes behind a CONNECT": mqtt.frame(0x10, connect("long enough")[2:] + b"\0"),
    "the reserved flag": mqtt.frame(0x10, mqtt.text("MQTT") + b"\x04\x03\0\0" + mqtt.text("a")),
    "a password alone": connect(password="p"),
    "QoS 3 for a will": mqtt.frame(0x10, mqtt.text("MQTT") + b"\x04\x1e\0\0" + mqtt.text("a") * 3),
    "flags of no will": mqtt.frame(0x10, mqtt.text("MQTT") + b"\x04\x22\0\0" + mqtt.text("a")),
    "a will to a filter": connect(will=("a/#", b"")),
    "QoS 3": connect() + mqtt.frame(0x36, mqtt.text("a") + b"\0\1"),
    "a message to a filter": connect() + publish("a/+", b""),
    "a message to nothing": connect() + publish("", b""),
    "a topic that is not UTF-8": connect() + mqtt.frame(0x30, mqtt.text(b"\xff\xfe")),
    "a topic with a NUL": connect() + publish("a\0b", b""),
    "a topic beyond its frame": connect() + mqtt.frame(0x30, b"\0\xffabc"),
    "packet identifier 0": connect() + publish("a", b"", qos=1),
    "a subscription to nothing": connect() + subscribe(),
    "an empty filter": connect() + subscribe(""),
    "a filter that is none": connect() + subscribe("a/#/b"),
    "an UNSUBSCRIBE from nothing": connect() + unsubscribe(),
    "QoS 3 for a subscription": connect() + mqtt.frame(0x82, b"\0\1" + mqtt.text("a") + b"\3"),
    "a PINGREQ with a body": connect() + mqtt.frame(0xC0, b"\0"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_closes_its_link_and_is_named_once(what: str, clock: Clock, broker: Broker, client: Client) -> None:
    with capturedLogs() as events:
        bad = Client(clock, broker)
        bad.say(BAD[what].replace(mqtt.text("test"), mqtt.text("bad!")))
        bad.connection.received(BAD[what])
    assert bad.closed
    warnings = [e for e in events if e["log_level"].name == "warn"]
    assert len(warnings) == 1
    assert warnings[0]["reason"]
    assert client.say(mqtt.PING) == [mqtt.PONG]


def test_an_error_of_the_policys_login_closes_only_that_link(
    clock: Clock, broker: Broker, door: Door, client: Client, logged_errors: ExpectErrors
) -> None:
    logged_errors("no such door")

    def fail(login: Login) -> Verdict:
        raise RuntimeError("no such door")

    door.login = fail  # type: ignore[method-assign]
    other = Client(clock, broker, connect("other"))
    assert other.closed
    assert client.say(mqtt.PING) == [mqtt.PONG]


# Properties

LEVEL = st.sampled_from(["a", "b", "", "$SYS", "ä"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = (
    st.tuples(st.lists(LEVEL | st.just("+"), max_size=4), st.sampled_from([[], ["#"]]))
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
)


@given(FILTER, TOPIC)
def test_filters_match_as_the_standard_says(wanted: str, topic: str) -> None:
    assert is_filter(wanted)
    pattern = re.escape(wanted).replace(r"\+", "[^/]*")
    pattern = re.sub(r"(^|/)\\#$", lambda m: "(/.*)?" if m[1] else ".*", pattern)
    hidden = topic.startswith("$") and wanted[0] in "+#"
    assert matches(wanted, topic) is (re.fullmatch(pattern, topic) is not None and not hidden)


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/", "a+/b", "+a", "##"])
def test_what_is_no_filter(text: str) -> None:
    assert not is_filter(text)


PAYLOAD = st.binary(max_size=300)
IDENTIFIER = st.integers(1, 0xFFFF)
ACTION = st.one_of(
    st.builds(publish, TOPIC, PAYLOAD, st.just(0), st.booleans()),
    st.builds(publish, TOPIC, PAYLOAD, st.sampled_from([1, 2]), st.booleans(), IDENTIFIER),
    st.builds(lambda f, i: subscribe(*f, identifier=i), st.lists(FILTER, min_size=1, max_size=3), IDENTIFIER),
    st.builds(lambda f, i: unsubscribe(*f, identifier=i), st.lists(FILTER, min_size=1, max_size=3), IDENTIFIER),
    st.builds(mqtt.release, IDENTIFIER),
    st.just(mqtt.PING),
)


@given(st.lists(ACTION, max_size=12), st.lists(st.integers(1, 400)))
def test_fragments_make_no_difference(actions: list[bytes], sizes: list[int]) -> None:
    said = connect() + b"".join(actions)

    def answers(pieces: list[bytes]) -> bytes:
        clock = Clock()
        client = Client(clock, Broker(clock, Open()))
        for piece in pieces:
            client.connection.received(piece)
        clock.advance(0)
        assert not client.closed
        return b"".join(client.writes)

    pieces, at = [], 0
    for size in [*sizes, len(said)]:
        pieces.append(said[at : at + size])
        at += size
    assert answers(pieces) == answers([said])
    assert answers([said[at : at + 1] for at in range(len(said))]) == answers([said])


@given(st.lists(st.binary(max_size=60) | ACTION | st.just(connect())), st.booleans())
def test_no_bytes_raise_or_harm_another(pieces: list[bytes], in_first: bool) -> None:
    clock = Clock()
    broker = Broker(clock, Open())
    good = Client(clock, broker, connect("good"))
    bad = Client(clock, broker, connect("bad") if in_first else b"")
    for piece in pieces:
        bad.connection.received(piece)
    clock.advance(1000)
    assert good.closed is ("good" not in broker.clients)
    bad.connection.lost()
    assert good.closed or good.say(mqtt.PING)[-1] == mqtt.PONG
