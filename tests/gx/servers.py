"""Small servers on loopback, which answer a login as they are told, over TCP or TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import protocol, reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.asynchronous import until
from tests.gx.wires import ACCEPTED

LOOPBACK = "127.0.0.1"


class Peer(protocol.Protocol):
    """One connection: answers the first bytes, keeps the others."""

    server: Server
    transport: Any  # TCP or TLS

    def connectionMade(self) -> None:
        self.server.peers.append(self)
        self.received = bytearray()
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        first = not self.received
        self.received += data
        if first and self.server.answer is not None:
            deferLater(reactor, self.server.delay, self.write, self.server.answer)

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.lost = True


class Server(protocol.Factory):
    """What it is told to be; ``peers`` are the connections so far."""

    noisy = False

    def __init__(self, answer: bytes | None = ACCEPTED, delay: float = 0.0) -> None:
        self.answer = answer
        self.delay = delay
        self.peers: list[Peer] = []
        self.port = 0

    def buildProtocol(self, addr: Any) -> Peer:
        peer = Peer()
        peer.server = self
        return peer


@asynccontextmanager
async def serving(
    server: Server, tls: CertificateOptions | None = None, port: int = 0
) -> AsyncIterator[Callable[[], None]]:
    """Serve on a free port of 127.0.0.1; at the end every connection is gone."""
    endpoint: IStreamServerEndpoint
    if tls is None:
        endpoint = TCP4ServerEndpoint(reactor, port, interface=LOOPBACK)
    else:
        endpoint = SSL4ServerEndpoint(reactor, port, tls, interface=LOOPBACK)
    listening = await endpoint.listen(server)
    server.port = listening.getHost().port

    def drop() -> None:
        for peer in server.peers:
            if not peer.lost:
                peer.transport.abortConnection()

    try:
        yield drop
    finally:
        await listening.stopListening()
        drop()
        await until(lambda: all(peer.lost for peer in server.peers))
