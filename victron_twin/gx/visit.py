"""A short stay on a GX's broker, which collects what is heard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from victron_twin.config import GXConfig
from victron_twin.twin.topics import COMPLETED, Notice, Topic, parse

from .errors import LinkError
from .pins import Pins
from .session import GOODBYE, Session
from .trust import Trust


class Visit:
    """One look at a GX: how it is reached, and what was seen so far. It is a session's listener."""

    def __init__(self, reactor: Any, gx: GXConfig, pins: Pins) -> None:
        self.reactor = reactor
        self.gx = gx
        self.pins = pins
        self.trust = Trust.parse(gx.trust)
        self.refused: Exception | None = None  #: why there is no session, where that came after the TLS handshake
        self.portals: list[str] = []  #: the portal ids that were seen
        self.portal = ""
        self.messages = 0  #: those that were not kept by the broker from before
        self.values: dict[tuple[str, str, str], bytes] = {}  #: payloads by service, instance and path
        self.completed: list[bytes] = []
        self._session: Session | None = None
        self._waiting: Deferred[None] | None = None

    @property
    def session(self) -> Session:
        """Raises LinkError where there is none any more."""
        if self._session is None:
            raise LinkError("the GX closed the connection")
        return self._session

    async def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until messages have made the condition true, or the time is over. Raises LinkError without a link."""
        deadline = self.reactor.seconds() + seconds
        while not condition() and self.session and self.reactor.seconds() < deadline:
            self._waiting = Deferred()
            self._waiting.addTimeout(deadline - self.reactor.seconds(), self.reactor, lambda _result, _seconds: None)
            await self._waiting

    async def leave(self) -> None:
        """Say goodbye."""
        if self._session is not None:
            self._session.loseConnection()
            with suppress(LinkError):
                await self.until(lambda: False, GOODBYE + 1.0)

    # what the session calls

    def makeConnection(self, session: Session) -> None:
        self._session = session

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
        at = parse(topic)
        self.messages += not retained
        if isinstance(at, Notice) and at.name == COMPLETED:
            self.completed.append(payload)
        elif isinstance(at, Topic):
            if at.portal not in self.portals:
                self.portals.append(at.portal)
            if not retained:
                self.values[at.service, at.instance, at.path] = payload
        self._awake()

    def connectionLost(self, reason: Failure) -> None:
        self._session = None
        self._awake()

    def _awake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)
