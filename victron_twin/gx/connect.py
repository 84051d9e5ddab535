"""The whole way to one GX: name, TCP, TLS with its trust, login."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.config import GXConfig, Secret, read_password
from victron_twin.gx.backoff import Backoff
from victron_twin.gx.endpoint import Credentials, Login, SessionEndpoint
from victron_twin.gx.errors import ConnectTimeout, LinkError, Unreachable, Unresolvable
from victron_twin.gx.pins import Pins
from victron_twin.gx.session import Session
from victron_twin.gx.trust import Trust, fingerprint, policy


def gx_endpoint(
    reactor: Any,
    gx: GXConfig,
    pins: Pins,
    backoff: Backoff,
    client_id: str,
    secret: Ask | None = None,
) -> IStreamClientEndpoint:
    """The endpoint of a configured GX, whose failures are told to the backoff.

    ``secret(arn, refresh)`` gives a password of Secrets Manager; None: there is none here.
    """
    trust = Trust.parse(gx.trust)
    ask = login(gx, secret, lambda: backoff.refused)
    endpoint = GXEndpoint(reactor, gx.host, gx.port, trust, pins, ask, client_id, gx.connect_timeout)
    return backoff.watch(endpoint)


#: A password by its ARN; True: past any copy, because the one before was refused.
Ask = Callable[[str, bool], Deferred[Secret]]


def login(gx: GXConfig, secret: Ask | None = None, refused: Callable[[], bool] = lambda: False) -> Login:
    """Asked at each attempt, so that a password file is read again, and a secret past the nucleus's copy."""

    def ask() -> Credentials | Deferred[Credentials]:
        if gx.password_secret is not None:
            if secret is None:
                raise LinkError("gx.password_secret needs Greengrass: use gx.password_file")
            return secret(gx.password_secret, refused()).addCallbacks(
                lambda found: Credentials(gx.username or "", found.reveal()), _no_secret
            )
        password = gx.password
        if gx.password_file is not None:
            try:
                password = read_password(gx.password_file)
            except ValueError as error:
                raise LinkError(f"gx.password_file: {error}") from None
        return Credentials(gx.username or "", password.reveal() if password is not None else None)

    return ask


def _no_secret(failure: Failure) -> Credentials:
    raise LinkError(f"gx.password_secret: {failure.getErrorMessage()}")


@implementer(IStreamClientEndpoint)
class GXEndpoint:
    """Done when the GX accepted the login; its certificate is pinned by then, if the trust is ``tofu``.

    Name, pins, authorities and login are looked up again at each attempt.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        trust: Trust,
        pins: Pins,
        login: Login,
        client_id: str,
        connect_timeout: float = 30.0,
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._trust = trust
        self._pins = pins
        self._login = login
        self._client_id = client_id
        self._timeout = connect_timeout

    def __repr__(self) -> str:
        return f"<GX {self._host}:{self._port}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Fires with what the factory built; fails with a LinkError."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, listeners: IProtocolFactory) -> Any:
        # One second more for Twisted's own time-out, so that ours, which says more, comes first.
        stream: IStreamClientEndpoint = HostnameEndpoint(self._reactor, self._host, self._port, self._timeout + 1)
        if self._trust.kind != "plaintext":
            stream = wrapClientTLS(policy(self._trust, self._host, self._port, self._pins), stream)
        session = SessionEndpoint(
            self._reactor,
            stream,
            self._login,
            client_id=self._client_id,
            timeout=self._timeout,
            accepted=self._accepted,
        )
        try:
            return await session.connect(listeners)
        except DNSLookupError:
            raise Unresolvable(f"{self._host} does not resolve: set VICTRON_HOST=<ip>") from None
        except ConnectTimeout as error:
            raise ConnectTimeout(f"{error}: is VICTRON_HOST right, and the GX switched on?") from None
        except ConnectError as error:
            why = os.strerror(error.osError).lower() if isinstance(error.osError, int) else str(error)
            raise Unreachable(
                f"no connection on port {self._port} ({why}): is MQTT on LAN switched on at the GX, and are "
                "VICTRON_HOST and VICTRON_PORT right?"
            ) from None

    def _accepted(self, session: Session) -> None:
        """A login was accepted: with trust on first use, the certificate is the GX's from now on."""
        certificate = session.peer_certificate
        if self._trust.kind == "tofu" and certificate and self._pins.get(self._host, self._port) is None:
            pin = fingerprint(certificate)
            self._pins.remember(self._host, self._port, pin)
            self._log.info(
                "{host}:{port} is trusted by its certificate {how}: SHA-256 {pin}",
                host=self._host,
                port=self._port,
                how=f"from now on, kept in {self._pins.where}" if self._pins.lasting else "for this run",
                pin=pin,
            )
