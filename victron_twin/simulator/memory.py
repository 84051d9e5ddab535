"""A client joined to the broker in memory, on a simulated clock, over a network that can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionLost,
    ConnectionRefusedError,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.simulator.broker import Broker

#: Bytes under way in one direction before the sender is asked to pause, as Twisted's transports do.
WINDOW = 64 * 1024


@implementer(IStreamClientEndpoint)
class BrokerEndpoint:
    """Connects any protocol to a broker; what may go wrong on the way is set from outside, at any time.

    The stream stands for TLS: it ends cleanly only after the other side has answered, and never while a producer
    is registered.
    """

    def __init__(self, clock: IReactorTime, broker: Broker) -> None:
        self.refuse = False  #: connects fail at once
        self.hang = False  #: connects begun now never end
        self.latency = 0.0  #: seconds each way
        self.frozen = False  #: see :meth:`freeze`
        self.address = IPv4Address("TCP", "192.0.2.1", 8883)
        self.clock = clock
        self._broker = broker
        self._transports: dict[Transport, None] = {}

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        call: IDelayedCall | None = None

        def cancel(connecting: Deferred[None]) -> None:
            if call is not None:
                call.cancel()
            connecting.errback(ConnectingCancelledError(self.address))

        connecting: Deferred[None] = Deferred(cancel)
        if not self.hang:
            call = self.clock.callLater(self.latency, connecting.callback, None)
        return connecting.addCallback(lambda _: self._join(factory))

    def _join(self, factory: IProtocolFactory) -> IProtocol:
        if self.refuse:
            raise ConnectionRefusedError
        protocol = factory.buildProtocol(self.address)
        if protocol is None:
            raise NoProtocol
        transport = Transport(self, protocol, self._broker)
        self._transports[transport] = None
        protocol.makeConnection(transport)
        return protocol

    def cut(self) -> None:
        """End every connection now, for both sides; what was under way is lost."""
        for transport in self.transports:
            transport.cut()

    def freeze(self) -> None:
        """Bytes and ends of streams go neither way, and no connection notices."""
        self.frozen = True

    def thaw(self) -> None:
        """What was held arrives."""
        self.frozen = False
        for transport in self.transports:
            transport.thawed()

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Those whose end is not known to both sides."""
        return tuple(self._transports)

    def forget(self, transport: Transport) -> None:
        """Both sides of this connection know that it has ended."""
        self._transports.pop(transport, None)


class _Wire:
    """One direction of a stream: bytes arrive in order, each after the latency, and so does the end (None)."""

    def __init__(self, network: BrokerEndpoint, arrived: Callable[[bytes | None], None]) -> None:
        self.full: Callable[[bool], None] = lambda full: None  #: told at the window's edge: stop, go on
        self.paused = False  #: by the reader
        self._network = network
        self._arrived = arrived
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._size = 0
        self._is_full = False
        self._next: IDelayedCall | None = None

    def send(self, data: bytes | None) -> None:
        due = self._network.clock.seconds() + self._network.latency
        if self._under_way:
            due = max(due, self._under_way[-1][0])  # the latency may have become shorter
        self._under_way.append((due, data))
        self._size += len(data or b"")
        self.go_on()
        if self._size > WINDOW and not self._is_full:
            self._is_full = True
            self.full(True)

    def go_on(self) -> None:
        """See to it that the next arrival happens, unless something holds it."""
        if self._next is None and self._under_way and not self._network.frozen and not self.paused:
            wait = self._under_way[0][0] - self._network.clock.seconds()
            self._next = self._network.clock.callLater(max(0.0, wait), self._arrive)

    def clear(self) -> None:
        """What is under way never arrives."""
        self._under_way.clear()
        self._size, self._is_full = 0, False
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _arrive(self) -> None:
        self._next = None
        if self._network.frozen or self.paused:
            return
        _, data = self._under_way.popleft()
        self._size -= len(data or b"")
        self.go_on()
        self._arrived(data)
        if self._is_full and not self._under_way:
            self._is_full = False
            self.full(False)


class _BrokerLink:
    """The broker's end."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def write(self, data: bytes) -> None:
        self._wire.send(data)

    def close(self) -> None:
        self._wire.send(None)


@implementer(ITransport, IConsumer, IPushProducer)
class Transport:
    """The client's end."""

    def __init__(self, network: BrokerEndpoint, protocol: IProtocol, broker: Broker) -> None:
        self.disconnecting = False
        self.connected = True
        self._broker_knows = False
        self._network = network
        self._protocol = protocol
        self._producer: Any = None
        self._inwards = _Wire(network, self._arrived)
        self._outwards = _Wire(network, self._arrived_at_broker)
        self._connection = broker.attach(_BrokerLink(self._inwards))
        self._inwards.full = lambda full: self._connection.pause() if full else self._connection.resume()
        self._outwards.full = self._push_back

    # ITransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"bytes, not {type(data).__name__}")
        if data and self.connected and not self.disconnecting:
            self._outwards.send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._outwards.send(None)

    def abortConnection(self) -> None:
        if self.connected:
            self.disconnecting = True
            self._inwards.clear()
            self._outwards.clear()
            self._outwards.send(None)
            self._network.clock.callLater(0, self._lost, Failure(ConnectionAborted()))

    def getPeer(self) -> IPv4Address:
        return self._network.address

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 49152)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            raise NotImplementedError("pull producers")
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if self.connected:
            self._producer = producer
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        if self._producer is not None:
            self._producer = None
            if self.disconnecting and self.connected:
                self._outwards.send(None)

    # IPushProducer: how fast the client reads

    def pauseProducing(self) -> None:
        self._inwards.paused = True

    def resumeProducing(self) -> None:
        self._inwards.paused = False
        self._inwards.go_on()

    def stopProducing(self) -> None:
        self.loseConnection()

    # The network

    def cut(self) -> None:
        self._inwards.clear()
        self._outwards.clear()
        self._lost_at_broker()
        self._lost(Failure(ConnectionLost()))

    def thawed(self) -> None:
        self._inwards.go_on()
        self._outwards.go_on()

    def _arrived(self, data: bytes | None) -> None:
        if not self.connected:
            return
        if data is None:
            self._outwards.send(None)
            self._lost(connectionDone)
        else:
            self._protocol.dataReceived(data)

    def _arrived_at_broker(self, data: bytes | None) -> None:
        if data is not None:
            self._connection.received(data)
            return
        self._inwards.send(None)
        self._lost_at_broker()

    def _push_back(self, full: bool) -> None:
        if self._producer is not None and full:
            self._producer.pauseProducing()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def _lost(self, reason: Failure) -> None:
        if self.connected:
            self.connected = False
            self._settle()
            producer, self._producer = self._producer, None
            if producer is not None:
                producer.stopProducing()
            self._protocol.connectionLost(reason)

    def _lost_at_broker(self) -> None:
        if not self._broker_knows:
            self._broker_knows = True
            self._settle()
            self._connection.lost()

    def _settle(self) -> None:
        if self._broker_knows and not self.connected:
            self._inwards.clear()
            self._outwards.clear()
            self._network.forget(self)
