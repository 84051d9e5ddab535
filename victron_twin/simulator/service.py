"""The simulated GX as a service: the GX, its broker and the ports that it listens on."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.python.failure import Failure

from victron_twin.simulator.broker import Broker
from victron_twin.simulator.gx import GX
from victron_twin.simulator.listener import gx_certificate, serve, server_tls
from victron_twin.simulator.plugin import Plugin
from victron_twin.simulator.site import Site


@dataclass(frozen=True)
class Listening:
    """Where a GX listens; None where it does not."""

    tls: int | None
    plain: int | None


class SimulatedGX(Service):
    """A GX (:class:`~victron_twin.simulator.gx.GX`, or one that plays a recording) behind real ports.

    Port 0 is any free one, None is none. The certificate and its key stand in ``folder`` as ``certificate.pem`` and
    ``key.pem``, and are made where there are none.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        gx: Plugin,
        *,
        folder: Path,
        port: int | None,
        plain_port: int | None = None,
        interface: str = "127.0.0.1",
    ) -> None:
        self.gx = gx
        self.broker = Broker(reactor, gx)
        self.certificate = folder / "certificate.pem"
        self._reactor = reactor
        self._folder = folder
        self._wanted = (port, plain_port)
        self._interface = interface
        self._ports: list[IListeningPort] = []
        self._starting: Deferred[None] | None = None
        self._outcome: Listening | Failure | None = None
        self._waiting: list[Deferred[Listening]] = []

    def startService(self) -> None:
        """Start the GX and listen; how that went only :meth:`whenListening` tells."""
        super().startService()
        self._outcome = None
        self._starting = Deferred.fromCoroutine(self._listen())
        self._starting.addErrback(self._failed)

    def whenListening(self) -> Deferred[Listening]:
        """Fires with the ports; fails with CannotListenError, CertificateError or OSError."""
        waiting: Deferred[Listening] = Deferred()
        if self._outcome is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self._outcome)
        return waiting

    @property
    def pin(self) -> str:
        """The SHA-256 of the certificate (DER) in hex. Raises OSError before it was made."""
        return certificate_pin(self.certificate)

    def stopService(self) -> Deferred[None]:
        """Drop the clients and listen no more."""
        super().stopService()
        if self._starting is not None:
            self._starting.cancel()
        self.gx.stop()
        return self._close()

    async def _listen(self) -> None:
        port, plain_port = self._wanted
        key = self.certificate.with_name("key.pem")
        if port is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            gx_certificate(self.certificate, key)
        self.gx.start(self.broker)
        numbers: list[int | None] = []
        for number, tls in ((port, True), (plain_port, False)):
            if number is None:
                numbers.append(None)
                continue
            context = server_tls(self.certificate, key) if tls else None
            listening = await serve(self._reactor, self.broker, tls=context, port=number, interface=self._interface)
            self._ports.append(listening)
            numbers.append(cast("IPv4Address", listening.getHost()).port)
        self._tell(Listening(*numbers))

    def _failed(self, reason: Failure) -> Deferred[None] | None:
        self.gx.stop()
        if reason.check(CancelledError):
            return None
        self._tell(reason)
        return self._close()

    def _tell(self, outcome: Listening | Failure) -> None:
        self._outcome = outcome
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(outcome)

    def _close(self) -> Deferred[None]:
        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        return closing.addCallback(lambda _: None)


def certificate_pin(certificate: Path) -> str:
    """The SHA-256 of a certificate in PEM, of its DER form, in hex. Raises OSError."""
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    return sha256(loaded.public_bytes(Encoding.DER)).hexdigest()


def simulated_gx(
    reactor: IReactorTime,
    site: str = "van",
    *,
    password: str | None,
    portal_id: str,
    speed: float = 1.0,
    seed: int | None = None,
) -> GX:
    """A GX in a ``site`` whose day begins two hours after sunrise now: van or large. Without a seed each differs."""
    random = Random(seed)
    make = Site.large if site == "large" else Site.van
    return GX(
        reactor, make(random, time=reactor.seconds(), portal_id=portal_id), random, password=password, speed=speed
    )
