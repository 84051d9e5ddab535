"""The way to a GX against Debian's mosquitto as a real process, and against a peer that does not read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionLost

from tests.asynchronous import asynchronous, until
from tests.gx.certificates import Identity
from tests.gx.servers import LOOPBACK, Server, serving
from tests.gx.wires import Recorder, Recorders, message
from tests.mosquitto import HOST, Mosquitto
from tests.support import needs
from victron_twin.gx.connect import GXEndpoint
from victron_twin.gx.endpoint import Credentials, SessionEndpoint
from victron_twin.gx.errors import (
    CertificateChanged,
    HandshakeFailed,
    HandshakeTimeout,
    LinkError,
    LoginRefused,
    PingTimeout,
    Unreachable,
)
from victron_twin.gx.frames import FRAME_LIMIT
from victron_twin.gx.pins import Pins
from victron_twin.gx.trust import Trust

pytestmark = [pytest.mark.integration, needs("mosquitto", "mosquitto_passwd", "mosquitto_pub")]


class GX:
    """A mosquitto with TLS, and our way to it."""

    def __init__(self, folder: Path, mosquitto: Mosquitto, ca: Path | None) -> None:
        self.mosquitto = mosquitto
        self.ca = ca
        self.pins = Pins(folder / "pins.json")
        self.password_file = folder / "password"
        self.password_file.write_text(mosquitto.password)

    def login(self) -> Credentials:
        return Credentials(self.mosquitto.username, self.password_file.read_text())

    async def connect(self, trust: str = "tofu", timeout: float = 5.0) -> Recorder:
        endpoint = GXEndpoint(
            reactor, HOST, self.mosquitto.port, Trust.parse(trust), self.pins, self.login, "twin", timeout
        )
        recorder: Recorder = await endpoint.connect(Recorders())
        return recorder

    def publish(self, topic: str, file: Path, *options: str) -> None:
        """By another client."""
        tls = ["--cafile", str(self.ca), "--insecure"] if self.ca is not None else []
        login = ["-u", self.mosquitto.username, "-P", self.mosquitto.password]
        where = ["-h", HOST, "-p", str(self.mosquitto.port)]
        subprocess.run(["mosquitto_pub", *where, *tls, *login, "-t", topic, "-f", str(file), *options], check=True)


@pytest.fixture
def gx(tmp_path: Path) -> Iterator[GX]:
    files = Identity("venus.local", authority=True).write(tmp_path)
    with Mosquitto(tmp_path, tls=files) as mosquitto:
        yield GX(tmp_path, mosquitto, files[0])


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[GX]:
    with Mosquitto(tmp_path) as mosquitto:
        yield GX(tmp_path, mosquitto, None)


async def closed(recorder: Recorder) -> None:
    assert recorder.session is not None
    recorder.session.loseConnection()
    await until(lambda: recorder.lost)


async def failure(gx: GX, trust: str = "tofu", timeout: float = 5.0) -> Exception:
    try:
        recorder = await gx.connect(trust, timeout)
    except Exception as error:  # noqa: BLE001 - it is the answer
        return error
    await closed(recorder)
    raise AssertionError("it connected")


@asynchronous
async def test_messages_go_both_ways(gx: GX, tmp_path: Path) -> None:
    value, large, huge = (tmp_path / name for name in ("value", "large", "huge"))
    value.write_bytes(b'{"value":1}')
    large.write_bytes(bytes(200_000))
    huge.write_bytes(bytes(FRAME_LIMIT + 1))
    gx.publish("N/x/system/0/Serial", value, "-r")

    recorder = await gx.connect()
    session = recorder.session
    assert session is not None
    await session.subscribe("N/#")
    await until(lambda: recorder.messages)
    gx.publish("N/x/large", large, "-q", "1")
    gx.publish("N/x/huge", huge, "-q", "1")
    session.publish("N/x/own", b"")
    await until(lambda: len(recorder.messages) == 3)
    assert recorder.messages == [
        (b"N/x/system/0/Serial", b'{"value":1}', True),
        (b"N/x/large", bytes(200_000), False),
        (b"N/x/own", b"", False),
    ]
    assert recorder.passed_over == [(b"N/x/huge", FRAME_LIMIT + 1)]
    await closed(recorder)


@asynchronous
async def test_password_is_read_again(gx: GX) -> None:
    gx.password_file.write_text("wrong")
    assert isinstance(await failure(gx), LoginRefused)
    assert gx.pins.get(HOST, gx.mosquitto.port) is None
    gx.password_file.write_text(gx.mosquitto.password)
    await closed(await gx.connect())
    gx.mosquitto.set_password("another")
    assert isinstance(await failure(gx), LoginRefused)
    gx.password_file.write_text("another")
    await closed(await gx.connect())


@asynchronous
async def test_certificate_that_was_replaced(gx: GX, tmp_path: Path) -> None:
    await closed(await gx.connect())
    gx.mosquitto.stop()
    Identity("venus.local", authority=True).write(tmp_path)
    gx.mosquitto.start()
    assert isinstance(await failure(gx), CertificateChanged)


@asynchronous
async def test_broker_that_is_killed(gx: GX) -> None:
    recorder = await gx.connect()
    gx.mosquitto.kill()
    await until(lambda: recorder.lost)
    error = await failure(gx)
    assert isinstance(error, Unreachable)
    assert "connection refused" in str(error)


@asynchronous
async def test_broker_that_is_frozen(gx: GX) -> None:
    recorder = await gx.connect()
    gx.mosquitto.freeze()
    assert isinstance(await failure(gx, timeout=0.5), HandshakeTimeout)
    await closed(recorder)
    assert recorder.lost[0].check(ConnectionAborted, ConnectionLost)


@asynchronous
async def test_broker_that_freezes_is_noticed_by_its_ping(plain: GX) -> None:
    stream: Any = TCP4ClientEndpoint(reactor, HOST, plain.mosquitto.port)
    endpoint = SessionEndpoint(reactor, stream, plain.login, client_id="twin", keepalive=1)
    recorder: Recorder = await endpoint.connect(Recorders())
    plain.mosquitto.freeze()
    await until(lambda: recorder.lost)
    assert recorder.lost[0].check(PingTimeout)


@asynchronous
async def test_tls_and_plaintext_mixed_up(gx: GX) -> None:
    error = await failure(gx, "plaintext")
    assert isinstance(error, LinkError)
    assert "TLS" in str(error)


@asynchronous
async def test_plaintext_and_tls_mixed_up(plain: GX) -> None:
    error = await failure(plain)
    assert isinstance(error, HandshakeFailed)
    assert "TLS" in str(error)


@asynchronous
async def test_reader_that_pauses_gets_everything_in_order() -> None:
    server = Server()
    tls = Identity("venus.local").server()
    async with serving(server, tls):
        endpoint = GXEndpoint(reactor, LOOPBACK, server.port, Trust("insecure"), Pins(None), Credentials, "twin")
        recorder: Recorder = await endpoint.connect(Recorders())
        session, peer = recorder.session, server.peers[0]
        assert session is not None
        peer.transport.pauseProducing()
        login = len(peer.received)
        sent = [(f"W/{n}", bytes([n]) * 100_000) for n in range(200)]
        for topic, payload in sent:
            session.publish(topic, payload)
        expected = b"".join(message(topic.encode(), payload) for topic, payload in sent)
        assert len(peer.received) == login
        peer.transport.resumeProducing()
        await until(lambda: len(peer.received) >= login + len(expected))
        assert peer.received[login:] == expected
        await closed(recorder)
