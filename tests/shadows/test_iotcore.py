"""AWS IoT Core directly: the real SDK's client against mosquitto with mutual TLS and an emulated shadow service."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import provider

from tests.asynchronous import asynchronous, until, wait
from tests.emulators.cloud import Cloud
from tests.emulators.iot_core import IoTCore
from tests.gx.certificates import Identity
from tests.gx.servers import Server, serving
from tests.mosquitto import free_port
from tests.support import needs
from victron_twin.config import ConfigError
from victron_twin.shadows.backend import ShadowBackend, Throttled, Unauthorized, Unavailable
from victron_twin.shadows.iotcore import IoTCoreTransport
from victron_twin.shadows.topics import TopicBackend
from victron_twin.shadows.transport import Transport

from .backend_contract import NAME, NAMES, Arrived, BackendContract, MessengerContract
from .follower import SHADOWS, THING, Follower

pytestmark = [
    pytest.mark.integration,
    needs("mosquitto"),
    pytest.mark.skipif(find_spec("awsiot") is None, reason="needs awsiotsdk, of the extra greengrass"),
]

REACTOR: Any = reactor
# Of MQTT 5.
CONNACK, CONNACK_NOT_AUTHORIZED = b"\x20\x03\x00\x00\x00", b"\x20\x03\x00\x87\x00"
TAKEN_OVER, SHUTTING_DOWN = b"\xe0\x02\x8e\x00", b"\xe0\x02\x8b\x00"


def conforms(transport: IoTCoreTransport) -> Transport:
    """Checked by mypy: the class has the interface's form."""
    return transport


def transport_to(core: IoTCore, endpoint: str = "") -> IoTCoreTransport:
    return IoTCoreTransport(REACTOR, endpoint or core.endpoint, THING, core.certificate, core.key, core.ca)


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IoTCore]:
    core = IoTCore(REACTOR, Cloud(REACTOR), tmp_path_factory.mktemp("core"))
    core.start()
    yield core
    core.stop()


class TestContract(BackendContract, MessengerContract):
    has_classic = False

    @pytest.fixture
    def thing(self, request: pytest.FixtureRequest) -> str:
        """One of its own: the cloud is the same for all."""
        return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)

    @pytest.fixture
    def backend(self, core: IoTCore) -> Iterator[ShadowBackend]:
        transport = transport_to(core)
        backend = TopicBackend(transport, REACTOR, NAMES, Random(1))
        wait(backend.start())
        wait(Deferred.fromCoroutine(until(lambda: not transport.problem)))
        yield backend
        wait(backend.stop())

    @pytest.fixture
    def arrived(self, core: IoTCore) -> Arrived:
        core.messages.clear()
        return lambda: core.messages


class Site(Follower):
    """A core, and a backend that is connected to it."""

    def __init__(self, core: IoTCore, cloud: Cloud, endpoint: str = "") -> None:
        self.transport = transport_to(core, endpoint=endpoint)
        backend = TopicBackend(self.transport, REACTOR, ["victron-twin"], Random(1))
        super().__init__(REACTOR, backend)
        self.publish = backend.publish
        self.core = core
        self.cloud = cloud

    def desire(self, **values: Any) -> None:
        self.cloud.update(THING, NAME, {"state": {"desired": values}})

    async def hears(self, **values: Any) -> None:
        """A delta comes through."""
        self.desire(**values)
        await until(lambda: any(delta.state == values for delta in self.deltas))


@asynccontextmanager
async def site(folder: Path, **options: Any) -> AsyncIterator[Site]:
    cloud = Cloud(REACTOR)
    core = IoTCore(REACTOR, cloud, folder, **options)
    core.start()
    there = Site(core, cloud)
    try:
        await there.backend.start()
        yield there
    finally:
        await there.backend.stop()
        core.stop()


def tasks() -> int:
    """Threads, those of the SDK too."""
    return len(list(Path("/proc/self/task").iterdir()))


@asynchronous
async def test_a_broker_that_was_restarted_is_heard_again(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        threads = tasks()
        for number in range(2):
            missed = there.missed
            there.core.restart()
            await until(lambda: there.core.ready, 40)
            await there.report_until_accepted(n=number)
            assert there.missed > missed
            await there.hears(n=-number - 1)
        assert tasks() == threads


@asynchronous
async def test_without_the_broker_requests_fail_at_once_with_the_cause(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        there.core.broker.kill()
        with pytest.raises(Unavailable):
            await there.report(a=2)
        await until(lambda: there.transport.problem)
        with pytest.raises(Unavailable, match=r"the connection to .* was lost|cannot be connected to"):
            await there.report(a=2)
        await until(lambda: "cannot be connected to" in there.transport.problem, 30)
        there.desire(a=5)
        there.core.broker.start()
        await there.report_until_accepted(a=3)
        assert there.missed >= 1


@asynchronous
async def test_a_broker_that_hangs_is_a_matter_of_time_outs(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        there.core.broker.freeze()
        with pytest.raises(Unavailable, match="did not acknowledge"):
            await there.report(a=2)
        there.core.broker.thaw()
        await there.report_until_accepted(a=3)
        await there.hears(a=4)


@asynchronous
async def test_it_can_begin_before_the_broker_is_there(tmp_path: Path) -> None:
    cloud = Cloud(REACTOR)
    core = IoTCore(REACTOR, cloud, tmp_path)
    there = Site(core, cloud)
    await there.backend.start()
    try:
        await until(lambda: "look at iotcore.endpoint" in there.transport.problem)
        core.start()
        await there.report_until_accepted(a=1)
        assert there.missed == 0
    finally:
        await there.backend.stop()
        core.stop()


@asynchronous
async def test_a_service_that_is_silent_and_throttles(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=1)
        service = there.core.service
        service.throttle = 1
        with pytest.raises(Throttled):
            await there.report(a=2)
        service.silent = True
        with pytest.raises(Unavailable, match="no answer"):
            await there.report(a=2)
        service.silent = False
        await there.report_until_accepted(a=3)


@asynchronous
async def test_the_service_never_sees_too_many_at_once(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        there.core.service.delay = 0.02
        for answer in [there.report(n=number) for number in range(40)]:
            await answer
        assert there.core.service.most_under_way <= 8
        assert len(there.core.service.requests) == 40


@asynchronous
async def test_deltas_out_of_order_end_with_the_newest(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        await there.report(a=0)
        there.cloud.disorder = True
        for number in range(1, 20):
            there.desire(a=number)
        await until(lambda: there.deltas and there.deltas[-1].state == {"a": 19})
        versions = [delta.version for delta in there.deltas]
        assert versions == sorted(set(versions))


@asynchronous
async def test_what_the_policy_does_not_allow_is_said(tmp_path: Path) -> None:
    reads = f"topic readwrite {SHADOWS}/+/get/#"
    async with site(tmp_path, allow=[reads]) as there:
        # This broker lets everybody subscribe, and drops what may not be read.
        with pytest.raises(Unauthorized, match=r"the policy must allow iot:Publish on topic/.*/update"):
            await there.report(a=1)


@asynchronous
async def test_a_topic_that_the_policy_does_not_allow(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        with pytest.raises(Unavailable, match="not connected"):
            await there.publish("fleet/van/audit", b"{}")
        await until(lambda: not there.transport.problem)
        await there.publish("fleet/van/audit", b"{}")
        with pytest.raises(Unauthorized, match=r"the policy must allow iot:Publish on topic/audit"):
            await there.publish("audit", b"{}")
        await until(lambda: there.core.messages)
        assert there.core.messages == [("fleet/van/audit", b"{}")]


@asynchronous
async def test_another_client_of_the_same_name_fills_no_log(tmp_path: Path) -> None:
    """Each drives the other away, again and again."""
    said: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_namespace"].startswith("victron_twin.shadows"):
            said.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        async with site(tmp_path) as there:
            await there.report(a=1)
            other = Site(there.core, there.cloud)
            await other.backend.start()
            try:
                await other.report_until_accepted(b=1)
                await until(lambda: there.missed + other.missed >= 4, 40)
            finally:
                await other.backend.stop()
            await there.report_until_accepted(a=2)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert 2 <= len(said) <= 6


async def told(there: Site, what: str, seconds: float = 40.0) -> None:
    """The cause why nobody is reached."""
    await there.backend.start()
    try:
        await until(lambda: what in there.transport.problem, seconds)
    finally:
        await there.backend.stop()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (CONNACK_NOT_AUTHORIZED, "refuses the connection (NOT_AUTHORIZED): the certificate's policy must allow "),
        (CONNACK + TAKEN_OVER, f"as {THING}: each must have its own thing_name"),
        (CONNACK + SHUTTING_DOWN, "ended the connection (SERVER_SHUTTING_DOWN)"),
        (b"\xff" * 8, "cannot be connected to ("),
    ],
    ids=["not authorized", "taken over", "shutting down", "rubbish"],
)
@asynchronous
async def test_what_the_broker_says_is_told(tmp_path: Path, answer: bytes, what: str) -> None:
    cloud = Cloud(REACTOR)
    core = IoTCore(REACTOR, cloud, tmp_path)
    server = Server(answer)
    async with serving(server, core.tls):
        await told(Site(core, cloud, endpoint=f"localhost:{server.port}"), what)


@asynchronous
async def test_a_certificate_that_the_broker_does_not_know(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        core = there.core
        core.certificate, core.key = core.stranger
        await told(Site(core, there.cloud), "active in AWS IoT")


@pytest.mark.slow  # the SDK's TLS waits for up to 30 s, so that nobody learns from the time of a failure
@asynchronous
async def test_a_server_that_is_not_the_one_we_trust(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        core = there.core
        core.ca = tmp_path / "other.pem"
        core.ca.write_bytes(Identity("Somebody", authority=True).pem)
        await told(Site(core, there.cloud), "look at iotcore.ca", 60)


@asynchronous
async def test_stop_is_soon_whatever_the_other_side_does(tmp_path: Path) -> None:
    """A listener that accepts and is silent."""
    cloud = Cloud(REACTOR)
    core = IoTCore(REACTOR, cloud, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = Site(core, cloud, endpoint=f"localhost:{listener.getsockname()[1]}")
        await there.backend.start()
        asked = there.backend.get(THING, NAME)
        began = REACTOR.seconds()
        await there.backend.stop()
        assert REACTOR.seconds() - began < 5
        with pytest.raises(Unavailable, match="stopped"):
            await asked
        await there.backend.stop()


Spoil = Callable[[Path], None]


@pytest.mark.parametrize(
    ("name", "spoil", "what"),
    [
        ("certificate", lambda path: path.unlink(), r"iotcore\.certificate: .* cannot be read: No such file"),
        ("key", lambda path: path.unlink(), r"iotcore\.key: .* cannot be read: No such file"),
        ("ca", lambda path: path.unlink(), r"iotcore\.ca: .* cannot be read: No such file"),
        ("certificate", lambda path: path.write_text("rubbish"), r"iotcore\.certificate: .* must be in PEM form"),
        ("key", lambda path: path.write_text("rubbish"), r"iotcore\.key: .* must be in PEM form"),
        ("ca", lambda path: path.write_text("rubbish"), r"iotcore\.ca: .* must be in PEM form"),
        (
            "key",
            lambda path: path.write_bytes(Identity("other").key_pem()),
            r"iotcore\.key: .* does not belong to iotcore\.certificate",
        ),
    ],
)
@asynchronous
async def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, name: str, spoil: Spoil, what: str) -> None:
    authority = Identity("Amazon Root CA 1", authority=True)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    certificate, key = Identity("device", issuer=authority).write(tmp_path)
    spoil({"certificate": certificate, "key": key, "ca": ca}[name])
    transport = IoTCoreTransport(REACTOR, f"localhost:{free_port()}", THING, certificate, key, ca)
    backend = TopicBackend(transport, REACTOR, NAMES, Random(1))
    with pytest.raises(ConfigError, match=what):
        await backend.start()
    await backend.stop()
    assert all(thread.name != "AwsEventLoop" for thread in threading.enumerate())
