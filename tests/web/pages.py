"""The pages of a twin on a simulated clock, and a reader of their live stream that can be slow, or leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.web.server import Site

from tests.support import CATALOG
from victron_twin.catalog.schema import schemas
from victron_twin.core import Core
from victron_twin.metrics import registry
from victron_twin.web.live import Live, MakePieces
from victron_twin.web.pieces import Pieces
from victron_twin.web.site import Pages


def pages(clock: IReactorTime, core: Core, pieces: MakePieces | None = None) -> tuple[Pages, Live]:
    """``pieces`` are the core's unless given; the live stream is not yet started."""
    live = Live(clock, pieces or Pieces(core.catalog, core.health, core.sources))
    return Pages(core.health, registry(core.health, core.bad_input), live, schemas(CATALOG), core.commands), live


class Reader:
    """Asks for /events over HTTP, on a transport in memory."""

    def __init__(self, site: Site, method: str = "GET") -> None:
        self._transport = cast("Any", StringTransportWithDisconnection)()  # Twisted's are untyped
        self._channel = cast("Any", site).buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
        self._transport.protocol = self._channel
        self._channel.makeConnection(self._transport)
        self._channel.dataReceived(f"{method} /events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, self._arrived = self._transport.value().partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in headers)
        self._transport.clear()

    def take(self) -> list[tuple[str, Any]]:
        """The events that came since the last call, by name and content."""
        return [
            (event.decode(), orjson.loads(data))
            for line in self._lines()
            for name, _, data in [line.partition(b"\ndata: ")]
            for event in [name.removeprefix(b"event: ")]
            if data
        ]

    def comments(self) -> int:
        """How many comments came since the last call."""
        return sum(line.startswith(b":") for line in self._lines())

    def _lines(self) -> list[bytes]:
        arrived = self._arrived + self._transport.value()
        self._arrived = b""
        self._transport.clear()
        return b"".join(_chunks(arrived)).split(b"\n\n")

    def pause(self) -> None:
        """Be slow: the kernel's buffers are full."""
        self._producer.pauseProducing()

    def resume(self) -> None:
        self._producer.resumeProducing()

    @property
    def _producer(self) -> IPushProducer:
        assert self._transport.producer is not None
        return IPushProducer(self._transport.producer)

    @property
    def connected(self) -> bool:
        return not self._transport.disconnecting and bool(self._transport.connected)

    @property
    def ended(self) -> bool:
        """Whether the server has said that this is all."""
        return bool(self._transport.value().endswith(b"0\r\n\r\n"))

    def leave(self) -> None:
        self._transport.loseConnection()


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        length, _, rest = data.partition(b"\r\n")
        size = int(length, 16)
        yield rest[:size]
        data = rest[size + 2 :]
