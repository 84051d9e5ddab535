"""Bodies that are long, endless, or said to be forms: real requests as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from victron_twin.shadows.local import LocalBackend
from victron_twin.web.access import Access, guarded_site
from victron_twin.web.body import MAX_ARRIVED, MAX_BODY
from victron_twin.web.dataplane import DataPlane
from victron_twin.worker import InlineWorker

UPDATE = b'{"state":{"reported":{"a":"1&name=other;b=%41"}}}'


class Connection:
    def __init__(self, path: Path) -> None:
        clock = Clock()
        self.backend = LocalBackend(path, clock, InlineWorker())
        self.backend.start()
        plane = DataPlane(self.backend, clock)
        site = guarded_site(plane.beside(Klein().resource()), Access(None))
        site.timeOut = None  # it would be on the real reactor
        self._protocol: IProtocol = cast("Any", site).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self._transport: Any = cast("Any", StringTransport)()
        self._protocol.makeConnection(self._transport)

    def head(self, *headers: bytes) -> None:
        lines = [b"POST /things/van/shadow?name=s HTTP/1.1", b"Host: localhost", *headers, b"", b""]
        self.send(b"\r\n".join(lines))

    def send(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    @property
    def answer(self) -> bytes:
        return bytes(self._transport.value())

    @property
    def status(self) -> bytes:
        return self.answer.split(b"\r\n")[0]

    @property
    def closing(self) -> bool:
        return bool(self._transport.disconnecting)


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return Connection(tmp_path / "shadows.sqlite")


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"application/octet-stream",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"multipart/form-data",
        b"text/plain; charset=utf-16",
        b"\xff\xff",
        None,
    ],
)
def test_any_content_type_is_json(connection: Connection, content_type: bytes | None) -> None:
    headers = [b"Content-Length: %d" % len(UPDATE)]
    if content_type is not None:
        headers.append(b"Content-Type: " + content_type)
    connection.head(*headers)
    connection.send(UPDATE)
    assert connection.status == b"HTTP/1.1 200 OK"
    names: list[list[str]] = []
    connection.backend.named_shadows("van").addCallback(names.append)
    assert names == [["s"]]


def test_chunked_body(connection: Connection) -> None:
    connection.head(b"Transfer-Encoding: chunked")
    for start in range(0, len(UPDATE), 10):
        piece = UPDATE[start : start + 10]
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")
    assert connection.status == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("spare", [0, 1])
def test_body_at_the_limit(connection: Connection, spare: int) -> None:
    connection.head(b"Content-Length: %d" % (MAX_BODY + 1 - spare))
    connection.send(UPDATE.ljust(MAX_BODY + 1 - spare))
    assert connection.status.split()[1] == (b"200" if spare else b"413")


def test_what_is_beyond_the_limit_is_not_kept(connection: Connection) -> None:
    connection.head(b"Content-Length: %d" % (10 * MAX_BODY))
    for _ in range(10):
        connection.send(b" " * MAX_BODY)
    assert connection.status.split()[1] == b"413"
    assert b"RequestEntityTooLargeException" in connection.answer
    # and the connection goes on
    connection.head(b"Content-Length: %d" % len(UPDATE))
    connection.send(UPDATE)
    assert connection.answer.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("header", [b"Content-Length: 999999999999", b"Transfer-Encoding: chunked"])
def test_endless_body_is_cut_off(connection: Connection, header: bytes) -> None:
    connection.head(header)
    piece = b" " * (1024 * 1024)
    if b"chunked" in header:
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    for _ in range(MAX_ARRIVED // (1024 * 1024)):
        assert not connection.closing
        connection.send(piece)
    connection.send(piece)
    assert connection.closing
