"""The emulated nucleus and the real client: each operation, each error, each fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.asynchronous import asynchronous, until, wait
from tests.emulators.client import Client, failure, needs_sdk
from tests.emulators.cloud import Cloud
from tests.emulators.nucleus import NucleusEmulator
from tests.emulators.shadow_manager import ShadowManager

pytestmark = [pytest.mark.integration, needs_sdk]

CLOCK: Any = reactor
THING = "van"


class World:
    """A nucleus with its cloud, and its clients; all gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "socket")
        self.clients: list[Client] = []
        self.cloud = Cloud(CLOCK)
        self.shadows = ShadowManager(CLOCK, self.cloud)

    async def nucleus(self, **options: Any) -> NucleusEmulator:
        options.setdefault("shadow_manager", self.shadows)
        self.emulator = NucleusEmulator(CLOCK, self.path, cloud=self.cloud, **options)
        await self.emulator.start()
        return self.emulator

    def client(self, token: str = "token") -> Client:
        client = Client(CLOCK, self.path, token)
        self.clients.append(client)
        return client

    async def connected(self, **options: Any) -> tuple[NucleusEmulator, Client]:
        nucleus = await self.nucleus(**options)
        client = self.client()
        await client.connect()
        return nucleus, client

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        await self.emulator.stop()
        assert self.emulator.connections == self.emulator.in_flight == 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    wait(Deferred.fromCoroutine(world.stop()))


def reported(**fields: Any) -> bytes:
    return json.dumps({"state": {"reported": fields}}).encode()


@asynchronous
async def test_shadows(world: World) -> None:
    nucleus, client = await world.connected()
    name = {"thing_name": THING, "shadow_name": "victron-battery"}
    answer = await client.call("update_thing_shadow", **name, payload=reported(soc=50.5))
    assert json.loads(answer.payload)["version"] == 1
    document = json.loads((await client.call("get_thing_shadow", **name)).payload)
    assert document["state"] == {"reported": {"soc": 50.5}}
    assert (await client.call("delete_thing_shadow", **name)).payload == b""
    error, message = await failure(client.call("get_thing_shadow", **name))
    assert error == "ResourceNotFoundError"
    assert message
    assert nucleus.requests[0] == (
        "UpdateThingShadow",
        {"thingName": THING, "shadowName": "victron-battery", "payload": reported(soc=50.5)},
    )
    await until(world.shadows.settled)
