"""The broker joined in memory: the same bytes as over a socket, and the faults of a network."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulator.mqtt import PING, PONG, Frame, connack, connect, frames_in, message, publish, subscribe
from victron_twin.simulator.broker import Broker, Open
from victron_twin.simulator.memory import BrokerEndpoint


@implementer(IPushProducer)
class Client(Protocol):
    """Keeps what came, and why it ended."""

    def __init__(self) -> None:
        self.got = b""
        self.lost: type[BaseException] | None = None
        self.told: list[str] = []
        self.stream: Any = None  # the transport, with all its methods

    def connectionMade(self) -> None:
        self.stream = self.transport

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None, "lost twice"
        self.lost = reason.type

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")

    def heard(self) -> list[Frame]:
        got, self.got = self.got, b""
        return frames_in(got)


class Site:
    """A broker, the network to it, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock, Open())
        self.network = BrokerEndpoint(self.clock, self.broker)

    def dial(self) -> Deferred[Any]:
        return self.network.connect(Factory.forProtocol(Client))

    def client(self, hello: bytes = b"") -> Client:
        """One that is connected, and has logged in if it says hello."""
        found: list[Client] = []
        self.dial().addCallback(found.append)
        self.clock.advance(self.network.latency)
        (client,) = found
        if hello:
            client.stream.write(hello)
            self.clock.pump([self.network.latency] * 2)
            assert client.heard()[0] == connack(0)
        return client


@pytest.fixture
def site() -> Site:
    return Site()


def failure(dialled: Deferred[Any]) -> type[BaseException] | None:
    failures: list[Failure] = []
    dialled.addErrback(failures.append)
    (failed,) = failures
    return failed.type


def test_bytes_go_both_ways(site: Site) -> None:
    client = site.client(connect())
    client.stream.writeSequence([subscribe("#"), publish("a", b"1")])
    site.clock.advance(0)
    assert client.heard()[-1] == message("a", b"1")
    assert len(site.broker.connections) == 1


def test_bytes_take_their_time(site: Site) -> None:
    site.network.latency = 0.25
    client = site.client(connect())
    client.stream.write(PING)
    site.clock.pump([0.25, 0.24])
    assert client.heard() == []
    site.clock.advance(0.01)
    assert client.heard() == [PONG]


def test_bytes_keep_their_order_when_the_network_becomes_faster(site: Site) -> None:
    client = site.client(connect() + subscribe("#"))
    site.network.latency = 1.0
    site.broker.publish("a", b"1")
    site.broker.flush()
    site.network.latency = 0.0
    site.broker.publish("a", b"2")
    site.clock.pump([0.5, 0.5])
    assert client.heard() == [message("a", b"1"), message("a", b"2")]


def test_refused(site: Site) -> None:
    site.network.refuse = True
    dialled = site.dial()
    site.clock.advance(0)
    assert failure(dialled) is ConnectionRefusedError


def test_a_connect_that_hangs_can_be_cancelled(site: Site) -> None:
    site.network.hang = True
    dialled = site.dial()
    site.clock.advance(3600)
    dialled.cancel()
    assert failure(dialled) is ConnectingCancelledError
    assert site.broker.connections == ()


def test_a_connect_under_way_can_be_cancelled(site: Site) -> None:
    site.network.latency = 1.0
    dialled = site.dial()
    dialled.cancel()
    assert failure(dialled) is ConnectingCancelledError
    assert site.clock.getDelayedCalls() == []


def test_cut_is_noticed_by_both(site: Site) -> None:
    client = site.client(connect())
    site.network.cut()
    assert client.lost is ConnectionLost
    assert site.broker.connections == ()
    client.stream.write(PING)
    client.stream.loseConnection()
    client.stream.abortConnection()
    site.clock.advance(0)
    assert client.got == b""
    assert site.client(connect()).lost is None


def test_frozen_is_noticed_by_none_until_it_thaws(site: Site) -> None:
    client = site.client(connect() + subscribe("#"))
    site.network.freeze()
    client.stream.write(publish("a", b"1"))
    site.broker.publish("b", b"2")
    site.clock.advance(60)
    assert client.heard() == []
    assert client.lost is None
    site.network.thaw()
    site.clock.advance(0)
    assert client.heard() == [message("b", b"2"), message("a", b"1")]


def test_bytes_under_way_when_it_freezes_are_held(site: Site) -> None:
    client = site.client(connect())
    client.stream.write(PING)
    site.network.freeze()
    site.clock.advance(1)
    site.network.thaw()
    site.clock.advance(0)
    assert client.heard() == [PONG]


def test_frozen_a_goodbye_hangs_and_an_abort_does_not(site: Site) -> None:
    client = site.client(connect())
    site.network.freeze()
    client.stream.loseConnection()
    site.clock.advance(60)
    assert client.lost is None
    client.stream.abortConnection()
    site.clock.advance(0)
    assert client.lost is ConnectionAborted
    assert site.broker.connections
    site.network.thaw()
    site.clock.advance(0)
    assert not site.broker.connections


def test_frozen_a_connect_succeeds_and_is_silent(site: Site) -> None:
    site.network.freeze()
    client = site.client()
    client.stream.write(connect())
    site.clock.advance(60)
    assert client.got == b""


def test_the_broker_gives_a_frozen_client_up(site: Site) -> None:
    client = site.client(connect(keepalive=10))
    site.network.freeze()
    site.clock.advance(16)
    assert site.broker.connections == ()
    assert client.lost is None
    site.network.thaw()
    site.clock.advance(0)
    assert client.lost is ConnectionDone


def test_a_clean_end_by_the_client(site: Site) -> None:
    site.network.latency = 1.0
    client = site.client(connect())
    client.stream.write(publish("kept", b"1", retain=True))
    client.stream.loseConnection()
    client.stream.write(publish("late", b"1", retain=True))
    site.clock.advance(1)
    assert client.lost is None
    assert not site.broker.connections
    site.clock.advance(1)
    assert client.lost is ConnectionDone
    site.network.latency = 0.0
    assert site.client(connect() + subscribe("#")).lost is None
    assert [t for t, _ in site.broker.retained("#")] == ["kept"]


def test_a_clean_end_by_the_broker(site: Site) -> None:
    client = site.client(connect())
    site.broker.drop_clients()
    site.clock.advance(0)
    assert client.lost is ConnectionDone


def test_an_abort_is_known_to_the_broker(site: Site) -> None:
    client = site.client(connect())
    client.stream.abortConnection()
    assert client.lost is None
    site.clock.advance(0)
    assert client.lost is ConnectionAborted
    assert site.broker.connections == ()


def test_nothing_is_left_of_ended_connections(site: Site) -> None:
    for end in ("loseConnection", "abortConnection"):
        getattr(site.client(connect()).stream, end)()
        site.clock.advance(0)
    site.client(connect())
    site.network.cut()
    site.client(connect())
    site.broker.drop_clients()
    site.clock.advance(0)
    assert site.network.transports == ()
    assert site.clock.getDelayedCalls() == []


def test_a_slow_client_makes_the_broker_drop(site: Site) -> None:
    client = site.client(connect() + subscribe("#"))
    client.stream.pauseProducing()
    for number in range(200):
        site.broker.publish(f"a/{number}", bytes(100_000))
        site.clock.advance(0)
    client.stream.resumeProducing()
    site.clock.advance(0)
    heard = client.heard()
    assert 80 < len(heard) < 100
    assert heard == [message(f"a/{n}", bytes(100_000)) for n in range(len(heard))]
    site.broker.publish("b", b"1")
    site.clock.advance(0)
    assert client.heard() == [message("b", b"1")]


def test_a_producing_client_is_told_to_pause_and_to_go_on(site: Site) -> None:
    client = site.client(connect())
    client.stream.registerProducer(client, True)
    client.stream.write(publish("a", bytes(100_000)))
    assert client.told == ["pause"]
    site.clock.advance(0)
    assert client.told == ["pause", "resume"]
    client.stream.loseConnection()
    site.clock.advance(0)
    assert client.lost is None
    client.stream.unregisterProducer()
    site.clock.advance(0)
    assert client.lost is ConnectionDone


def test_a_producer_is_stopped_when_the_connection_is_lost(site: Site) -> None:
    client = site.client(connect())
    client.stream.registerProducer(client, True)
    site.network.cut()
    assert client.told == ["stop"]
