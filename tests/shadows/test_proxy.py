"""Shadows through a nucleus' MQTT proxy: the real SDK against the emulated nucleus, lite and Java."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.asynchronous import asynchronous, until, wait
from tests.greengrass.bench import Bench, needs_sdk
from victron_twin.shadows.backend import ShadowBackend, Throttled, TooLarge, Unauthorized, Unavailable
from victron_twin.shadows.proxy import ProxyTransport
from victron_twin.shadows.topics import TopicBackend
from victron_twin.shadows.transport import Transport

from .backend_contract import NAME, NAMES, Arrived, BackendContract, MessengerContract
from .follower import SHADOWS, THING, Follower

pytestmark = needs_sdk


def conforms(transport: ProxyTransport) -> Transport:
    """Checked by mypy: the class has the interface's form."""
    return transport


def backend_of(bench: Bench) -> TopicBackend:
    names = ["victron-twin", *NAMES]
    return TopicBackend(ProxyTransport(bench.link), bench.clock, names, Random(1))


class TestNucleusLite(BackendContract, MessengerContract):
    has_classic = False
    lite = True

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[Bench]:
        bench = Bench(tmp_path, speed=1, lite=self.lite, shadow_manager=None)
        wait(Deferred.fromCoroutine(bench.up()))
        yield bench
        wait(Deferred.fromCoroutine(bench.down()))

    @pytest.fixture
    def backend(self, bench: Bench) -> Iterator[ShadowBackend]:
        backend = backend_of(bench)
        wait(backend.start())
        yield backend
        wait(backend.stop())

    @pytest.fixture
    def arrived(self, bench: Bench) -> Arrived:
        return lambda: bench.nucleus.proxy.published

    @asynchronous
    async def test_messages_go_out_at_least_once(self, bench: Bench, backend: TopicBackend) -> None:
        await backend.publish("fleet/van/get", b"{}")
        assert [request["qos"] for _, request in bench.nucleus.requests] == ["1"]


class TestJavaNucleusWithoutShadowManager(TestNucleusLite):
    lite = False


class Site(Follower):
    """A nucleus, a link to it and a backend over that."""

    def __init__(self, bench: Bench) -> None:
        backend = backend_of(bench)
        super().__init__(bench.clock, backend)
        self.publish = backend.publish
        self.bench = bench
        self.nucleus = bench.nucleus
        self.cloud = bench.cloud

    def desire(self, **values: Any) -> None:
        self.cloud.update(THING, NAME, {"state": {"desired": values}})

    def topics(self, operation: str) -> list[str]:
        return [request["topicName"] for name, request in self.nucleus.requests if name == operation]


@asynccontextmanager
async def site(folder: Path, speed: float = 20.0, lite: bool = True, **options: Any) -> AsyncIterator[Site]:
    bench = Bench(folder, speed=speed, lite=lite, shadow_manager=None, **options)
    await bench.up()
    there = Site(bench)
    await there.backend.start()
    try:
        yield there
    finally:
        await there.backend.stop()
        await bench.down()


@asynchronous
async def test_five_streams_a_thing_and_a_delete_leaves_none_behind(tmp_path: Path) -> None:
    async with site(tmp_path, speed=1) as there:
        await there.report(a=1)
        await there.report(a=2)
        assert there.topics("SubscribeToIoTCore") == [
            f"{SHADOWS}/+/{each}"
            for each in ("update/accepted", "update/rejected", "update/delta", "get/accepted", "get/rejected")
        ]
        assert there.topics("PublishToIoTCore") == [f"{SHADOWS}/{NAME}/update"] * 2
        for _ in range(60):  # lite has 50 subscriptions
            await there.backend.delete(THING, NAME)
            await there.report(a=1)


@asynchronous
async def test_no_more_than_eight_are_under_way(tmp_path: Path) -> None:
    async with site(tmp_path, speed=1) as there:
        there.nucleus.proxy.round_trip = 0.02
        for answer in [there.report(n=number) for number in range(40)]:
            await answer  # the nucleus refuses the eleventh
        assert (await there.backend.get(THING, NAME))["version"] == 40


@asynchronous
async def test_a_nucleus_that_was_restarted_is_heard_again(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        await there.bench.vanish()
        with pytest.raises(Unavailable):
            await there.report(a=2)
        there.desire(a=3)
        await there.bench.appear()
        await until(lambda: there.missed)
        await there.report_until_accepted(b=1)
        there.desire(a=4)
        await until(lambda: any(delta.state == {"a": 4} for delta in there.deltas))


@asynchronous
async def test_subscriptions_that_the_nucleus_lost_are_made_anew(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        there.nucleus.lose_iot_core_subscriptions()
        with pytest.raises(Unavailable, match="no answer"):
            await there.report(a=2)
        await until(lambda: there.missed)
        await there.report(a=3)
        there.desire(a=4)
        await until(lambda: there.deltas)
        assert there.deltas[0].state == {"a": 4}


@asynchronous
async def test_lite_without_a_way_to_the_cloud_says_so_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        there.cloud.online = False
        with pytest.raises(Unavailable, match="no way to the cloud"):
            await there.report(a=2)
        there.cloud.online = True
        assert await there.report(a=3) == 2


@asynchronous
async def test_what_the_java_nucleus_keeps_for_the_cloud_stays_little(tmp_path: Path) -> None:
    async with site(tmp_path, lite=False, speed=100) as there:
        await there.report(a=0)
        there.cloud.online = False
        for number in range(40):
            with pytest.raises(Unavailable):
                await there.report(a=number)
        kept = there.topics("PublishToIoTCore").count(f"{SHADOWS}/{NAME}/update") - 1
        assert kept <= 2
        there.cloud.online = True
        there.desire(b=1)
        await until(lambda: there.missed)
        await there.report(a=99)
        assert there.cloud.get(THING, NAME)["state"]["reported"] == {"a": 99}


@asynchronous
async def test_a_document_that_lite_cannot_receive_is_told_and_holds_nobody_up(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        there.cloud.update(THING, "a-shadow", {"state": {"desired": {"x": "y" * 6000}}})
        with pytest.raises(Unavailable, match="a-shadow"):
            await there.backend.get(THING, "a-shadow")
        assert await there.report(a=2) == 2
        assert there.missed == 0


@asynchronous
async def test_too_many_requests_is_told_as_that(tmp_path: Path) -> None:
    async with site(tmp_path, lite=False) as there:
        await there.report(a=1)
        there.nucleus.fail_next("PublishToIoTCore", "ServiceError", "Too Many Requests")
        with pytest.raises(Throttled):
            await there.report(a=2)
        assert await there.report(a=2) == 2


@pytest.mark.parametrize("operation", ["SubscribeToIoTCore", "PublishToIoTCore"])
@asynchronous
async def test_what_the_access_control_must_hold_is_said(tmp_path: Path, operation: str) -> None:
    async with site(tmp_path) as there:
        there.nucleus.fail_next(operation, "UnauthorizedError", "not authorized", count=1)
        with pytest.raises(Unauthorized, match=rf"aws\.greengrass#{operation} .*aws\.greengrass\.ipc\.mqttproxy"):
            await there.report(a=1)
        assert await there.report(a=1) == 1


@asynchronous
async def test_a_message_that_no_frame_holds(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        topic = "$aws/rules/" + "r" * 232 + "/" + "t" * 256
        with pytest.raises(TooLarge, match="the message has 7001 bytes with its topic; 7000 can be sent"):
            await there.publish(topic, b"x" * 6_501)
        await there.publish(topic, b"x" * 6_500)


@asynchronous
async def test_what_carries_no_message(tmp_path: Path) -> None:
    allowed = {"operations": ["aws.greengrass#PublishToIoTCore"], "resources": ["fleet/+/audit"]}
    async with site(tmp_path, access={"aws.greengrass.ipc.mqttproxy": {"audit": allowed}}) as there:
        await there.publish("fleet/van/audit", b"{}")
        with pytest.raises(Unauthorized, match=r"allow aws\.greengrass#PublishToIoTCore on audit: add both"):
            await there.publish("audit", b"{}")
        there.cloud.online = False
        with pytest.raises(Unavailable, match="no way to the cloud"):
            await there.publish("fleet/van/audit", b"{}")
        await there.bench.vanish()
        with pytest.raises(Unavailable):
            await there.publish("fleet/van/audit", b"{}")
        assert there.nucleus.proxy.published == [("fleet/van/audit", b"{}")]
