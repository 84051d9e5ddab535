"""The broker on real sockets: the certificate, the ports, and a client that does not read or does not end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from tests.asynchronous import asynchronous, until, wait
from tests.simulator.mqtt import PING, PONG, Frame, connack, connect, message, subscribe
from victron_twin.simulator.broker import Broker, Open
from victron_twin.simulator.connection import QUEUE_LIMIT
from victron_twin.simulator.frames import Packet, Reader
from victron_twin.simulator.listener import (
    CLOSE_TIMEOUT,
    BrokerFactory,
    CertificateError,
    gx_certificate,
    serve,
    server_tls,
)

HOST = "127.0.0.1"

pytestmark = pytest.mark.integration


# The certificate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    gx_certificate(directory / "certificate.pem", directory / "key.pem")
    return directory / "certificate.pem", directory / "key.pem"


def test_the_certificate_is_as_a_gx_makes_it(files: tuple[Path, Path]) -> None:
    certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=venus.local"
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days > 36_000


def test_the_key_is_for_its_owner_alone(files: tuple[Path, Path]) -> None:
    assert files[1].stat().st_mode & 0o777 == 0o600


def test_a_certificate_that_is_there_stays(files: tuple[Path, Path]) -> None:
    before = [f.read_bytes() for f in files]
    gx_certificate(*files)
    assert [f.read_bytes() for f in files] == before


def test_half_a_pair_is_made_anew(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text("left over")
    gx_certificate(certificate, key)
    server_tls(certificate, key)


@pytest.mark.parametrize("which", [0, 1])
def test_a_corrupt_file_is_named_with_the_remedy(files: tuple[Path, Path], tmp_path: Path, which: int) -> None:
    copies = [tmp_path / "c.pem", tmp_path / "k.pem"]
    for copy, file in zip(copies, files, strict=True):
        copy.write_bytes(file.read_bytes())
    copies[which].write_text("rubbish")
    with pytest.raises(CertificateError, match=r"c\.pem and .*k\.pem .*remove both"):
        server_tls(copies[0], copies[1])


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="remove both"):
        server_tls(tmp_path / "c.pem", tmp_path / "k.pem")


def test_a_key_of_another_certificate_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    gx_certificate(tmp_path / "c.pem", tmp_path / "k.pem")
    with pytest.raises(CertificateError):
        server_tls(files[0], tmp_path / "k.pem")


# The ports


class Client(Protocol):
    """Takes what comes, a turn at a time."""

    def __init__(self) -> None:
        self.reader = Reader()
        self.reads = 0
        self.stream: Any = None  # the transport, with all its methods
        self.ended: Deferred[None] = Deferred()
        self.is_lost = False

    def connectionMade(self) -> None:
        self.stream = self.transport

    def dataReceived(self, data: bytes) -> None:
        self.reads += 1
        self.reader.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        self.ended.callback(None)


class Site:
    """Our broker on a free port, and what has to be ended after the test."""

    def __init__(self, reactor: Any, tls: CertificateOptions | None) -> None:
        self.reactor = reactor
        self.tls = tls
        self.broker = Broker(reactor, Open())
        self.listening: Any = None
        self.clients: list[Client] = []

    async def start(self) -> None:
        self.listening = await serve(self.reactor, self.broker, tls=self.tls, port=0)

    async def client(self, *said: bytes) -> Client:
        """One that has logged in, and says more at once."""
        port = self.listening.getHost().port
        endpoint: Any
        if self.tls is None:
            endpoint = TCP4ClientEndpoint(self.reactor, HOST, port)
        else:
            endpoint = SSL4ClientEndpoint(self.reactor, HOST, port, CertificateOptions())
        client: Client = await endpoint.connect(Factory.forProtocol(Client))
        self.clients.append(client)
        client.stream.write(connect() + b"".join(said))
        assert await self.next(client) == connack(0)
        return client

    async def next(self, client: Client) -> Frame:
        found: list[Frame] = []

        def one() -> bool:
            frame = client.reader.next()
            if frame is not None:
                found.append(frame)
            return bool(found)

        await until(one)
        return found[0]

    async def stop(self) -> None:
        if self.listening is not None:
            await self.listening.stopListening()
        for client in self.clients:
            if not client.is_lost:
                client.stream.abortConnection()
                await client.ended
        self.broker.drop_clients()
        await until(lambda: not self.broker.connections)


@pytest.fixture(params=["TCP", "TLS"])
def site(request: pytest.FixtureRequest, files: tuple[Path, Path]) -> Iterator[Site]:
    from twisted.internet import reactor

    site = Site(reactor, server_tls(*files) if request.param == "TLS" else None)
    wait(Deferred.fromCoroutine(site.start()))
    yield site
    wait(Deferred.fromCoroutine(site.stop()))


@asynchronous
async def test_served(site: Site) -> None:
    client = await site.client(PING)
    assert await site.next(client) == PONG
    assert list(site.broker.clients) == ["test"]


@asynchronous
async def test_a_full_publish_comes_in_few_reads(site: Site) -> None:
    client = await site.client(subscribe("#"))
    assert (await site.next(client))[0] is Packet.SUBACK
    before = client.reads
    for number in range(2112):
        site.broker.publish(f"N/c0619ab12345/system/0/Some/Path/{number}", b'{"value":57.0499992371}')
    for number in range(2112):
        assert await site.next(client) == message(
            f"N/c0619ab12345/system/0/Some/Path/{number}", b'{"value":57.0499992371}'
        )
    assert client.reads - before < 20


@asynchronous
async def test_a_client_that_vanishes_is_let_go(site: Site) -> None:
    client = await site.client()
    client.stream.abortConnection()
    await until(lambda: not site.broker.connections)


@asynchronous
async def test_dropped_clients_are_closed(site: Site) -> None:
    client = await site.client()
    site.broker.drop_clients()
    await client.ended


@asynchronous
async def test_a_client_that_does_not_read_loses_messages_and_not_the_connection(site: Site) -> None:
    client = await site.client(subscribe("#"))
    assert (await site.next(client))[0] is Packet.SUBACK
    client.stream.pauseProducing()
    payload = bytes(100_000)
    sent = 0
    for _ in range(100):
        for _ in range(5):
            site.broker.publish(f"a/{sent}", payload)
            sent += 1
        await deferLater(site.reactor, 0, lambda: None)
    client.stream.resumeProducing()
    heard: list[Frame] = []

    def ends() -> bool:
        site.broker.publish("end", b"")
        while (frame := client.reader.next()) is not None:
            heard.append(frame)
        return message("end", b"") in heard

    await until(ends)
    kept = heard.index(message("end", b""))
    assert heard[:kept] == [message(f"a/{number}", payload) for number in range(kept)]
    assert QUEUE_LIMIT // 100_010 <= kept < sent


def test_a_client_that_does_not_end_is_aborted() -> None:
    clock = Clock()
    broker = Broker(clock, Open())
    transport: Any = StringTransport()
    protocol: Any = BrokerFactory(clock, broker).buildProtocol(None)
    protocol.makeConnection(transport)
    assert transport.producer is not None
    broker.drop_clients()
    assert transport.producer is None, "TLS would wait for that"
    assert transport.disconnecting
    clock.advance(CLOSE_TIMEOUT)
    assert transport.disconnected


@asynchronous
async def test_a_taken_port_fails(site: Site) -> None:
    with pytest.raises(CannotListenError):
        await serve(site.reactor, site.broker, tls=None, port=site.listening.getHost().port)


@pytest.mark.parametrize("site", ["TLS"], indirect=True)
@asynchronous
async def test_old_tls_is_refused(site: Site) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")

    def dial() -> None:
        with socket.create_connection((HOST, site.listening.getHost().port), 10) as plain:
            context.wrap_socket(plain).close()

    with pytest.raises(ssl.SSLError):
        await deferToThread(dial)
