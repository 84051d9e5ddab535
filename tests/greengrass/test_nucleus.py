"""The link to the nucleus, with the real SDK against the emulated nucleus: what it does, and what it bears."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from tests.asynchronous import asynchronous, until
from victron_twin.greengrass.errors import IpcError, Problem

from .bench import Bench, Make, needs_sdk

pytestmark = [pytest.mark.integration, needs_sdk]

BATTERY = {"thing_name": "van", "shadow_name": "victron-battery"}
DELTA = "$aws/things/van/shadow/name/victron-battery/update/delta"


def update(bench: Bench, **desired: Any) -> Deferred[Any]:
    request = {"state": {"desired": desired}}
    return bench.link.call("update_thing_shadow", **BATTERY, payload=json.dumps(request).encode())


async def dialled(bench: Bench, times: int) -> None:
    await until(lambda: bench.nucleus.connected >= times)


async def problem(answer: Deferred[Any]) -> Problem:
    with pytest.raises(IpcError) as caught:
        await answer
    assert caught.value.message
    return caught.value.problem


class Heard:
    """A subscription to the battery's deltas, and what came of it."""

    def __init__(self, bench: Bench) -> None:
        self.versions: list[int] = []
        self.again = 0
        self.subscription = bench.link.subscribe("subscribe_to_topic", self._event, self._again, topic=DELTA)

    def _event(self, event: Any) -> None:
        self.versions.append(json.loads(event.binary_message.message)["version"])

    def _again(self) -> None:
        self.again += 1

    async def so_often(self, again: int) -> None:
        await until(lambda: self.again == again)

    async def up_to(self, version: int) -> None:
        await until(lambda: self.versions == [*range(1, version + 1)])


@asynchronous
async def test_calls_are_answered_with_what_the_sdk_makes_of_it(make: Make) -> None:
    bench = make()
    await bench.up()
    assert json.loads((await update(bench, mode=1)).payload)["version"] == 1
    assert (await bench.link.call("delete_thing_shadow", **BATTERY)).payload == b""


@asynchronous
async def test_each_error_has_its_problem(make: Make) -> None:
    bench = make()
    await bench.up()
    for error, message, expected in (
        ("UnauthorizedError", "no", Problem.UNAUTHORIZED),
        ("ResourceNotFoundError", "no", Problem.NOT_FOUND),
        ("ConflictError", "no", Problem.CONFLICT),
        ("InvalidArgumentsError", "no", Problem.INVALID),
        ("ServiceError", "Too Many Requests", Problem.THROTTLED),
        ("ServiceError", "Internal service failure", Problem.SERVICE),
        (None, "", Problem.UNSUPPORTED),
    ):
        bench.nucleus.fail_next("UpdateThingShadow", error, message)
        with pytest.raises(IpcError) as caught:
            await update(bench)
        assert caught.value.problem is expected
        assert message in caught.value.message
    assert await problem(bench.link.call("no_such_operation")) is Problem.INVALID
    assert await problem(bench.link.call("get_thing_shadow", no_such_argument=1)) is Problem.INVALID
    await update(bench)
    assert bench.nucleus.connected == 1


@asynchronous
async def test_without_a_connection_calls_fail_at_once_and_say_why(make: Make) -> None:
    bench = make()
    assert await problem(update(bench)) is Problem.UNREACHABLE
    bench.link.startService()
    await until(lambda: bench.link._problem)
    with pytest.raises(IpcError, match=f"{bench.path}.*path"):
        await update(bench)


@asynchronous
async def test_a_nucleus_that_is_not_there_is_waited_for(make: Make) -> None:
    bench = make(speed=100.0)
    heard = Heard(bench)
    bench.link.startService()
    connected = bench.link.when_connected()
    await until(lambda: bench.link._failures > 10)
    assert not connected.called
    await bench.appear()
    await connected
    await heard.subscription.ready
    await update(bench, mode=1)
    await until(lambda: heard.versions)
    assert (bench.fatal, heard.again) == ([], 0)


@asynchronous
async def test_a_nucleus_that_does_not_acknowledge_is_tried_for_ever(make: Make) -> None:
    bench = make(speed=100.0, timeout=10.0)
    bench.nucleus.stalled = True
    await bench.appear()
    bench.link.startService()
    await until(lambda: bench.nucleus.connected > 7)
    assert not bench.fatal
    bench.nucleus.stalled = False
    await bench.link.when_connected()
    await update(bench)


@asynchronous
async def test_a_nucleus_that_stalls_is_left_and_dialled_again(make: Make) -> None:
    bench = make(calls=8, timeout=30.0)
    await bench.up()
    heard = Heard(bench)
    await heard.subscription.ready
    bench.nucleus.stalled = True
    problems = await DeferredList([update(bench) for _ in range(50)], consumeErrors=True)
    kinds = [failure.value.problem for success, failure in problems]
    assert kinds[:3] == [Problem.TIMEOUT] * 3
    assert set(kinds[3:]) == {Problem.UNREACHABLE}
    assert not bench.link.connected
    bench.nucleus.stalled = False
    await bench.link.when_connected()
    await update(bench, mode=1)
    await until(lambda: heard.again == 1 and heard.versions)
    assert bench.nucleus.most_in_flight <= 8
    assert not bench.fatal


@asynchronous
async def test_no_more_are_in_flight_than_may_be(make: Make) -> None:
    bench = make(calls=5)
    await bench.up()
    bench.nucleus.delay = 0.01
    await DeferredList([update(bench, n=n) for n in range(100)], fireOnOneErrback=True)
    assert bench.nucleus.most_in_flight == 5
    assert [operation for operation, _ in bench.nucleus.requests] == ["UpdateThingShadow"] * 100
    assert bench.shadows.get("van", "victron-battery")["state"]["desired"] == {"n": 99}


@asynchronous
async def test_a_slow_nucleus_is_not_a_stalled_one(make: Make) -> None:
    bench = make()
    await bench.up()
    bench.nucleus.delay = 0.5
    await DeferredList([update(bench, n=n) for n in range(40)], fireOnOneErrback=True)
    assert bench.nucleus.connected == 1


@asynchronous
async def test_what_is_in_flight_when_the_connection_drops_fails_and_subscriptions_come_back(make: Make) -> None:
    bench = make()
    await bench.up()
    heard = Heard(bench)
    await heard.subscription.ready
    for times in 1, 2, 3:
        bench.nucleus.delay = 1.0
        answers = [update(bench, mode=times) for _ in range(3)]
        await until(lambda: bench.nucleus.in_flight == 3)
        bench.nucleus.drop()
        bench.nucleus.delay = 0.0
        assert [await problem(answer) for answer in answers] == [Problem.UNREACHABLE] * 3
        await bench.link.when_connected()
        await heard.so_often(times)
        await update(bench, mode=times)
        await heard.up_to(times)
    assert not bench.fatal


@asynchronous
async def test_a_frame_that_is_malformed_costs_the_connection_only(make: Make) -> None:
    bench = make()
    await bench.up()
    bench.nucleus.malform_next()
    assert await problem(update(bench)) is Problem.UNREACHABLE
    await bench.link.when_connected()
    await update(bench)


@asynchronous
async def test_an_event_that_is_malformed_is_an_event_that_was_missed(make: Make) -> None:
    bench = make()
    await bench.up()
    heard = Heard(bench)
    await heard.subscription.ready
    bench.nucleus.malform_next()
    bench.shadows.update("van", "victron-battery", {"state": {"desired": {"mode": 1}}})
    await until(lambda: heard.again == 1)
    assert not heard.versions


@pytest.mark.parametrize("lite", [False, True])
@asynchronous
async def test_a_token_that_is_refused_ends_it(make: Make, lite: bool) -> None:
    bench = make(lite=lite, token="another", speed=100.0)
    await bench.appear()
    bench.link.startService()
    await until(lambda: bench.fatal)
    assert bench.nucleus.connected == 5
    (message,) = bench.fatal
    assert "SVCUID" in message
    assert bench.path in message
    assert "restarted" in message
    assert await problem(update(bench)) is Problem.UNREACHABLE


@asynchronous
async def test_accepting_and_closing_is_a_refusal_dropping_later_is_not(make: Make) -> None:
    bench = make(speed=100.0)
    await bench.up()
    for times in range(1, 8):
        bench.nucleus.drop()
        await dialled(bench, times + 1)
        await bench.link.when_connected()
    assert not bench.fatal
    bench.nucleus.refusing = True
    bench.nucleus.drop()
    await until(lambda: bench.fatal)
    assert bench.nucleus.connected == 8 + 5


@asynchronous
async def test_a_few_refusals_are_forgotten_when_one_is_accepted(make: Make) -> None:
    bench = make(speed=100.0)
    await bench.up()
    for _ in range(3):
        before = bench.nucleus.connected
        bench.nucleus.refusing = True
        bench.nucleus.drop()
        await dialled(bench, before + 3)
        bench.nucleus.refusing = False
        await bench.link.when_connected()
    assert not bench.fatal


@asynchronous
async def test_a_nucleus_that_restarts_is_found_again_where_the_token_holds(make: Make) -> None:
    bench = make()
    await bench.up()
    heard = Heard(bench)
    await heard.subscription.ready
    await bench.vanish()
    await until(lambda: not bench.link.connected)
    await bench.appear()
    await bench.link.when_connected()
    await update(bench, mode=1)
    await until(lambda: heard.again == 1 and heard.versions == [1])
    await bench.vanish()
    bench.nucleus.token = "another"
    await bench.appear()
    await until(lambda: bench.fatal)


@asynchronous
async def test_streams_that_the_nucleus_leaves_open_are_ended(make: Make) -> None:
    """Lite does: each call would stay in memory."""
    bench = make(lite=True, shadow_manager=None, speed=100.0)
    await bench.up()

    def alive() -> int:
        gc.collect()
        return sum(type(each).__name__ == "GetConfigurationOperation" for each in gc.get_objects())

    before = alive()
    for _ in range(3):
        await DeferredList([bench.link.call("get_configuration") for _ in range(20)], fireOnOneErrback=True)
    await until(lambda: alive() <= before + 1)
    await DeferredList([bench.link.call("get_configuration") for _ in range(20)], fireOnOneErrback=True)
    await until(lambda: alive() <= before + 1)
    assert bench.nucleus.connected == 1


@asynchronous
async def test_a_subscription_that_is_refused_is_tried_again(make: Make) -> None:
    policy = {"operations": ["aws.greengrass#SubscribeToTopic"], "resources": ["nothing"]}
    bench = make(access={"aws.greengrass.ipc.pubsub": {"1": policy}}, speed=200.0)
    await bench.up()
    heard = Heard(bench)
    for _ in range(2):
        assert await problem(heard.subscription.ready) is Problem.UNAUTHORIZED
    policy["resources"] = ["*"]
    await until(lambda: heard.again)
    await heard.subscription.ready
    bench.shadows.update("van", "victron-battery", {"state": {"desired": {"mode": 1}}})
    await until(lambda: heard.versions)
    assert bench.nucleus.connected == 1


@asynchronous
async def test_nothing_comes_after_a_subscription_is_closed(make: Make) -> None:
    bench = make()
    await bench.up()
    closed, kept = Heard(bench), Heard(bench)
    pending = closed.subscription.ready
    closed.subscription.close()
    closed.subscription.close()
    assert await problem(pending) is Problem.UNREACHABLE
    await kept.subscription.ready
    bench.shadows.update("van", "victron-battery", {"state": {"desired": {"mode": 1}}})
    await until(lambda: kept.versions)
    bench.nucleus.drop()
    await until(lambda: kept.again)
    assert (closed.versions, closed.again) == ([], 0)
    assert sum(operation == "SubscribeToTopic" for operation, _ in bench.nucleus.requests) <= 3


@asynchronous
async def test_the_stop_ends_all_that_waits(make: Make) -> None:
    bench = make()
    await bench.up()
    heard = Heard(bench)
    await heard.subscription.ready
    bench.nucleus.delay = 1.0
    answers = [update(bench) for _ in range(40)]
    await until(lambda: bench.nucleus.in_flight)
    await bench.link.stopService()
    assert {await problem(answer) for answer in answers} == {Problem.UNREACHABLE}
    await until(lambda: not bench.nucleus.connections)
    bench.nucleus.delay = 0.0
    bench.link.startService()
    await bench.link.when_connected()
    await until(lambda: heard.again)


@asynchronous
async def test_the_stop_ends_the_wait_for_a_nucleus(make: Make) -> None:
    bench = make()
    bench.link.startService()
    hopes = [bench.link.when_connected() for _ in range(3)]
    hopes[0].addErrback(lambda _: hopes[1].cancel())
    ready = Heard(bench).subscription.ready
    await bench.link.stopService()
    assert await problem(hopes[2]) is Problem.UNREACHABLE
    hopes[1].addErrback(lambda _: None)
    ready.addErrback(lambda _: None)
    ready.cancel()
