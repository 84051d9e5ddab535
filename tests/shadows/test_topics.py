"""Shadows over topics: the contract, and what is done where messages are late, lost, doubled, refused or rubbish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.asynchronous import wait
from tests.conftest import ExpectErrors
from tests.emulators.cloud import Cloud
from tests.emulators.iot_core import MemoryTransport
from victron_twin.shadows.backend import (
    Conflict,
    Delta,
    InvalidRequest,
    NotFound,
    ShadowBackend,
    ShadowError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from victron_twin.shadows.topics import TopicBackend
from victron_twin.shadows.transport import Transport

from .backend_contract import NAMES, BackendContract

THING, NAME = "van", "victron-system"
SHADOWS = f"$aws/things/{THING}/shadow/name"
FIVE = [
    f"{SHADOWS}/+/{each}"
    for each in ("update/accepted", "update/rejected", "update/delta", "get/accepted", "get/rejected")
]


def conforms(backend: TopicBackend, transport: MemoryTransport) -> tuple[ShadowBackend, Transport]:
    """Checked by mypy: the classes have the interfaces' form."""
    return backend, transport


class TestInMemory(BackendContract):
    has_classic = False

    @pytest.fixture
    def backend(self) -> Iterator[ShadowBackend]:
        clock = IReactorTime(reactor)
        backend = TopicBackend(MemoryTransport(clock, Cloud(clock)), clock, NAMES, Random(1))
        wait(backend.start())
        yield backend
        wait(backend.stop())


class Bench:
    """A backend on a simulated clock, joined to the cloud in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.cloud = Cloud(self.clock)
        self.transport = MemoryTransport(self.clock, self.cloud)
        self.service = self.transport.service
        self.backend = TopicBackend(self.transport, self.clock, [NAME, "victron-twin", "victron-gps"], Random(1))
        self.deltas: list[Delta] = []
        self.missed = 0
        self.backend.watch(self.deltas.append, self._missed)
        self.backend.start()

    def _missed(self) -> None:
        self.missed += 1

    def settle(self) -> None:
        """What takes no time is done."""
        for _ in range(20):
            self.clock.advance(0)

    def pass_(self, seconds: float, step: float = 0.5) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.settle()

    def now(self, deferred: Deferred[Any]) -> Any:
        """What comes of it without any time passing; raises its error."""
        self.settle()
        return result(deferred)

    def report(self, **values: Any) -> Deferred[Any]:
        return self.backend.update(THING, NAME, {"state": {"reported": values}})

    def desire(self, **values: Any) -> None:
        """Somebody else wants this."""
        self.cloud.update(THING, NAME, {"state": {"desired": values}, "clientToken": "somebody"})
        self.settle()


def result(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.backend.stop()
    bench.settle()
    left = bench.clock.getDelayedCalls()
    assert not left, f"timers are left: {left}"


def test_five_subscriptions_stand_before_the_first_request_of_a_thing(bench: Bench) -> None:
    bench.transport.online = False
    asked = bench.report(a=1)
    bench.settle()
    assert not bench.service.requests
    bench.transport.reconnect()
    assert bench.now(asked)["version"] == 1
    assert bench.transport.subscribed == FIVE
    bench.now(bench.report(a=2))
    bench.now(bench.backend.update("other", NAME, {"state": {"reported": {"a": 1}}}))
    assert len(bench.transport.subscribed) == 10


def test_subscriptions_that_are_refused_are_tried_again_with_the_next_request(bench: Bench) -> None:
    bench.transport.refused = True
    with pytest.raises(Unauthorized, match="policy"):
        bench.now(bench.report(a=1))
    bench.transport.refused = False
    assert bench.now(bench.report(a=1))["version"] == 1


def test_tokens_are_ours_on_the_way_and_the_callers_in_the_answer(bench: Bench) -> None:
    seen: list[Any] = []
    bench.cloud.listen(lambda topic, payload: seen.append(json.loads(payload)["clientToken"]))
    request = {"state": {"reported": {"a": 1}, "desired": {"a": 2}}, "clientToken": "mine"}
    answer = bench.now(bench.backend.update(THING, NAME, request))
    assert answer["clientToken"] == "mine"
    assert "clientToken" not in bench.now(bench.report(b=1))
    assert "clientToken" not in bench.now(bench.backend.get(THING, NAME))
    bench.desire(b=2)
    assert "mine" not in seen
    assert len(set(seen)) == 4
    assert [delta.client_token for delta in bench.deltas] == ["mine", "", "somebody"]


def test_another_clients_answers_are_not_taken_for_ours(bench: Bench) -> None:
    bench.now(bench.report(a=1))
    bench.service.delay = 1.0
    asked = bench.report(a=2)
    bench.settle()
    bench.cloud.update(THING, NAME, {"state": {"reported": {"b": 1}}, "clientToken": "theirs"})
    bench.cloud.update(THING, NAME, {"state": {"reported": {"b": 2}}})
    bench.settle()
    bench.pass_(1.5)
    assert result(asked)["version"] == 4


def test_no_more_than_eight_are_under_way_and_the_others_follow_in_order(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.delay = 1.0
    order: list[int] = []
    for number in range(20):
        bench.report(a=number).addCallback(lambda answer: order.append(answer["state"]["reported"]["a"]))
    bench.pass_(0.5)
    assert len(bench.service.requests) == 1 + 8
    bench.pass_(5)
    assert order == list(range(20))
    assert bench.service.most_under_way == 8


def test_an_answer_that_is_late_is_nobodys(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.delay = 11.0
    asked = bench.report(a=1)
    bench.pass_(10)
    with pytest.raises(Unavailable, match="no answer to the update of victron-system within 10 s"):
        result(asked)
    bench.service.delay = 0.0
    bench.pass_(2)
    assert bench.now(bench.report(a=2))["version"] == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (415, InvalidRequest),
        (429, Throttled),
        (500, ShadowError),
        (None, ShadowError),
    ],
)
def test_each_refusal_is_an_error_of_its_own(bench: Bench, code: int | None, error: type[ShadowError]) -> None:
    bench.now(bench.report(a=1))
    bench.service.silent = True
    bench.service.requests.clear()
    sent: list[bytes] = []
    publish = bench.transport.publish
    bench.transport.publish = lambda topic, payload: sent.append(payload) or publish(topic, payload)  # type: ignore
    asked = bench.report(a=2)
    bench.settle()
    body = {"code": code, "message": "because", "clientToken": json.loads(sent[0])["clientToken"]}
    bench.transport.deliver(f"{SHADOWS}/{NAME}/update/rejected", json.dumps(body).encode())
    with pytest.raises(error, match="because") as caught:
        result(asked)
    assert type(caught.value) is error


def test_too_many_requests_is_told_as_that(bench: Bench) -> None:
    bench.now(bench.report(a=1))
    bench.service.throttle = 1
    with pytest.raises(Throttled):
        bench.now(bench.report(a=2))
    assert bench.now(bench.report(a=2))["version"] == 2


def test_a_delete_is_subscribed_to_for_itself(bench: Bench) -> None:
    bench.now(bench.report(a=1))
    bench.service.delay = 1.0
    gone = bench.backend.delete(THING, NAME)
    bench.pass_(0.5)
    assert f"{SHADOWS}/{NAME}/delete/accepted" in bench.transport.filters
    bench.pass_(1)
    assert result(gone)["version"] == 2
    assert bench.transport.filters == set(FIVE)
    missing = bench.backend.delete(THING, NAME)
    bench.pass_(1.5)
    with pytest.raises(NotFound):
        result(missing)


def test_a_delete_whose_answers_cannot_be_subscribed_to(bench: Bench) -> None:
    bench.now(bench.report(a=1))
    bench.transport.online = False
    gone = bench.backend.delete(THING, NAME)
    bench.pass_(10)
    with pytest.raises(Unavailable):
        result(gone)
    bench.transport.reconnect()
    assert bench.now(bench.backend.delete(THING, NAME))["version"] == 2


def test_the_names_that_we_know_are_looked_for(bench: Bench) -> None:
    for name in "victron-twin", NAME, "unknown":
        bench.now(bench.backend.update(THING, name, {"state": {"reported": {"a": 1}}}))
    assert bench.now(bench.backend.named_shadows(THING)) == [NAME, "victron-twin"]
    bench.transport.online = False
    with pytest.raises(Unavailable):
        bench.now(bench.backend.named_shadows(THING))


def test_a_request_is_taken_by_value(bench: Bench) -> None:
    values = {"a": {"b": 1}}
    asked = bench.report(**values)
    values["a"]["b"] = 2
    bench.now(asked)
    assert bench.cloud.get(THING, NAME)["state"]["reported"] == {"a": {"b": 1}}


def test_a_request_that_the_transport_cannot_carry(bench: Bench) -> None:
    bench.transport.largest = 1000
    with pytest.raises(TooLarge, match="1000 can be sent"):
        bench.now(bench.report(a="x" * 1000))
    assert bench.now(bench.report(a="x" * 800))["version"] == 1


def test_whoever_waits_no_longer_frees_the_way(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.silent = True
    asked = [bench.report(a=number) for number in range(9)]
    bench.settle()
    for each in asked[:8]:
        each.cancel()
        with pytest.raises(CancelledError):
            result(each)
    bench.service.silent = False
    assert bench.now(asked[8])["version"] == 2


def test_deltas_that_were_seen_or_are_old_are_dropped(bench: Bench) -> None:
    bench.cloud.disorder = True
    bench.now(bench.report(a=0))
    for number in range(1, 30):
        bench.desire(a=number)
    bench.pass_(3)
    versions = [delta.version for delta in bench.deltas]
    assert versions == sorted(set(versions))
    assert bench.deltas[-1] == Delta(THING, NAME, {"a": 29}, 30, "somebody")


def test_deltas_of_a_shadow_that_was_made_anew_are_heard(bench: Bench) -> None:
    """The service forgets the version of a deleted shadow after two days."""
    for number in range(5):
        bench.desire(a=number)
    bench.now(bench.report(b=1))
    bench.cloud._shadows.clear()
    bench.now(bench.report(b=1))
    bench.desire(a=9)
    assert bench.deltas[-1] == Delta(THING, NAME, {"a": 9}, 2, "somebody")


def test_when_the_transport_subscribed_again_deltas_may_have_been_missed(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    assert bench.missed == 0
    bench.transport.reconnect()
    assert bench.missed == 1


def test_without_a_connection_requests_fail_at_once(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.transport.online = False
    with pytest.raises(Unavailable, match="not connected"):
        bench.now(bench.report(a=1))
    bench.transport.reconnect()
    assert bench.now(bench.report(a=1))["version"] == 2
    assert bench.transport.subscribed == FIVE, "made again by the transport alone"


def asks(bench: Bench) -> int:
    return bench.service.requests.count(f"{SHADOWS}/victron-twin/get")


def test_who_is_silent_for_five_minutes_is_asked(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.pass_(299)
    assert asks(bench) == 0
    bench.pass_(2)
    assert asks(bench) == 1
    bench.pass_(297)
    assert asks(bench) == 1, "the answer was something heard"
    assert bench.missed == 0
    assert bench.transport.subscribed == FIVE


def test_subscriptions_that_were_silently_lost_are_made_anew(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.transport.forget()
    bench.desire(a=1)
    bench.pass_(300)
    assert not bench.deltas
    bench.pass_(12)
    assert bench.transport.subscribed == FIVE * 2
    assert bench.missed == 1
    bench.desire(a=2)
    assert bench.deltas == [Delta(THING, NAME, {"a": 2}, 3, "somebody")]


def test_a_request_without_an_answer_is_reason_to_ask(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.transport.forget()
    asked = bench.report(a=1)
    bench.pass_(10)
    with pytest.raises(Unavailable):
        result(asked)
    bench.pass_(11)
    assert asks(bench) == 2
    assert bench.missed == 1
    assert bench.now(bench.report(a=2))["version"] == 3


def test_one_lost_answer_costs_one_question(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.lost = ["update/accepted"]
    asked = bench.report(a=1)
    bench.pass_(9)
    bench.service.lost = []
    bench.pass_(1)
    with pytest.raises(Unavailable):
        result(asked)
    assert bench.now(bench.report(a=2))["version"] == 3
    assert asks(bench) == 1
    assert bench.missed == 0
    assert bench.transport.subscribed == FIVE


def test_one_subscription_that_is_lost_among_others(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.transport.filters.discard(FIVE[0])
    for _ in range(2):
        bench.report(a=1).addErrback(lambda failure: failure.trap(Unavailable))
        bench.pass_(10.5)
    assert bench.missed == 1
    assert bench.now(bench.report(a=2))["version"] == 4


def test_a_cloud_that_is_away_for_long_is_asked_now_and_then_and_nothing_piles_up(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.silent = True
    bench.service.requests.clear()
    for _ in range(120):
        for number in range(10):
            bench.report(a=number).addErrback(lambda failure: failure.trap(Unavailable))
        bench.pass_(30)
    assert len(bench.service.requests) < 140
    assert bench.missed == 0
    bench.service.silent = False
    bench.pass_(30)
    assert bench.missed == 1
    assert bench.now(bench.report(a=99))["state"] == {"reported": {"a": 99}}


def test_a_link_that_comes_back_is_asked_at_once(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.silent = True
    bench.report(a=1).addErrback(lambda failure: failure.trap(Unavailable))
    bench.pass_(200)
    bench.service.silent = False
    bench.transport.reconnect()
    assert bench.now(bench.report(a=2))["state"] == {"reported": {"a": 2}}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{SHADOWS}/{NAME}/update/accepted", b"\xff\xfe"),
        (f"{SHADOWS}/{NAME}/update/accepted", b"[]"),
        (f"{SHADOWS}/{NAME}/update/accepted", b'{"clientToken": 5}'),
        (f"{SHADOWS}/{NAME}/update/accepted", b'{"clientToken": "x"}'),
        (f"{SHADOWS}/{NAME}/update/delta", b"{}"),
        (f"{SHADOWS}/{NAME}/update/delta", b'{"state": [], "version": 4}'),
        (f"{SHADOWS}/{NAME}/update/delta", b'{"state": {}, "version": "4"}'),
        ("$aws/things/other/shadow/name/x/update/delta", b'{"state": {}, "version": 4}'),
        ("something/else", b"{}"),
    ],
)
def test_rubbish_harms_nothing(bench: Bench, topic: str, payload: bytes) -> None:
    bench.now(bench.report(a=0))
    bench.transport.filters |= {"#", "$aws/#"}
    for _ in range(3):
        bench.transport.deliver(topic, payload)
    assert bench.now(bench.report(a=1))["version"] == 2
    assert not bench.deltas


def test_a_listener_that_fails_disturbs_nobody(bench: Bench, logged_errors: ExpectErrors) -> None:
    logged_errors("a listener to deltas failed")
    bench.now(bench.report(a=0))

    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    bench.backend.watch(fails, fails)
    late: list[Delta] = []
    bench.backend.watch(late.append)
    bench.desire(a=1)
    bench.transport.reconnect()
    assert len(late) == 1
    assert bench.now(bench.report(a=1))["version"] == 3


def test_what_is_under_way_at_the_stop_fails_and_it_can_start_again(bench: Bench) -> None:
    bench.now(bench.report(a=0))
    bench.service.silent = True
    asked = [bench.report(a=number) for number in range(12)]
    bench.settle()
    bench.backend.stop()
    for each in asked:
        with pytest.raises(Unavailable, match="stopped"):
            result(each)
    with pytest.raises(Unavailable, match="not open"):
        bench.now(bench.report(a=1))
    bench.service.silent = False
    bench.backend.start()
    assert bench.now(bench.report(a=1))["version"] == 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["ask", "ask", "ask", "silent", "heard", "forget", "reconnect", "offline", "lose", "desire"]
            ),
            st.sampled_from([0.0, 0.3, 2.0, 9.9, 40.0]),
        ),
        max_size=40,
    )
)
def test_whatever_happens_each_request_ends_once_with_its_own_answer(events: list[tuple[str, float]]) -> None:
    bench = Bench()
    ended: dict[int, Any] = {}
    asked = 0
    for event, seconds in events:
        if event == "ask":
            number, asked = asked, asked + 1
            began = bench.clock.seconds()

            def done(result: Any, number: int = number, began: float = began) -> None:
                assert number not in ended
                assert bench.clock.seconds() - began < 10.6  # the clock goes in steps
                ended[number] = result

            bench.report(n=number).addBoth(done)
        elif event in ("silent", "heard"):
            bench.service.silent = event == "silent"
        elif event == "forget":
            bench.transport.forget()
        elif event == "reconnect":
            bench.transport.reconnect()
        elif event == "offline":
            bench.transport.online = False
        elif event == "lose":
            bench.service.lost = [] if bench.service.lost else ["update/accepted"]
        else:
            bench.desire(n=-asked)
        bench.settle()
        if seconds:
            bench.pass_(seconds, step=min(seconds, 0.5))
    bench.pass_(11)
    assert ended.keys() == set(range(asked))
    for number, answer in ended.items():
        if isinstance(answer, Failure):
            assert isinstance(answer.value, Unavailable)
        else:
            assert answer["state"] == {"reported": {"n": number}}
    # When all is well again, so is the backend: a request or two that are not answered, a question, a pause.
    bench.service.silent, bench.service.lost = False, []
    bench.transport.reconnect()
    for _ in range(2):
        bench.report(n=asked).addErrback(lambda failure: failure.trap(Unavailable))
        bench.pass_(30)
    bench.now(bench.report(n=asked))
    bench.desire(n=asked + 1)
    assert bench.deltas[-1].state == {"n": asked + 1}
    bench.backend.stop()
    bench.settle()
    assert not bench.clock.getDelayedCalls()
