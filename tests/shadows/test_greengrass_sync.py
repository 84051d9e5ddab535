"""The sync over the greengrass backend: after each fault shadow and cloud are as the twin says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.asynchronous import asynchronous, until, wait
from tests.greengrass.bench import REACTOR, Bench, Hasty, needs_sdk
from victron_twin.shadows.greengrass import GreengrassBackend
from victron_twin.shadows.pace import Pace
from victron_twin.shadows.parts import Cadences
from victron_twin.shadows.sync import ShadowSync

from .test_sync import NAMES, Site

pytestmark = [pytest.mark.integration, needs_sdk]

THING = "van"
SPEED = 10.0


class Twin(Bench):
    """A site whose values the test sets, synced through Shadow Manager to the cloud."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, speed=SPEED, timeout=20.0)
        clock: Any = Hasty(SPEED)
        self.shadows.limited = True
        backend = GreengrassBackend(clock, self.link, Pace(REACTOR))
        self.site = Site()
        self.sync = ShadowSync(clock, backend, Cadences(), NAMES, self.fatal.append)
        self.sync.add(THING, self.site)

    async def up(self) -> None:
        await super().up()
        self.sync.startService()

    async def down(self) -> None:
        await self.sync.stopService()
        await super().down()

    def set(self, **values: float) -> None:
        for name in NAMES:
            self.site.set(name, **values)

    def wanted(self) -> dict[str, Any]:
        return {name: {path[0]: value for path, value in flat.items()} for name, flat in self.site.values.items()}

    def written(self) -> dict[str, Any]:
        documents = {name: self.shadows.document(THING, name) for name in NAMES}
        return {name: document["state"]["reported"] for name, document in documents.items() if document}

    def cloud_has(self) -> dict[str, Any]:
        return {name: self.cloud.get(THING, name)["state"]["reported"] for name in self.cloud.named(THING)}

    async def converges(self) -> None:
        wanted = self.wanted()
        await until(lambda: self.written() == wanted, 30.0)
        await until(lambda: self.shadows.settled() and self.cloud_has() == wanted, 30.0)
        assert self.shadows.lost == []
        assert self.nucleus.rates_exceeded == 0


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[Twin]:
    twin = Twin(tmp_path)
    yield twin
    wait(Deferred.fromCoroutine(twin.down()))


async def pause(seconds: float) -> None:
    await deferLater(REACTOR, seconds)


async def dropped(twin: Twin) -> None:
    twin.nucleus.drop()


async def dropped_often(twin: Twin) -> None:
    for _ in range(5):
        twin.nucleus.drop()
        await pause(0.1)


async def dropped_in_flight(twin: Twin) -> None:
    twin.nucleus.delay = 0.5
    await until(lambda: twin.nucleus.in_flight)
    twin.nucleus.drop()
    twin.nucleus.delay = 0.0


async def stalled(twin: Twin) -> None:
    twin.nucleus.stalled = True
    await until(lambda: not twin.link.connected)
    twin.nucleus.stalled = False


async def delayed(twin: Twin) -> None:
    twin.nucleus.delay = 0.3
    await pause(1.0)
    twin.nucleus.delay = 0.0


async def malformed(twin: Twin) -> None:
    twin.nucleus.malform_next()


async def restarted(twin: Twin) -> None:
    await twin.vanish()
    await pause(1.0)
    await twin.appear()


async def refused_for_a_while(twin: Twin) -> None:
    twin.nucleus.refusing = True
    before = twin.nucleus.connected
    twin.nucleus.drop()
    await until(lambda: twin.nucleus.connected == before + 3)
    twin.nucleus.refusing = False


def failing(error: str | None, message: str = "") -> Callable[[Twin], Any]:
    async def fail(twin: Twin) -> None:
        for operation in "UpdateThingShadow", "GetThingShadow":
            twin.nucleus.fail_next(operation, error, message, count=2)

    fail.__name__ = f"{error}_{message}"
    return fail


FAULTS = [
    dropped,
    dropped_often,
    dropped_in_flight,
    stalled,
    delayed,
    malformed,
    restarted,
    refused_for_a_while,
    failing("ConflictError"),
    failing("UnauthorizedError"),
    failing("InvalidArgumentsError", "The payload exceeds the maximum size allowed"),
    failing("ResourceNotFoundError"),
    failing("ServiceError", "Too Many Requests"),
    failing("ServiceError", "Internal service failure"),
    failing(None),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@asynchronous
async def test_it_converges_after(twin: Twin, fault: Callable[[Twin], Any]) -> None:
    await twin.up()
    twin.set(voltage=12.0, power=100.0)
    await twin.converges()
    twin.set(voltage=13.0)
    await fault(twin)
    twin.set(voltage=14.0, power=200.0)
    await twin.converges()
    assert not twin.fatal


@asynchronous
async def test_the_stop_writes_what_is_due(twin: Twin) -> None:
    await twin.up()
    twin.set(voltage=12.0)
    await twin.converges()
    twin.set(voltage=13.0)
    await twin.sync.stopService()
    assert twin.written() == twin.wanted()
