"""How long to wait before the next attempt, from what became of the ones before."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.gx.errors import CertificateRejected, LoginRefused


@dataclass(frozen=True, slots=True)
class Pace:
    """Waits in seconds: the first, doubled at each further failure of the kind, up to the longest."""

    first: float
    longest: float


#: A GX allows 20 logins at once, then one a second, and 150 different wrong passwords a day: nowhere near.
REFUSED = Pace(30.0, 300.0)
#: Only a person can mend this.
REJECTED = Pace(60.0, 300.0)
ANYTHING = Pace(1.0, 60.0)

#: The part of a wait that is left to chance, so that clients of one GX do not all come back at once.
JITTER = 0.25


class Backoff:
    """What the endpoint and the service of one GX share: failures to connect, and connections that did not last.

    A broker that accepts and drops is backed off from like one that is not there: being connected forgets nothing,
    only :meth:`healthy` does.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self.failures = 0  #: one after another, since the link was last healthy
        self.last_failure: str | None = None  #: its text
        self._pace = ANYTHING
        self._streak = 0  # failures of that pace, one after another

    @property
    def refused(self) -> bool:
        """Whether the last failure was a refused login."""
        return self._pace is REFUSED and self._streak > 0

    def failed(self, failure: Failure) -> None:
        """An attempt failed, or a connection was lost."""
        pace = ANYTHING
        if failure.check(LoginRefused):
            pace = REFUSED
        elif failure.check(CertificateRejected):
            pace = REJECTED
        self._streak = self._streak + 1 if pace == self._pace else 1
        self._pace = pace
        self.failures += 1
        self.last_failure = failure.getErrorMessage()

    def healthy(self) -> None:
        """The link has been alive for long enough to forget what was before."""
        self.failures = self._streak = 0
        self.last_failure = None

    def delay(self) -> float:
        """Seconds until the next attempt."""
        doublings = min(max(self._streak - 1, 0), 16)
        wait = min(self._pace.first * 2.0**doublings, self._pace.longest)
        return wait * (1.0 - JITTER * self._random.random())

    def watch(self, endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
        """The same endpoint, whose failures to connect are told here."""
        return _Watched(self, endpoint)


@implementer(IStreamClientEndpoint)
class _Watched:
    def __init__(self, backoff: Backoff, endpoint: IStreamClientEndpoint) -> None:
        self._backoff = backoff
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return repr(self._endpoint)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._endpoint.connect(protocolFactory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if not failure.check(CancelledError, ConnectingCancelledError):  # that was ourselves, at the end
            self._backoff.failed(failure)
        return failure
