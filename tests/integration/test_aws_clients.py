"""AWS's own clients, unchanged, against the local data plane on a real socket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from klein import Klein
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from tests.asynchronous import asynchronous, wait
from victron_twin.shadows.local import LocalBackend
from victron_twin.web.access import Access, guarded_site
from victron_twin.web.dataplane import DataPlane
from victron_twin.worker import ThreadWorker

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient

pytestmark = pytest.mark.integration

TOKEN = "0123456789abcdef0123456789abcdef"
THING = "van"
SHADOW = "victron-battery"


@dataclass(frozen=True)
class Server:
    url: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    clock = IReactorTime(reactor)
    backend = LocalBackend(tmp_path / "shadows.sqlite", clock, ThreadWorker(reactor, "shadows"))
    wait(backend.start())
    site = guarded_site(DataPlane(backend, clock).beside(Klein().resource()), Access(TOKEN))
    port = wait(cast("Any", TCP4ServerEndpoint)(reactor, 0, interface="127.0.0.1").listen(site))
    yield Server(f"http://127.0.0.1:{port.getHost().port}")
    wait(maybeDeferred(port.stopListening))
    wait(backend.stop())


def client(server: Server, key: str = TOKEN) -> IoTDataPlaneClient:
    made = boto3.client(
        "iot-data",
        endpoint_url=server.url,
        region_name="eu-west-1",
        aws_access_key_id=key,
        aws_secret_access_key="does not matter",
        config=Config(retries={"max_attempts": 0}),
    )
    return cast("IoTDataPlaneClient", made)


def error_of(call: Callable[[], object]) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def update(iot: IoTDataPlaneClient, request: Any, **names: str) -> Any:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return json.load(iot.update_thing_shadow(thingName=THING, payload=body, **names)["payload"])


def round_trip(server: Server) -> None:
    iot = client(server)
    assert (
        update(iot, {"state": {"reported": {"soc": 80.5}, "desired": {"mode": "On"}}}, shadowName=SHADOW)["version"]
        == 1
    )
    document = json.load(iot.get_thing_shadow(thingName=THING, shadowName=SHADOW)["payload"])
    assert document["state"]["delta"] == {"mode": "On"}
    assert document["metadata"]["reported"]["soc"].keys() == {"timestamp"}

    update(iot, {"state": {"reported": {"classic": True}}})
    assert json.load(iot.get_thing_shadow(thingName=THING)["payload"])["state"] == {"reported": {"classic": True}}

    for number in range(5):
        update(iot, {"state": {"reported": {"a": 1}}}, shadowName=f"other-{number}")
    names: list[str] = []
    page = iot.list_named_shadows_for_thing(thingName=THING, pageSize=4)
    while True:
        names += page["results"]
        if "nextToken" not in page:
            break
        page = iot.list_named_shadows_for_thing(thingName=THING, pageSize=4, nextToken=page["nextToken"])
    assert names == [*(f"other-{n}" for n in range(5)), SHADOW]

    deleted = json.load(iot.delete_thing_shadow(thingName=THING, shadowName=SHADOW)["payload"])
    assert deleted.keys() == {"version", "timestamp"}
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_thing_shadow(thingName=THING, shadowName=SHADOW)
    assert update(iot, {"state": {}}, shadowName=SHADOW)["version"] == 3
    iot.close()


def errors(server: Server) -> None:
    iot = client(server)
    update(iot, {"state": {"reported": {"a": 1}}}, shadowName=SHADOW)
    with pytest.raises(iot.exceptions.ConflictException):
        update(iot, {"state": {}, "version": 7}, shadowName=SHADOW)
    with pytest.raises(iot.exceptions.InvalidRequestException):
        update(iot, b"{", shadowName=SHADOW)
    with pytest.raises(iot.exceptions.RequestEntityTooLargeException):
        update(iot, {"state": {"reported": {"a": "x" * 9000}}}, shadowName=SHADOW)
    with pytest.raises(iot.exceptions.UnsupportedDocumentEncodingException):
        update(iot, b'{"state": {"reported": {"a": "\xff"}}}', shadowName=SHADOW)
    assert error_of(lambda: iot.get_thing_shadow(thingName=THING, shadowName="none")) == (
        404,
        "ResourceNotFoundException",
        f"No shadow exists with name: '{THING}~none'",
    )
    assert error_of(lambda: update(iot, {"state": {}, "version": 7}, shadowName=SHADOW)) == (
        409,
        "ConflictException",
        "Version conflict",
    )
    iot.close()

    stranger = client(server, "AKIAIOSFODNN7EXAMPLE")
    with pytest.raises(stranger.exceptions.UnauthorizedException):
        update(stranger, {"state": {}}, shadowName=SHADOW)
    with pytest.raises(stranger.exceptions.UnauthorizedException):
        stranger.delete_thing_shadow(thingName=THING, shadowName=SHADOW)
    assert json.load(stranger.get_thing_shadow(thingName=THING, shadowName=SHADOW)["payload"])["version"] == 1
    stranger.close()


@asynchronous
async def test_boto3_round_trip(server: Server) -> None:
    await deferToThread(round_trip, server)


@asynchronous
async def test_boto3_gets_its_modelled_errors(server: Server) -> None:
    await deferToThread(errors, server)


AWS = shutil.which("aws", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if AWS is None and os.environ.get("CI"):
    raise RuntimeError("CI must have the AWS CLI")


@dataclass(frozen=True)
class CLI:
    server: Server
    folder: Path

    async def run(self, command: str, *options: str, file: bool = False) -> tuple[int, str]:
        """Exit status, and what the command wrote (to its output file, or its output)."""
        out = self.folder / "out.json"
        argv = [str(AWS), "iot-data", command, *options, "--endpoint-url", self.server.url]
        done = await deferToThread(
            subprocess.run,
            [*argv, str(out)] if file else argv,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": str(self.folder),
                "AWS_ACCESS_KEY_ID": TOKEN,
                "AWS_SECRET_ACCESS_KEY": "does not matter",
                "AWS_DEFAULT_REGION": "eu-west-1",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            return done.returncode, done.stderr
        return 0, out.read_text() if file else done.stdout


@pytest.mark.skipif(AWS is None, reason="needs the AWS CLI: pip install awscli")
@asynchronous
async def test_aws_cli(server: Server, tmp_path: Path) -> None:
    cli = CLI(server, tmp_path)
    names = ("--thing-name", THING, "--shadow-name", SHADOW)
    payload = tmp_path / "payload.json"
    payload.write_text('{"state": {"desired": {"mode": "Off"}}}')
    # From a file, because versions 1 and 2 of the CLI take a payload on the command line differently.
    send = ("--payload", f"fileb://{payload}")

    status, text = await cli.run("update-thing-shadow", *names, *send, file=True)
    assert (status, json.loads(text)["version"]) == (0, 1)
    status, text = await cli.run("get-thing-shadow", *names, file=True)
    assert (status, json.loads(text)["state"]["delta"]) == (0, {"mode": "Off"})
    status, text = await cli.run("list-named-shadows-for-thing", "--thing-name", THING)
    assert (status, json.loads(text)["results"]) == (0, [SHADOW])

    payload.write_text('{"state": {"desired": {"mode": "On"}}, "version": 9}')
    status, text = await cli.run("update-thing-shadow", *names, *send, file=True)
    assert status != 0
    assert "(ConflictException)" in text
    assert "Version conflict" in text

    status, text = await cli.run("delete-thing-shadow", *names, file=True)
    assert (status, json.loads(text)["version"]) == (0, 2)
    status, text = await cli.run("get-thing-shadow", *names, file=True)
    assert status != 0
    assert "(ResourceNotFoundException)" in text
