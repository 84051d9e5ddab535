"""Endpoints that are done when an MQTT broker has accepted the login.

ClientService -> SessionEndpoint (MQTT) -> wrapClientTLS -> HostnameEndpoint
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from paho.mqtt.client import MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from victron_twin.gx.client import FrameClient
from victron_twin.gx.errors import ConnectTimeout, HandshakeTimeout, LinkError, LoginTimeout
from victron_twin.gx.session import Listener, Session

T = TypeVar("T")

#: Sent where none is configured: a GX ignores the name, but firmware before 3.31 refuses an empty one.
USERNAME = "victron-twin"

#: A GX delays a refusal by up to 6 s: never wait less than this for the answer to a login, in seconds.
LOGIN_PATIENCE = 10.0


@dataclass(frozen=True)
class Credentials:
    """What a login is made with; its repr does not show the password."""

    username: str = ""
    password: str | None = field(default=None, repr=False)


#: Asked for each attempt, so that a password is looked up again; what it raises fails the attempt.
Login = Callable[[], Credentials | Deferred[Credentials]]


@implementer(IStreamClientEndpoint)
class SessionEndpoint:
    """Connects to an MQTT broker over any stream; done when the broker accepted the login.

    Args:
        stream: TCP, or TLS over it, or anything else that carries bytes.
        login: asked for each attempt, so that a changed password file is read again; what it raises fails the attempt.
        client_id: a second client with the same makes the broker drop the first.
        keepalive: seconds between pings. paho drops a link whose answer is late even while data flows: 30 or more.
        timeout: seconds for TCP and TLS together; the answer to the login has as long again, and 10 at least.
        accepted: called with the session before the listener gets it; what it raises fails the attempt.
    """

    def __init__(
        self,
        clock: IReactorTime,
        stream: IStreamClientEndpoint,
        login: Login,
        *,
        client_id: str,
        keepalive: int = 30,
        timeout: float = 30.0,
        accepted: Callable[[Session], object] = lambda session: None,
    ) -> None:
        self._clock = clock
        self._stream = stream
        self._login = login
        self._client_id = client_id
        self._keepalive = keepalive
        self._timeout = timeout
        self._accepted = accepted

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Fires with what the factory built: a :class:`Listener`, which has its session by then."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, listeners: Any) -> Listener:
        asked = self._login()
        credentials = await asked if isinstance(asked, Deferred) else asked
        sessions = protocol.Factory.forProtocol(lambda: Session(self._clock, self._client(credentials)))
        sessions.noisy = False
        began = self._clock.seconds()
        connecting = cast("Deferred[Session]", self._stream.connect(sessions))
        session = await self._within(
            self._timeout, connecting, ConnectTimeout(f"no TCP connection in {self._timeout:g} s")
        )
        left = max(0.0, self._timeout - (self._clock.seconds() - began))
        await self._within(
            left, session.secured, HandshakeTimeout(f"TCP is connected, but no TLS handshake in {self._timeout:g} s")
        )
        patience = max(self._timeout, LOGIN_PATIENCE)
        await self._within(
            patience, session.accepted, LoginTimeout(f"connected, but no answer to the login in {patience:g} s")
        )
        try:
            self._accepted(session)
            listener: Listener | None = listeners.buildProtocol(session.getPeer())
            if listener is None:
                raise NoProtocol
            session.attach(listener)
        except BaseException:
            session.abortConnection()
            raise
        return listener

    def _client(self, credentials: Credentials) -> FrameClient:
        """A new one for each connection: a used one could send an old message again."""
        client = FrameClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTv311,
            reconnect_on_failure=False,
        )
        client.username_pw_set(credentials.username or USERNAME, credentials.password)
        client.connect_async("the stream", 1, self._keepalive)
        return client

    def _within(self, seconds: float, waiting: Deferred[T], error: LinkError) -> Deferred[T]:
        def late(_result: object, _seconds: float) -> T:
            raise error

        return waiting.addTimeout(seconds, self._clock, late)
