"""A stream endpoint whose other side is the test itself, on a simulated clock; a listener that keeps what it got."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IProtocolFactory, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.gx.session import Session

T = TypeVar("T")

ACCEPTED = b"\x20\x02\x00\x00"
PINGREQ = b"\xc0\x00"
PINGRESP = b"\xd0\x00"
DISCONNECT = b"\xe0\x00"


def refused(code: int) -> bytes:
    return b"\x20\x02\x00" + bytes([code])


def length(n: int) -> bytes:
    """MQTT's variable length."""
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def message(topic: bytes, payload: bytes, first: int = 0x30, mid: bytes = b"") -> bytes:
    """A PUBLISH; with a message id where the first byte asks for one."""
    body = len(topic).to_bytes(2, "big") + topic + mid + payload
    return bytes([first]) + length(len(body)) + body


@implementer(ITransport, IConsumer)
class Wire:
    """A transport that ends as a real one does: soon after, never within the call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.dead = False  # the peer does not answer: a goodbye never ends
        self.aborted = False
        self.disconnecting = False
        self.protocol: Any = None
        self.producer: Any = None
        self._written = b""

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self._written = self._written, b""
        return written

    def write(self, data: bytes) -> None:
        self._written += data

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 8883)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.2", 50000)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            if not self.dead:
                self.clock.callLater(0, self.end, ConnectionDone())

    def abortConnection(self) -> None:
        assert self.protocol is not None, "a TLS transport that is gone cannot be aborted"
        self.aborted = self.disconnecting = True
        self.clock.callLater(0, self.end, ConnectionAborted())

    def end(self, reason: Exception) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


@implementer(IStreamClientEndpoint)
class Wires:
    """Connects at once, each time to a new wire."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.hang = False
        self.wires: list[Wire] = []
        self.cancelled = 0

    @property
    def wire(self) -> Wire:
        return self.wires[-1]

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        if self.hang:
            return Deferred(self._cancel)
        wire = Wire(self.clock)
        self.wires.append(wire)
        wire.protocol = factory.buildProtocol(wire.getPeer())
        wire.protocol.makeConnection(wire)
        return succeed(wire.protocol)

    def _cancel(self, _: Deferred[Any]) -> None:
        self.cancelled += 1


class Recorder:
    """A listener that keeps what it got."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.messages: list[tuple[bytes, bytes, bool]] = []
        self.passed_over: list[tuple[bytes, int]] = []
        self.pieces: list[int] = []  # how many messages there were after each piece of data
        self.lost: list[Failure] = []

    def makeConnection(self, session: Session) -> None:
        self.session = session

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
        self.messages.append((topic, payload, retained))

    def oversized(self, topic: bytes, size: int) -> None:
        self.passed_over.append((topic, size))

    def pieceReceived(self) -> None:
        self.pieces.append(len(self.messages))

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


class Recorders(Factory):
    noisy = False

    def __init__(self, listener: type[Recorder] = Recorder) -> None:
        self.listener = listener
        self.built: list[Recorder] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.built.append(self.listener())
        return self.built[-1]


def outcome(deferred: Deferred[T]) -> list[Any]:
    """A list that gets the result, or the exception of the failure."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results
