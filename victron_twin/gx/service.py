"""One GX: the connection kept up, kept alive, and its messages brought to the twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from twisted.application.internet import ClientService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.twin.twin import Twin

from .backoff import Backoff
from .errors import LinkError, LoginRefused
from .picture import Effects, new_picture
from .rounds import Rounds
from .session import Session

#: The GX publishes for 60 s after a keepalive; 62 s is too late, in s.
KEEPALIVE = 27.0
#: For so long the GX publishes after it has heard a keepalive, in s.
ALIVE = 60.0
#: What is read with each keepalive, because that has no answer: every GX has it, and it never moves by itself.
ANSWERED = "platform/0/Firmware/Installed/Version"
#: Neither heartbeat (each 3 s) nor value for this long: the GX is silent, in s.
SILENCE = 15.0
#: Silent for this long on an open connection: it is half open, or the broker is stuck, in s.
HALF_OPEN = 40.0
#: A minute of liveness forgets the failures before it, in s.
HEALTHY = 60.0
#: By then a GX has told its portal id and answered the first keepalive, in s.
FIRST_ANSWER = 10.0

SUPPRESS = b'{"keepalive-options":["suppress-republish"]}'


@dataclass(slots=True)
class LinkStatus:
    """What is known of the link, for /health, victron-twin and the page. Times are epoch seconds."""

    host: str
    connected: bool = False
    state: str = "unknown"
    attempts: int = 0
    messages: int = 0
    last_received: float | None = None
    refused: bool = False
    problem: str = ""

    def text(self) -> str:
        """The state in one word for victron-twin."""
        return self.state if self.connected else "refused" if self.refused else "connecting"


class _Listener:
    """One session's messages; what the session takes for its protocol."""

    def __init__(self, service: GXService) -> None:
        self._service = service

    def makeConnection(self, session: Session) -> None:
        self._service.accepted(session)

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
        self._service.received(topic, payload)

    def oversized(self, topic: bytes, size: int) -> None:
        self._service.oversized(topic, size)

    def pieceReceived(self) -> None:
        self._service.piece()

    def connectionLost(self, reason: Failure) -> None:
        self._service.lost(reason)


class _Listeners(Factory):
    noisy = False

    def __init__(self, service: GXService) -> None:
        self._service = service

    def buildProtocol(self, addr: Any) -> Any:
        return _Listener(self._service)


class GXService(MultiService):
    """Keeps one GX connected and alive, and feeds its twin.

    ``fatal`` is called with a message when ``max_retries`` connections in a row have failed.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        twin: Twin,
        backoff: Backoff,
        *,
        host: str,
        portal_id: str | None = None,
        max_retries: int | None = None,
        fatal: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.twin = twin
        self.status = LinkStatus(host)
        self._clock = clock
        self._backoff = backoff
        self._configured = portal_id
        self._max_retries = max_retries
        self._fatal = fatal
        self._session: Session | None = None
        self._rounds = Rounds(clock, twin, self._keep_alive, self._trust)
        self._effects = Effects(self._rounds.begin, self._go_dark)
        self._picture = new_picture(self._effects)
        self._client = ClientService(
            _Counted(endpoint, self.status), _Listeners(self), retryPolicy=self._retry, clock=clock
        )
        self._client.setServiceParent(self)
        self._alive = LoopingCall(self._keep_alive)
        self._watch = LoopingCall(self._look)
        self._alive.clock = self._watch.clock = clock
        self._last = clock.seconds()
        self._connected_at = 0.0
        self._asked = 0.0  # when the last keepalive was sent
        self._alive_until: float | None = None  # as far as the GX has shown that it heard one
        self._live_since: float | None = None
        self._notices: dict[bytes, Callable[[bytes], None]] = {}
        self._wrong = ""
        self._useless = ""  # why we ended the connection ourselves
        self._told = ""
        self._known: list[Callable[[str], None]] = []
        self._listening: list[Deferred[None]] = []
        self.offset: float | None = None  #: our clock minus the GX's heartbeat, in s

    def when_known(self, call: Callable[[str], None]) -> None:
        """Call once with the portal id, when it is known."""
        if self.twin.portal:
            call(self.twin.portal)
        else:
            self._known.append(call)

    @property
    def live(self) -> bool:
        """Whether the GX is there: connected, publishing, its picture complete."""
        return self._session is not None and self._effects.state == "live"

    def publish(self, kind: str, service: str, instance: str, path: str, payload: bytes) -> bool:
        """Send a write (``W``) or a read (``R``) of a D-Bus path; false where there is no link to send it on."""
        if self._session is None or self.twin.portal is None:
            return False
        self._session.publish(f"{kind}/{self.twin.portal}/{service}/{instance}{path}", payload)
        return True

    def heard(self) -> Deferred[None]:
        """Fires once, when more was heard of the GX than until now and the twin has it all. May be cancelled."""
        heard: Deferred[None] = Deferred()
        self._listening.append(heard)
        return heard

    # the service

    def startService(self) -> None:
        self._last = self._clock.seconds()
        super().startService()
        self._watch.start(1.0, now=False).addErrback(self._stopped, "the watch of the GX")

    def stopService(self) -> Deferred[None]:
        for call in (self._watch, self._alive):
            if call.running:
                call.stop()
        self._rounds.end()
        stopped: Deferred[None] = super().stopService()
        return stopped

    def _retry(self, failures: int) -> float:
        """The wait before the next attempt; tells what went wrong, once for each kind."""
        if self._max_retries is not None and self._backoff.failures > self._max_retries:
            self._fatal(
                f"no connection to the GX at {self.status.host} after {self._max_retries} retries "
                f"(gx.max_retries): {self._backoff.last_failure}"
            )
        self._tell(self._backoff.last_failure or "")
        return self._backoff.delay()

    def _stopped(self, failure: Failure, what: str) -> None:
        self._log.failure("{what} has stopped", failure=failure, what=what)
        self._fatal(f"{what} has stopped: {failure.getErrorMessage()}")

    def _tell(self, problem: str) -> None:
        """Show a problem, and log it when it is another than the one before."""
        self.status.problem = problem
        if problem != self._told:
            self._told = problem
            if problem:
                self._log.error("{host}: {problem}", host=self.status.host, problem=problem)
            else:
                self._log.info("{host}: all is well again.", host=self.status.host)

    # the session

    def accepted(self, session: Session) -> None:
        self._session = session
        self._last = self._connected_at = self._clock.seconds()
        self.status.connected = True
        self.status.problem = ""
        if not self._told:  # else it is told when all is well again
            self._log.info("Connected to the GX at {host}", host=self.status.host)
        self._notices, self._wrong, self._useless, self._alive_until = {}, "", "", None
        session.subscribe("N/+/system/0/Serial").addErrback(self._refused)
        if self._configured or self.twin.portal:
            self._open(self._configured or self.twin.portal or "")

    def _refused(self, failure: Failure) -> None:
        if self._session is not None:
            self._give_up(self._session, f"the GX refused a subscription: {failure.getErrorMessage()}")

    def _give_up(self, session: Session, why: str) -> None:
        """End a connection that is of no use."""
        self._useless = why
        self._tell(why)
        session.abortConnection()

    def _open(self, portal: str) -> None:
        """The portal id is known: subscribe and wake the GX."""
        session = self._session
        if session is None:
            return
        self.twin.portal = portal
        known, self._known = self._known, []
        for call in known:
            call(portal)
        prefix = f"N/{portal}/".encode()
        self._notices = {
            prefix + b"heartbeat": self._heartbeat,
            prefix + b"full_publish_completed": self._rounds.completed,
            prefix + b"keepalive": lambda payload: None,
            prefix + ANSWERED.encode(): self._answered,
        }
        session.subscribe(f"N/{portal}/#").addErrback(self._refused)
        self._picture.connected()
        self.status.state = self._effects.state
        if self._alive.running:
            self._alive.stop()
        self._alive.start(KEEPALIVE, now=False).addErrback(self._stopped, "the keepalive of the GX")

    def received(self, topic: bytes, payload: bytes) -> None:
        """One message; nearly all of them are values of devices."""
        self._last = now = self._clock.seconds()
        self.status.messages += 1
        if self._live_since is None:
            self._begin_live(now)
        notice = self._notices.get(topic)
        if notice is not None:
            notice(payload)
            return
        if topic.endswith(b"/system/0/Serial"):
            self._serial(topic.split(b"/")[1].decode("utf-8", "replace"))
        self.twin.receive(topic, payload, now)

    def oversized(self, topic: bytes, size: int) -> None:
        """A message whose payload was passed over."""
        self._last = now = self._clock.seconds()
        self.twin.oversized(topic, size, now)

    def piece(self) -> None:
        """The messages of one piece of data have been received."""
        if self._listening:
            listening, self._listening = self._listening, []
            for heard in listening:
                heard.callback(None)

    def lost(self, reason: Failure) -> None:
        self._session = None
        self.status.connected = False
        self._live_since = None
        if self._alive.running:
            self._alive.stop()
        self._rounds.end()
        self._picture.lost()
        self.status.state = self._effects.state
        if self.running:
            why = self._useless or f"the connection was lost: {reason.getErrorMessage()}"
            self._backoff.failed(Failure(LinkError(why)))

    def _serial(self, portal: str) -> None:
        """A retained ``N/<portal id>/system/0/Serial``: who this GX is."""
        if self._configured is None and portal != self.twin.portal:
            self._log.info("The GX at {host} has the portal id {portal}", host=self.status.host, portal=portal)
            self._open(portal)
        elif self._configured not in (None, portal):
            self._wrong = (
                f"gx.portal_id is {self._configured}, but the GX there has {portal}: "
                f"set VICTRON_VRM_ID={portal}, or leave it out"
            )
            self._tell(self._wrong)

    # liveness

    def _keep_alive(self, options: bytes = SUPPRESS) -> None:
        if self._session is not None and self.twin.portal:
            self._asked = self._clock.seconds()
            self._session.publish(f"R/{self.twin.portal}/keepalive", options)
            self._session.publish(f"R/{self.twin.portal}/{ANSWERED}", b"")

    def _answered(self, payload: bytes) -> None:
        """The GX has heard the last keepalive. Where it may not have heard one in time before, it published nothing
        for a while, and does not say what it left out: ask for everything."""
        self.twin.receive(f"N/{self.twin.portal}/{ANSWERED}".encode(), payload, self._last)
        lapsed = self._alive_until is not None and self._asked > self._alive_until
        self._alive_until = self._asked + ALIVE
        if lapsed and self.live:
            self._rounds.begin()

    def _begin_live(self, now: float) -> None:
        self._live_since = now
        self._picture.heard()
        self.status.state = self._effects.state

    def _heartbeat(self, payload: bytes) -> None:
        try:
            self.offset = self._clock.seconds() - float(orjson.loads(payload)["value"])
        except (ValueError, TypeError, KeyError):
            self.offset = None

    def _look(self) -> None:
        """Each second: has the GX fallen silent, or been well for long enough to forget its failures?"""
        now = self._clock.seconds()
        quiet = now - self._last
        if quiet >= SILENCE:
            self._live_since = None
            self._picture.silence()
            if self._session is not None:
                self._tell(self._why_silent())
                if quiet >= HALF_OPEN and not self._wrong:  # a GX with another portal id is there, and stays it
                    self._last = now
                    self._give_up(self._session, self._why_silent())
        elif self._session is not None:
            if now - self._connected_at >= FIRST_ANSWER and self.twin.portal is None:
                self._tell(self._why_silent())
            elif self._live_since is not None and now - self._live_since >= HEALTHY:
                self._backoff.healthy()
        self.status.last_received = self._last if self._live_since is not None else self.status.last_received
        self.status.state = self._effects.state

    def _why_silent(self) -> str:
        if self._wrong:
            return self._wrong
        if self.twin.portal is None:
            return "the GX does not tell its portal id (no retained N/+/system/0/Serial): set VICTRON_VRM_ID"
        if self._configured and not self._rounds.brought_something:
            return f"nothing is published under the portal id {self._configured}: is VICTRON_VRM_ID right?"
        return f"the GX is silent: neither heartbeat nor value for {SILENCE:.0f} s, the keepalive is not answered"

    def _go_dark(self) -> None:
        self.twin.silent(self._clock.seconds())

    def _trust(self) -> None:
        self._picture.trusted()
        self.status.state = self._effects.state
        self._tell("")


@implementer(IStreamClientEndpoint)
class _Counted:
    """An endpoint that counts the attempts on it, and knows whether the last login was refused."""

    def __init__(self, endpoint: IStreamClientEndpoint, status: LinkStatus) -> None:
        self._endpoint = endpoint
        self._status = status

    def __repr__(self) -> str:
        return f"the GX at {self._status.host}"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        self._status.attempts += 1
        return self._endpoint.connect(protocolFactory).addCallbacks(self._accepted, self._failed)

    def _accepted(self, listener: Any) -> Any:
        self._status.refused = False
        return listener

    def _failed(self, failure: Failure) -> Failure:
        self._status.refused = failure.check(LoginRefused) is not None
        return failure
