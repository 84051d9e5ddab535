"""The MQTT session on a simulated clock: what goes wrong in the middle, and what it says then."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import paho.mqtt.client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from tests.conftest import ExpectErrors
from tests.gx.wires import (
    ACCEPTED,
    DISCONNECT,
    PINGREQ,
    PINGRESP,
    Recorder,
    Recorders,
    Wire,
    Wires,
    length,
    message,
    outcome,
    refused,
)
from victron_twin.gx.endpoint import Credentials, SessionEndpoint
from victron_twin.gx.errors import (
    ConnectTimeout,
    LoginCut,
    LoginRefused,
    LoginTimeout,
    PingTimeout,
    ProtocolError,
    Refused,
    SubscribeRefused,
)
from victron_twin.gx.frames import FRAME_LIMIT
from victron_twin.gx.session import Session


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Also paho's, which asks a global of its module for the time."""
    clock = Clock()
    monkeypatch.setattr(paho.mqtt.client, "time_func", clock.seconds)
    return clock


class Link:
    """An endpoint over wires, and what came of its last attempt."""

    def __init__(self, clock: Clock, listeners: Recorders | None = None, **more: Any) -> None:
        self.clock = clock
        self.wires = Wires(clock)
        self.passwords = ["one", "two", "three"]
        self.listeners = listeners or Recorders()
        self.endpoint = SessionEndpoint(clock, self.wires, self.login, client_id="twin", **more)
        self.result: list[Any] = []

    def login(self) -> Credentials:
        return Credentials("", self.passwords.pop(0))

    def dial(self) -> Wire:
        self.connecting = self.endpoint.connect(self.listeners)
        self.result = outcome(self.connecting)
        return self.wires.wire

    def up(self) -> tuple[Wire, Recorder, Session]:
        """A link that is accepted."""
        wire = self.dial()
        self.receive(ACCEPTED)
        recorder = self.listeners.built[-1]
        assert self.result == [recorder]
        assert recorder.session is not None
        wire.take()
        return wire, recorder, recorder.session

    def receive(self, data: bytes) -> None:
        self.wires.wire.protocol.dataReceived(data)

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass by the second."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
        self.clock.advance(seconds % 1)


@pytest.fixture
def link(clock: Clock) -> Link:
    return Link(clock)


def subscribed(mid: int, code: int = 0) -> bytes:
    return b"\x90\x03" + mid.to_bytes(2, "big") + bytes([code])


class TestLogin:
    def test_is_mqtt_3_1_1_with_a_user_name_and_a_clean_session(self, link: Link) -> None:
        connect = link.dial().take()
        assert (
            connect
            == (
                b"\x10" + length(len(connect) - 2) + b"\x00\x04MQTT\x04"
                b"\xc2"  # user name, password, clean session
                b"\x00\x1e\x00\x04twin\x00\x0cvictron-twin\x00\x03one"
            )
        )

    def test_without_a_password_still_has_a_user_name(self, link: Link) -> None:
        link.passwords[:] = [None]  # type: ignore[list-item]
        assert link.dial().take().endswith(b"\x00\x04twin\x00\x0cvictron-twin")

    def test_is_asked_for_at_each_attempt(self, link: Link) -> None:
        assert link.dial().take().endswith(b"one")
        link.receive(refused(5))
        link.turn()
        assert link.dial().take().endswith(b"two")

    def test_that_cannot_be_read_fails_the_attempt(self, link: Link) -> None:
        link.passwords.clear()
        result = outcome(link.endpoint.connect(link.listeners))
        assert isinstance(result[0], IndexError)
        assert link.wires.wires == []

    def test_is_done_only_when_accepted(self, link: Link) -> None:
        link.dial()
        assert link.result == []
        link.receive(ACCEPTED)
        assert link.result == link.listeners.built

    @pytest.mark.parametrize(("code", "kind"), [(1, Refused), (3, Refused), (4, LoginRefused), (5, LoginRefused)])
    def test_refusal_names_its_reason(self, link: Link, code: int, kind: type[Refused]) -> None:
        wire = link.dial()
        link.receive(refused(code))
        link.turn()
        (error,) = link.result
        assert type(error) is kind
        assert error.code == code
        assert Refused.MEANING[code] in str(error)
        assert wire.aborted
        assert link.listeners.built == []

    def test_refusal_may_take_six_seconds_even_with_a_short_timeout(self, clock: Clock) -> None:
        link = Link(clock, timeout=2.0)
        link.dial()
        link.turn(6)
        link.receive(refused(5))
        link.turn()
        assert isinstance(link.result[0], LoginRefused)

    def test_without_an_answer_times_out(self, clock: Clock) -> None:
        link = Link(clock, timeout=2.0)
        wire = link.dial()
        link.turn(9)
        assert link.result == []
        link.turn(1)
        assert isinstance(link.result[0], LoginTimeout)
        assert wire.aborted
        link.turn()
        assert clock.getDelayedCalls() == []

    def test_cut_off(self, link: Link) -> None:
        link.dial().end(ConnectionDone())
        assert isinstance(link.result[0], LoginCut)

    def test_answered_with_something_else(self, link: Link) -> None:
        for answer, says in [
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
            (message(b"a", b"b"), "MQTT"),
            (b"\x20\x03\x00\x00\x00", "CONNACK"),
            (ACCEPTED + ACCEPTED, "CONNACK"),
        ]:
            link.passwords.append("again")
            wire = link.dial()
            link.receive(answer)
            link.turn()
            assert wire.aborted
            error = link.result[-1]
            if not isinstance(error, ProtocolError):
                error = link.listeners.built[-1].lost[-1].value
            assert isinstance(error, ProtocolError)
            assert says in str(error)

    def test_can_be_cancelled(self, link: Link) -> None:
        wire = link.dial()
        link.connecting.cancel()
        assert isinstance(link.result[0], CancelledError)
        assert wire.aborted
        link.turn()
        assert link.clock.getDelayedCalls() == []

    def test_that_never_gets_a_connection_times_out(self, link: Link) -> None:
        link.wires.hang = True
        result = outcome(link.endpoint.connect(link.listeners))
        link.turn(30)
        assert isinstance(result[0], ConnectTimeout)
        assert link.wires.cancelled == 1

    def test_hook_sees_the_session_before_the_listener_and_can_refuse_it(self, clock: Clock) -> None:
        def accepted(session: Session) -> None:
            assert session.peer_certificate is None
            raise ValueError("not this one")

        refusing = Link(clock, accepted=accepted)
        wire = refusing.dial()
        refusing.receive(ACCEPTED)
        assert isinstance(refusing.result[0], ValueError)
        assert wire.aborted
        assert refusing.listeners.built == []

    def test_password_is_not_in_the_repr(self) -> None:
        assert "secret" not in repr(Credentials("me", "secret"))


class TestMessages:
    def test_arrive_with_the_login_s_answer(self, link: Link) -> None:
        link.dial()
        link.receive(ACCEPTED + message(b"N/x", b"1") + message(b"N/y", b"2", 0x31))
        assert link.listeners.built[0].messages == [(b"N/x", b"1", False), (b"N/y", b"2", True)]

    def test_of_another_qos_are_acknowledged_and_delivered(self, link: Link) -> None:
        wire, recorder, _ = link.up()
        link.receive(message(b"N/x", b"1", 0x32, b"\x00\x07"))
        assert wire.take() == b"\x40\x02\x00\x07"
        link.receive(message(b"N/y", b"2", 0x34, b"\x00\x08"))
        assert wire.take() == b"\x50\x02\x00\x08"
        link.receive(b"\x62\x02\x00\x08")
        assert wire.take() == b"\x70\x02\x00\x08"
        assert recorder.messages == [(b"N/x", b"1", False), (b"N/y", b"2", False)]

    def test_above_the_limit_are_passed_over(self, link: Link) -> None:
        _, recorder, _ = link.up()
        huge = message(b"N/huge", bytes(FRAME_LIMIT)) + message(b"N/x", b"1")
        for start in range(0, len(huge), 16384):
            link.receive(huge[start : start + 16384])
        assert recorder.passed_over == [(b"N/huge", FRAME_LIMIT)]
        assert recorder.messages == [(b"N/x", b"1", False)]

    def test_are_followed_by_word_of_each_piece_of_data(self, link: Link) -> None:
        _, recorder, _ = link.up()
        recorder.pieces.clear()
        three = message(b"N/x", b"1") + message(b"N/x", b"2") + message(b"N/x", b"3")
        link.receive(three[:-4])
        link.receive(three[-4:])
        assert recorder.pieces == [2, 3]

    def test_need_a_listener_for_nothing_else(self, clock: Clock) -> None:
        class Plain(Recorder):
            def __getattribute__(self, name: str) -> Any:
                if name in ("oversized", "pieceReceived"):
                    raise AttributeError(name)
                return super().__getattribute__(name)

        link = Link(clock, Recorders(Plain))
        _, recorder, _ = link.up()
        link.receive(message(b"N/huge", bytes(FRAME_LIMIT)) + message(b"N/x", b"1"))
        assert recorder.messages == [(b"N/x", b"1", False)]

    def test_that_the_listener_cannot_handle_do_not_end_the_link(
        self, clock: Clock, logged_errors: ExpectErrors
    ) -> None:
        class Broken(Recorder):
            def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
                super().messageReceived(topic, payload, retained)
                raise ZeroDivisionError(topic)

        logged_errors("ZeroDivisionError")
        link = Link(clock, Recorders(Broken))
        wire, recorder, _ = link.up()
        link.receive(message(b"N/x", b"1") * 3)
        assert len(recorder.messages) == 3
        assert not wire.disconnecting

    def test_are_not_delivered_after_the_listener_closed(self, clock: Clock) -> None:
        for how in ("loseConnection", "abortConnection"):

            class Closing(Recorder):
                def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
                    super().messageReceived(topic, payload, retained)
                    getattr(self.session, how)()  # noqa: B023 - used within the turn of the loop

            link = Link(clock, Recorders(Closing))
            _, recorder, _ = link.up()
            link.receive(message(b"N/x", b"1") * 3)
            link.receive(message(b"N/x", b"1"))
            assert len(recorder.messages) == 1
            link.turn()
            assert len(recorder.lost) == 1

    @pytest.mark.parametrize(
        "rubbish",
        [
            b"\x30\x01\x00",
            b"\x30\x03\x00\x09x",
            b"\x30\xff\xff\xff\xff",
            b"\x36\x05\x00\x01x\x00\x01",
            b"\x90\x00",
            b"\x90\x03\x00\x01\x07",
            b"\x00\x00",
            b"\xf0\x00",
            b"\xd0\x01\x00",
            b"\x40\x82\x80\x40" + bytes(4),
            message(b"\xff", b"1", 0x32, b"\x00\x07"),
        ],
        ids=lambda rubbish: rubbish[:6].hex(),
    )
    def test_malformed_end_the_link_with_an_error_that_says_what(self, link: Link, rubbish: bytes) -> None:
        wire, recorder, _ = link.up()
        link.receive(message(b"N/x", b"1") + rubbish + message(b"N/x", b"2"))
        assert wire.aborted
        link.turn()
        assert recorder.messages == [(b"N/x", b"1", False)]
        assert [type(reason.value) for reason in recorder.lost] == [ProtocolError]
        assert len(str(recorder.lost[0].value)) > 20


class TestSubscribing:
    def test_fires_when_granted(self, link: Link) -> None:
        wire, _, session = link.up()
        result = outcome(session.subscribe("N/#"))
        assert wire.take() == b"\x82\x08\x00\x01\x00\x03N/#\x00"
        assert result == []
        link.receive(subscribed(1))
        assert result == [None]

    def test_fails_when_refused(self, link: Link) -> None:
        _, _, session = link.up()
        first, second = outcome(session.subscribe("N/a/#")), outcome(session.subscribe("N/b/#"))
        link.receive(subscribed(2, 0x80) + subscribed(1))
        assert first == [None]
        assert isinstance(second[0], SubscribeRefused)
        assert "N/b/#" in str(second[0])

    def test_answer_to_nothing_is_ignored(self, link: Link) -> None:
        wire, _, _ = link.up()
        link.receive(subscribed(9))
        assert not wire.disconnecting

    def test_can_be_done_from_anywhere(self, clock: Clock) -> None:
        class Eager(Recorder):
            def makeConnection(self, session: Session) -> None:
                super().makeConnection(session)
                session.subscribe("N/1").addCallback(lambda _: session.subscribe("N/2"))

            def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
                assert self.session is not None
                self.session.subscribe("N/3")

        link = Link(clock, Recorders(Eager))
        wire = link.dial()
        wire.take()
        link.receive(ACCEPTED)
        assert b"N/1" in wire.take()
        link.receive(subscribed(1))
        assert b"N/2" in wire.take()
        link.receive(message(b"x", b"", 0x32, b"\x00\x07"))
        assert b"N/3" in wire.take()

    def test_fails_when_the_link_is_lost_after_the_listener_heard_of_it(self, link: Link) -> None:
        wire, recorder, session = link.up()
        order: list[int] = []
        result = outcome(session.subscribe("N/#").addErrback(lambda failure: order.append(len(recorder.lost))))
        wire.end(ConnectionLost())
        assert result
        assert order == [1]
        assert isinstance(outcome(session.subscribe("N/#"))[0], ConnectionLost)


class TestPublishing:
    def test_is_qos_0_and_not_retained(self, link: Link) -> None:
        wire, _, session = link.up()
        session.publish("R/x/keepalive", b"abc")
        assert wire.take() == message(b"R/x/keepalive", b"abc")

    def test_waits_while_the_transport_is_full(self, link: Link) -> None:
        wire, _, session = link.up()
        wire.producer.pauseProducing()
        session.publish("W/1", b"a")
        session.publish("W/2", b"b")
        session.subscribe("N/#")
        assert wire.take() == b""
        wire.producer.resumeProducing()
        assert wire.take().startswith(message(b"W/1", b"a") + message(b"W/2", b"b") + b"\x82")

    def test_of_one_connection_is_never_sent_on_the_next(self, link: Link) -> None:
        wire, _, session = link.up()
        wire.producer.pauseProducing()
        session.publish("W/1", b"a")
        wire.end(ConnectionLost())
        wire, _, _ = link.up()
        link.turn(100)
        assert b"W/1" not in wire.take()

    def test_after_the_end_does_nothing(self, link: Link) -> None:
        wire, _, session = link.up()
        session.abortConnection()
        session.publish("W/1", b"a")
        assert wire.take() == b""


class TestEnd:
    def test_goodbye(self, link: Link) -> None:
        wire, recorder, session = link.up()
        session.loseConnection()
        assert wire.take() == DISCONNECT
        assert wire.producer is None
        link.turn()
        assert [type(reason.value) for reason in recorder.lost] == [ConnectionDone]
        assert link.clock.getDelayedCalls() == []

    def test_goodbye_to_a_dead_peer_is_cut_short(self, link: Link) -> None:
        wire, recorder, session = link.up()
        wire.dead = True
        session.loseConnection()
        link.turn(1)
        assert recorder.lost == []
        link.turn(1)
        assert [type(reason.value) for reason in recorder.lost] == [ConnectionAborted]

    def test_abort(self, link: Link) -> None:
        wire, recorder, session = link.up()
        session.abortConnection()
        link.turn()
        assert wire.take() == b""
        assert [type(reason.value) for reason in recorder.lost] == [ConnectionAborted]

    def test_half_open_link_is_noticed_by_its_ping(self, link: Link) -> None:
        wire, recorder, _ = link.up()
        link.turn(31)
        assert wire.take() == PINGREQ
        link.receive(PINGRESP)
        link.turn(31)
        assert wire.take() == PINGREQ
        assert recorder.lost == []
        link.turn(31)
        assert [type(reason.value) for reason in recorder.lost] == [PingTimeout]

    def test_half_open_link_that_cannot_be_written_to_is_noticed_too(self, link: Link) -> None:
        wire, recorder, _ = link.up()
        wire.producer.pauseProducing()
        link.turn(62)
        assert [type(reason.value) for reason in recorder.lost] == [PingTimeout]
        assert link.clock.getDelayedCalls() == []

    def test_may_be_asked_for_again(self, link: Link) -> None:
        _, recorder, session = link.up()
        session.loseConnection()
        session.abortConnection()
        link.turn()
        session.abortConnection()
        session.loseConnection()
        assert len(recorder.lost) == 1
        assert link.clock.getDelayedCalls() == []

    def test_nothing_is_left_running(self, link: Link) -> None:
        wire, recorder, _ = link.up()
        wire.end(ConnectionLost())
        assert [type(reason.value) for reason in recorder.lost] == [ConnectionLost]
        assert link.clock.getDelayedCalls() == []

    def test_listener_that_fails_at_its_start_fails_the_attempt(self, clock: Clock) -> None:
        class Broken(Recorder):
            def makeConnection(self, session: Session) -> None:
                raise ZeroDivisionError

        link = Link(clock, Recorders(Broken))
        wire = link.dial()
        link.receive(ACCEPTED)
        assert isinstance(link.result[0], ZeroDivisionError)
        assert wire.aborted
        link.turn()
        assert link.listeners.built[0].lost == []
        assert clock.getDelayedCalls() == []


def frames() -> st.SearchStrategy[bytes]:
    """What a broker may send, and what it may not."""
    topics, payloads, mids = st.binary(max_size=5), st.binary(max_size=150), st.binary(min_size=2, max_size=2)
    return st.one_of(
        st.builds(message, topics, payloads, st.sampled_from([0x30, 0x31])),
        st.builds(message, topics, payloads, st.sampled_from([0x32, 0x33, 0x34, 0x3A]), mids),
        st.builds(lambda mid: b"\x62\x02" + mid, mids),
        st.builds(lambda mid, code: b"\x90\x03" + mid + bytes([code]), mids, st.integers(0, 255)),
        st.just(PINGRESP),
        st.builds(lambda first, body: bytes([first, len(body)]) + body, st.integers(0, 255), st.binary(max_size=9)),
    )


@given(st.lists(frames(), max_size=15), st.lists(st.integers(0, 5000), max_size=15))
def test_any_fragmentation_gives_the_same_messages_answers_and_end(stream: list[bytes], cuts: list[int]) -> None:
    data = ACCEPTED + b"".join(stream)

    def read(pieces: list[bytes]) -> Any:
        link = Link(Clock())
        wire = link.dial()
        for piece in pieces:
            if piece and not wire.disconnecting:
                link.receive(piece)
        (recorder,) = link.listeners.built
        aborted, written = wire.aborted, wire.take()
        assert not wire.disconnecting or aborted
        if not aborted:
            wire.end(ConnectionLost())
        link.turn()
        assert link.clock.getDelayedCalls() == []
        reasons = [(type(reason.value), str(reason.value)) for reason in recorder.lost]
        return recorder.messages, written, reasons

    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    whole = read([data])
    assert whole[2][0][0] in (ProtocolError, ConnectionLost)
    assert read([data[a:b] for a, b in pairwise(places)]) == whole
    assert read([bytes([byte]) for byte in data]) == whole
