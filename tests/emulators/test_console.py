"""The emulated nucleus as a process, told by lines what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asynchronous import asynchronous, until
from tests.emulators.client import Client, failure, needs_sdk
from tests.emulators.process import NucleusProcess
from tests.emulators.world import REACTOR
from tests.service import wait_until

pytestmark = [pytest.mark.integration, needs_sdk]

VEBUS = {"thing_name": "van", "shadow_name": "victron-vebus"}
RECIPE = Path(__file__).parents[2] / "recipe.yaml"


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[NucleusProcess]:
    configuration = tmp_path / "configuration.json"
    configuration.write_text('{"gx": {"host": "venus"}}')
    arguments = "--thing", "van", "--token", "t", "--configuration", str(configuration), "--recipe", str(RECIPE)
    with NucleusProcess(tmp_path / "socket", *arguments) as nucleus:
        yield nucleus


@asynchronous
async def test_a_session(nucleus: NucleusProcess) -> None:
    def status() -> Any:
        return nucleus.asked("status")

    socket = nucleus.environment["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]
    assert nucleus.environment["AWS_IOT_THING_NAME"] == "van"
    client = Client(REACTOR, socket, nucleus.environment["SVCUID"])
    try:
        await client.connect()
        delta = "$aws/things/van/shadow/name/victron-vebus/update/delta"
        heard = await client.subscribe("subscribe_to_topic", topic=delta)
        changes = await client.subscribe("subscribe_to_configuration_update")
        assert nucleus.ask('desire victron-vebus {"mode": "Off"}') == "version 1"
        await until(lambda: heard.events)
        await client.call("update_thing_shadow", **VEBUS, payload=b'{"state": {"reported": {"mode": "Off"}}}')
        wait_until(lambda: nucleus.asked("show victron-vebus")["cloud"]["state"].get("reported"), "the cloud has it")
        shown = nucleus.asked("show victron-vebus")
        assert shown["local"]["state"] == shown["cloud"]["state"] == {
            "desired": {"mode": "Off"}, "reported": {"mode": "Off"},
        }  # fmt: skip
        assert nucleus.asked("shadows") == ["victron-vebus"]

        await client.call("update_state", state="RUNNING")
        assert nucleus.asked("states") == ["RUNNING"]
        assert nucleus.asked('configure {"gx": {"port": 1883}}') == {"gx": {"host": "venus", "port": 1883}}
        await until(lambda: changes.events)
        updates = await client.subscribe("subscribe_to_component_updates")
        nucleus.ask("update d1")
        await until(lambda: updates.events)
        nucleus.ask("update")
        assert nucleus.ask("secret arn a secret") == "done"
        forbidden = client.call("get_thing_shadow", thing_name="van", shadow_name="other")
        assert (await failure(forbidden))[0] == "UnauthorizedError"

        nucleus.ask("stall")
        call = client.call("get_thing_shadow", **VEBUS)
        nucleus.ask("resume")
        await call
        nucleus.ask("offline")
        nucleus.ask("online")
        nucleus.ask("deaf")
        assert status()["connections"] == 1
        nucleus.ask("drop")
        await until(lambda: client.lost)
        nucleus.ask("refuse")
        await failure(client.connect())
        nucleus.ask("resume")
        nucleus.ask("token another")
        await failure(client.connect())
        nucleus.ask("token t")
        await client.connect()
    finally:
        await client.close()
    wait_until(lambda: status()["connections"] == 0, "it is closed")
    assert status()["lost"] == status()["oversized"] == []
    for wrong in ("rubbish", "desire victron-vebus {", 'desire victron-vebus {"a": [null]}', "configure"):
        with pytest.raises(ValueError, match="error: "):
            nucleus.ask(wrong)
    assert "desire SHADOW" in nucleus.ask("help")
    assert nucleus.ask("quit") == "done"
    assert nucleus.process.wait(20) == 0
    assert not Path(socket).exists()


def test_lite_has_no_local_shadows(tmp_path: Path) -> None:
    with NucleusProcess(tmp_path / "socket", "--lite") as nucleus:
        assert nucleus.asked("show x") == {"local": None, "cloud": {}}
        nucleus.ask('desire x {"a": 1}')
        assert json.loads(nucleus.ask("show x"))["cloud"]["state"]["desired"] == {"a": 1}
        nucleus.process.terminate()
        nucleus.process.wait(20)
    assert not (tmp_path / "socket").exists()
