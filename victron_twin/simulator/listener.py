"""The broker on real sockets: TCP, or TLS with a certificate such as a GX makes for itself."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from OpenSSL.crypto import X509, PKey
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    IStreamServerEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.simulator.broker import Broker

#: Seconds for a client to take the last bytes and say goodbye.
CLOSE_TIMEOUT = 5.0


class CertificateError(ValueError):
    """A certificate's files cannot be used; the message names them and says what to do."""


def serve(
    reactor: IReactorTime, broker: Broker, *, tls: CertificateOptions | None, port: int, interface: str = "127.0.0.1"
) -> Deferred[IListeningPort]:
    """Serve the broker; port 0 is any free one (``getHost().port`` says which).

    Fails with :class:`twisted.internet.error.CannotListenError` where the port is taken.
    """
    endpoint: IStreamServerEndpoint
    if tls is None:
        endpoint = TCP4ServerEndpoint(reactor, port, interface=interface)
    else:
        endpoint = SSL4ServerEndpoint(reactor, port, tls, interface=interface)
    listening: Deferred[IListeningPort] = endpoint.listen(BrokerFactory(reactor, broker))
    return listening


class BrokerFactory(Factory):
    """Makes a link to the broker of each connection."""

    noisy = False

    def __init__(self, clock: IReactorTime, broker: Broker) -> None:
        self._clock, self._broker = clock, broker

    def buildProtocol(self, addr: object) -> BrokerProtocol:
        return BrokerProtocol(self._clock, self._broker)


class IStream(ITCPTransport, IConsumer):
    """What Twisted gives a protocol, over TCP and over TLS."""


@implementer(IPushProducer)
class BrokerProtocol(Protocol):
    """A transport as the broker's link; the transport's pressure goes to the broker's connection."""

    transport: IStream

    def __init__(self, clock: IReactorTime, broker: Broker) -> None:
        self._clock, self._broker = clock, broker
        self._closing: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._connection = self._broker.attach(self)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self._connection.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self._connection.lost()

    # Link

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.unregisterProducer()  # TLS would wait for that
        self._closing = self._clock.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)
        self.transport.loseConnection()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._connection.pause()

    def resumeProducing(self) -> None:
        self._connection.resume()

    def stopProducing(self) -> None: ...


def server_tls(certificate: Path, key: Path) -> CertificateOptions:
    """TLS 1.2 and newer with this certificate and its key, PEM files. Raises :class:`CertificateError`."""
    try:
        public = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != public.public_key():
            raise ValueError("the key is not the certificate's")
    except (OSError, TypeError, ValueError) as error:
        raise CertificateError(
            f"{certificate} and {key} are no certificate with its key ({error}): remove both to have new ones made"
        ) from None
    return CertificateOptions(
        privateKey=PKey.from_cryptography_key(private),
        certificate=X509.from_cryptography(public),
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )


def gx_certificate(certificate: Path, key: Path) -> None:
    """Make both PEM files, unless both are there: self-signed, and as on a GX without any name that a check could pass.

    The dates are fixed, since a GX's clock may say anything when it makes its own.
    """
    if certificate.exists() and key.exists():
        return
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "venus.local")])
    public = private.public_key()
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, SHA256())
    )
    _replace(key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _replace(certificate, signed.public_bytes(Encoding.PEM), 0o644)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    draft.replace(path)
