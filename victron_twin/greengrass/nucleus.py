"""The link to the Greengrass nucleus over its IPC socket: calls and subscriptions that outlive connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .calls import Calls
from .errors import IpcError, Problem
from .link import Effects, new_link
from .sdk import Client, Line, Sdk
from .subscription import Subscription
from .waiters import Waiters

__all__ = ["Nucleus", "Subscription"]

#: Seconds until the next attempt: the first wait, doubled up to the longest. The socket is on this machine, and within
#: ``REFUSED_WITHIN`` there have to be ``REFUSED`` attempts whatever was before.
FIRST_WAIT, LONGEST_WAIT = 1.0, 5.0
#: A connection that lasted so long makes the failures before it forgotten, in s.
HEALTHY = 30.0
#: The part of a wait that is left to chance.
JITTER = 0.25
#: A token that is refused is seldom said to be: the nucleus accepts the connection and closes it before the
#: acknowledgement. So often within so many seconds, and it is that.
REFUSED, REFUSED_WITHIN = 5, 30.0
#: A connection may take so long to close at the stop, in s.
GOODBYE = 1.0


class Nucleus(Service):
    """Calls operations of the nucleus by the names of the SDK.

    ``reactor`` is the real one: the SDK has a thread, and hands over with ``callFromThread``. ``fatal`` is called once
    with a message where the nucleus refuses the token: only a restart of the component gets a new one. A nucleus that
    is not there, or does not answer, is tried for ever. At most ``calls`` are in flight, and each ends within
    ``timeout`` seconds, the wait for its turn included.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        socket: str,
        token: str,
        fatal: Callable[[str], None],
        *,
        calls: int = 32,
        timeout: float = 10.0,
        random: Random | None = None,
    ) -> None:
        self._reactor = reactor
        self._socket = socket
        self._fatal = fatal
        self._timeout = timeout
        self._random = random or Random()
        self._sdk = Sdk(reactor, socket, token)
        self._calls = Calls(reactor, self._sdk.hand_over, calls, timeout, self._stalled)
        self._effects = Effects(self._dial, self._attach, self._detach, self._wait, self._hang_up)
        self._link = new_link(self._effects)
        self._line: Line | None = None
        self._client: Client | None = None
        self._timer: IDelayedCall | None = None  # to the acknowledgement, or to the next attempt
        self._failures = 0  # one after another, connections that did not last among them
        self._since = 0.0  # when the connection was acknowledged
        self._problem = ""  # why, as it was logged
        self._refusals: deque[float] = deque(maxlen=REFUSED)
        self._refused = False
        self._subscriptions: list[Subscription] = []
        self._hoping = Waiters()
        self._closed: Deferred[None] = succeed(None)

    @property
    def connected(self) -> bool:
        """Calls can be made."""
        return self._client is not None

    def when_connected(self) -> Deferred[None]:
        """Fires at once where there is a connection, else with the next one; with an IpcError at the stop."""
        if self.connected:
            return succeed(None)
        return self._hoping.wait()

    def call(self, operation: str, **arguments: Any) -> Deferred[Any]:
        """``call("get_thing_shadow", thing_name=..., shadow_name=...)``: the SDK's response. Fails with IpcError only.

        Without a connection it fails at once (UNREACHABLE).
        """
        client = self._client
        if client is None:
            return fail(IpcError(Problem.UNREACHABLE, self._away()))
        return self._calls.begin(lambda: client.call(operation, arguments))

    def subscribe(
        self, operation: str, on_event: Callable[[Any], None], on_again: Callable[[], None], **arguments: Any
    ) -> Subscription:
        """``subscribe("subscribe_to_topic", ..., topic=...)``: each event of the stream in order, in the SDK's form.

        It can be made before there is a connection. ``on_again`` is called when the stream is open again after it
        was lost: events may have been missed.
        """
        subscription = Subscription(
            self._reactor, self._calls, operation, arguments, on_event, on_again, self._subscriptions.remove
        )
        self._subscriptions.append(subscription)
        if self._client is not None:
            subscription.attach(self._client)
        return subscription

    def startService(self) -> None:
        """Import the SDK, start its thread and connect."""
        super().startService()
        self._refused = False
        self._refusals.clear()
        self._sdk.open()
        self._link.start()

    def stopService(self) -> Deferred[None]:
        """Hang up; whatever is under way fails. Who makes calls at the end is to be stopped first."""
        super().stopService()
        self._link.stop()
        self._sdk.close()
        return self._closed

    # What the machine brings about.

    def _dial(self) -> None:
        self._timer = self._reactor.callLater(self._timeout, self._no_answer)
        self._line = self._sdk.dial(self._link.acknowledged, self._ended)

    def _attach(self) -> None:
        assert self._line is not None
        self._cancel_timer()
        self._client = self._line.client()
        self._since, self._problem = self._reactor.seconds(), ""
        self._refusals.clear()
        self._log.info("connected to the nucleus")
        for subscription in list(self._subscriptions):  # before anybody asks for what they would tell changes of
            subscription.attach(self._client)
        self._hoping.fire()

    def _detach(self) -> None:
        self._client = None
        if self._reactor.seconds() - self._since >= HEALTHY:
            self._failures = 0
        for subscription in list(self._subscriptions):
            subscription.detach()
        self._calls.lost(self._away())

    def _wait(self) -> None:
        wait = min(FIRST_WAIT * 2.0 ** min(self._failures, 16), LONGEST_WAIT)
        self._failures += 1
        self._timer = self._reactor.callLater(wait * (1.0 - JITTER * self._random.random()), self._link.due)

    def _hang_up(self) -> None:
        self._cancel_timer()
        if self._line is not None:
            line, self._line = self._line, None
            self._closed = line.close().addTimeout(GOODBYE, self._reactor).addErrback(self._left_open)
        self._hoping.fail(IpcError(Problem.UNREACHABLE, "the link to the nucleus was closed"))

    # What happens to a connection.

    def _ended(self, reason: str) -> None:
        """The nucleus, or its absence, ended it."""
        line, self._line = self._line, None
        if line is not None and line.greeted and not self.connected:
            self._refusals.append(self._reactor.seconds())
        self._over(reason)

    def _no_answer(self) -> None:
        self._drop(f"no acknowledgement within {self._timeout:.0f} s")

    def _stalled(self) -> None:
        self._drop("it has stopped answering")

    def _drop(self, reason: str) -> None:
        """It is still there, and of no use."""
        if self._line is not None:
            line, self._line = self._line, None
            line.close()
            self._over(reason)

    def _over(self, reason: str) -> None:
        self._cancel_timer()
        if reason != self._problem:
            self._problem = reason
            self._log.warn("{away}; trying again", away=self._away())
        self._link.ended()
        seconds = self._reactor.seconds() - self._refusals[0] if len(self._refusals) == REFUSED else REFUSED_WITHIN
        if seconds < REFUSED_WITHIN and not self._refused:
            self._refused = True
            self._cancel_timer()
            self._fatal(
                f"the nucleus at {self._socket} refuses the token of this process (SVCUID): {REFUSED} connections "
                f"were closed before they were acknowledged; the component has to be restarted to get a new one"
            )

    def _away(self) -> str:
        return f"the nucleus cannot be reached at {self._socket}: {self._problem or 'not connected yet'}"

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _left_open(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self._log.warn("the connection to the nucleus did not close in time")
