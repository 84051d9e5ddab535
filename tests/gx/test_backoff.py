"""How often a GX is dialled, whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.gx.wires import ACCEPTED, Recorder, Recorders, Wires, outcome, refused
from victron_twin.gx.backoff import JITTER, Backoff
from victron_twin.gx.endpoint import Credentials, SessionEndpoint
from victron_twin.gx.errors import CertificateChanged, LinkError, LoginRefused, PinStoreError, Refused

LOST, REFUSED, CHANGED = ConnectionDone(), LoginRefused(5), CertificateChanged("another")


def waits(errors: list[Exception], random: Random | None = None) -> list[float]:
    """The wait after each of these."""
    backoff = Backoff(random or Random(1))
    out = []
    for error in errors:
        backoff.failed(Failure(error))
        out.append(backoff.delay())
    return out


class Latest(Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LOST, [1, 2, 4, 8, 16, 32, 60, 60]),
        (ConnectionRefusedError(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (Refused(3), [1, 2, 4, 8, 16, 32, 60, 60]),
        (PinStoreError("x"), [1, 2, 4, 8, 16, 32, 60, 60]),
        (LoginRefused(4), [30, 60, 120, 240, 300, 300]),
        (REFUSED, [30, 60, 120, 240, 300, 300]),
        (CHANGED, [60, 120, 240, 300, 300]),
    ],
)
def test_waits_get_longer_up_to_a_cap(error: Exception, expected: list[float]) -> None:
    assert waits([error] * len(expected), Latest()) == expected


def test_each_kind_begins_anew() -> None:
    assert waits([LOST, LOST, LOST, REFUSED, REFUSED, LOST, CHANGED], Latest()) == [1, 2, 4, 30, 60, 1, 60]


@given(st.integers(), st.lists(st.sampled_from([LOST, REFUSED, CHANGED]), min_size=1, max_size=40))
def test_chance_only_makes_them_shorter_and_a_little(seed: int, errors: list[Exception]) -> None:
    for wait, longest in zip(waits(errors, Random(seed)), waits(errors, Latest()), strict=True):
        assert longest * (1 - JITTER) <= wait <= longest


def test_a_long_time_of_failures_is_no_problem() -> None:
    assert waits([LOST] * 5000, Latest())[-1] == 60


def test_counts_and_tells_until_healthy() -> None:
    backoff = Backoff(Latest())
    assert (backoff.failures, backoff.last_failure) == (0, None)
    backoff.failed(Failure(LinkError("first")))
    backoff.failed(Failure(LinkError("second")))
    assert (backoff.failures, backoff.last_failure) == (2, "second")
    assert backoff.delay() == 2
    backoff.healthy()
    assert (backoff.failures, backoff.last_failure) == (0, None)
    backoff.failed(Failure(LinkError("third")))
    assert backoff.delay() == 1


@implementer(IStreamClientEndpoint)
class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return fail(self.error)


def test_watches_an_endpoint_but_not_our_own_cancelling() -> None:
    backoff = Backoff(Latest())
    assert outcome(backoff.watch(Failing(REFUSED)).connect(Recorders())) == [REFUSED]
    assert backoff.failures == 1
    outcome(backoff.watch(Failing(CancelledError())).connect(Recorders()))
    assert backoff.failures == 1


def dials(peer: Callable[[Clock, Any], None], seconds: int, healthy_after: float | None = None) -> list[float]:
    """When a service dials a peer, within this time."""
    clock, times = Clock(), []
    backoff = Backoff(Random(7))

    class Telling(Recorder):
        def connectionLost(self, reason: Failure) -> None:
            backoff.failed(reason)

    class Dialled(Wires):
        def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
            times.append(clock.seconds())
            connecting = super().connect(factory)
            clock.callLater(0.1, peer, clock, self.wire)
            return connecting

    endpoint = SessionEndpoint(clock, Dialled(clock), Credentials, client_id="twin")
    service = ClientService(
        backoff.watch(endpoint), Recorders(Telling), retryPolicy=lambda _: backoff.delay(), clock=clock
    )
    if healthy_after is not None:
        clock.callLater(healthy_after, backoff.healthy)
    service.startService()
    for _ in range(seconds * 4):
        clock.advance(0.25)
    service.stopService()
    clock.advance(1)
    return times


def accept_and_drop(clock: Clock, wire: Any) -> None:
    wire.protocol.dataReceived(ACCEPTED)
    clock.callLater(0.1, wire.end, ConnectionDone())


def test_a_broker_that_accepts_and_drops_is_not_hammered() -> None:
    assert len(dials(accept_and_drop, 60)) <= 8


def test_a_login_that_is_refused_stays_far_below_the_limit_of_a_gx() -> None:
    times = dials(lambda clock, wire: wire.protocol.dataReceived(refused(5)), 24 * 3600)
    assert times[1] >= 20
    assert len(times) < 450


def test_health_begins_anew() -> None:
    times = dials(accept_and_drop, 400, healthy_after=300.0)
    after = [time for time in times if time > 300]
    assert after[2] - after[1] < 3  # the second wait again, and not the longest
