"""``victron-twin doctor`` as a user runs it, against a GX with one thing wrong at a time."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.asynchronous import asynchronous, wait
from tests.mosquitto import HOST, free_port
from tests.service import Service
from victron_twin.simulator.gx import GX
from victron_twin.simulator.service import SimulatedGX
from victron_twin.simulator.site import Site

pytestmark = pytest.mark.integration

PORTAL = "c0619abcdef0"
PASSWORD = "right"


def van(firmware: str = "v3.70") -> GX:
    clock = IReactorTime(reactor)
    site = Site.van(Random(1), time=clock.seconds(), portal_id=PORTAL, firmware=firmware)
    return GX(clock, site, Random(1), password=PASSWORD)


@dataclass(frozen=True)
class Told:
    """What the doctor said, and its exit status."""

    lines: list[str]
    status: int

    @property
    def last(self) -> tuple[str, int]:
        return self.lines[-1], self.status

    def state(self, check: str) -> str:
        (line,) = (line for line in self.lines if line[8:23].strip() == check)
        return line.split()[0]

    def says(self, check: str) -> str:
        (line,) = (line for line in self.lines if line[8:23].strip() == check)
        return line[23:]


class Bench:
    """A GX, and a doctor that looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.gx = van()
        self.service: SimulatedGX | None = None

    async def listen(self, port: int | None = 0, plain_port: int | None = None) -> int:
        self.service = SimulatedGX(
            IReactorTime(reactor), self.gx, folder=self.folder / "gx", port=port, plain_port=plain_port
        )
        self.service.startService()
        listening = await self.service.whenListening()
        open_port = listening.tls or listening.plain
        assert open_port is not None
        return open_port

    async def doctor(self, port: int, *options: str, host: str = HOST, **environ: str) -> Told:
        environ.setdefault("VICTRON_MQTT_PASSWORD", PASSWORD)
        arguments = ("--gx-host", host, "--gx-port", str(port), "--state-dir", str(self.state), *options)
        return await run("doctor", *arguments, environ=environ)


async def run(*arguments: str, environ: Mapping[str, str]) -> Told:
    out, errors, status = await cast("Any", getProcessOutputAndValue)(
        sys.executable, ("-m", "victron_twin.cli", *arguments), env={"PATH": os.environ["PATH"], **environ}
    )
    assert b"Traceback" not in errors, errors.decode()
    return Told(out.decode().splitlines() or errors.decode().splitlines(), status)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.service is not None:
        wait(bench.service.stopService())


@asynchronous
async def test_all_is_well_and_nothing_is_left_behind(bench: Bench) -> None:
    port = await bench.listen()
    told = await bench.doctor(port, "--portal-id", PORTAL)
    assert told.last == ("All is well.", 0)
    assert {line.split()[0] for line in told.lines[:-1]} == {"ok"}
    assert "2 solarcharger" in told.says("services")
    assert told.says("firmware") == "Venus OS v3.70"
    assert bench.service is not None
    assert bench.service.pin in told.says("TLS")
    assert not bench.state.exists()


@asynchronous
async def test_a_name_that_does_not_resolve(bench: Bench) -> None:
    told = await bench.doctor(8883, host="no-such-gx.invalid")
    assert told.last == ("Not well: name does not resolve", 1)
    assert "VICTRON_HOST=" in told.says("name")
    assert told.state("TCP") == told.state("primary") == "skipped"
    assert told.state("backend") == "ok"


@asynchronous
async def test_a_closed_port(bench: Bench) -> None:
    assert (await bench.doctor(free_port())).last == ("Not well: connection refused", 1)


@asynchronous
async def test_a_port_that_says_nothing_ends_in_its_time(bench: Bench) -> None:
    file = bench.folder / "twin.toml"
    file.write_text("[gx]\nconnect_timeout = 1\n")
    file.chmod(0o600)
    with socket.create_server((HOST, 0)) as silent:
        told = await bench.doctor(silent.getsockname()[1], "--config", str(file))
    assert told.last == ("Not well: no TLS handshake in time", 1)


@asynchronous
async def test_a_gx_without_tls(bench: Bench) -> None:
    port = await bench.listen(port=None, plain_port=0)
    told = await bench.doctor(port)
    assert told.lines[-1].startswith("Not well: the peer closed the connection in the TLS handshake")
    assert told.status == 1
    assert told.state("TCP") == "ok"
    assert "VICTRON_TRUST=plaintext" in told.says("TLS")
    assert (await bench.doctor(port, "--gx-trust", "plaintext")).last == ("All is well.", 0)


@asynchronous
async def test_a_gx_with_tls_that_is_spoken_to_without(bench: Bench) -> None:
    told = await bench.doctor(await bench.listen(), "--gx-trust", "plaintext")
    assert "is this a port with TLS (8883)?" in told.lines[-1]
    assert (told.status, told.state("login")) == (1, "FAILED")


@asynchronous
async def test_a_changed_certificate(bench: Bench) -> None:
    port = await bench.listen()
    bench.state.mkdir()
    pins = json.dumps({f"{HOST}:{port}": "0" * 64})
    (bench.state / "pins.json").write_text(pins)
    told = await bench.doctor(port)
    assert told.last == ("Not well: certificate changed", 1)
    assert bench.service is not None
    assert f"VICTRON_TRUST=pin:{bench.service.pin}" in told.says("TLS")
    assert (bench.state / "pins.json").read_text() == pins


@asynchronous
async def test_a_wrong_password(bench: Bench) -> None:
    told = await bench.doctor(await bench.listen(), VICTRON_MQTT_PASSWORD="hunter2")
    assert told.last == ("Not well: login refused: not authorised", 1)
    assert "hunter2" not in " ".join(told.lines)


@asynchronous
async def test_a_wrong_portal_id(bench: Bench) -> None:
    told = await bench.doctor(await bench.listen(), "--portal-id", "c0619aaaaaaa")
    assert told.last == ("Not well: wrong portal id", 1)
    assert f"VICTRON_VRM_ID={PORTAL}" in told.says("portal id")


@asynchronous
async def test_a_gx_that_answers_no_keepalive(bench: Bench) -> None:
    bench.gx.deaf = True
    told = await bench.doctor(await bench.listen())
    assert told.last == ("Not well: keepalive not answered", 1)
    assert told.state("services") == "skipped"


@asynchronous
async def test_firmware_that_is_too_old(bench: Bench) -> None:
    bench.gx = van("v3.10")
    told = await bench.doctor(await bench.listen())
    assert told.last == ("Not well: firmware too old", 1)
    assert told.state("services") == "ok"


@asynchronous
async def test_firmware_that_does_not_say_when_all_is_told(bench: Bench) -> None:
    bench.gx = van("v3.40")
    told = await bench.doctor(await bench.listen())
    assert told.last == ("All is well.", 0)
    assert told.says("firmware") == "Venus OS v3.40"


@asynchronous
async def test_a_configured_primary_that_is_not_there(bench: Bench) -> None:
    port = await bench.listen()
    file = bench.folder / "twin.toml"
    file.write_text("[gx.primary]\nsolarcharger = 281\n")
    file.chmod(0o600)
    told = await bench.doctor(port, "--config", str(file))
    assert told.last == ("Not well: configured primary is not there", 1)
    assert told.says("primary").startswith("gx.primary.solarcharger is 281, but there is 279, 280")


@asynchronous
async def test_files_that_others_can_read_or_write(bench: Bench) -> None:
    port = await bench.listen()
    bench.state.mkdir(mode=0o700)
    password, token = bench.folder / "password", bench.state / "token"
    for file in (password, token):
        file.write_text("right\n")
        file.chmod(0o644)
    bench.state.chmod(0o777)
    (bench.folder / "twin.toml").write_text(
        f'manhole = "tcp:2222"\nmanhole_keys = "{token}"\n[gx]\npassword_file = "{password}"\n'
    )
    (bench.folder / "twin.toml").chmod(0o600)
    told = await bench.doctor(port, "--config", str(bench.folder / "twin.toml"), VICTRON_MQTT_PASSWORD="")
    assert told.last == ("Not well: " + told.says("permissions"), 1)
    for remedy in ("interface=127.0.0.1", f"chmod o-r {password}", f"chmod o-r {token}", f"chmod o-w {bench.state}"):
        assert remedy in told.says("permissions")


@asynchronous
async def test_a_state_folder_that_cannot_be_and_a_store_that_does_not_open(bench: Bench) -> None:
    port = await bench.listen()
    bench.state.write_text("a file")
    told = await bench.doctor(port)
    assert told.last == ("Not well: pins cannot be read; state folder: not a directory", 1)

    bench.state.unlink()
    bench.state.mkdir()
    (bench.state / "shadows.sqlite").write_text("no store at all" * 100)
    told = await bench.doctor(port)
    assert told.last == ("Not well: the store does not open", 1)
    assert "move it away" in told.says("backend")


@asynchronous
async def test_a_topic_and_no_cloud(bench: Bench) -> None:
    file = bench.folder / "twin.toml"
    file.write_text("[audit]\ntopic = 'fleet/audit'\n")
    file.chmod(0o600)
    told = await bench.doctor(await bench.listen(), "--config", str(file))
    assert told.lines[-1].startswith("Not well: audit.topic: the backend local has no cloud to publish to: take ")


@asynchronous
async def test_what_is_wrong_with_the_configuration_and_with_the_command_line(bench: Bench) -> None:
    told = await bench.doctor(0)
    assert told.lines[-1].startswith("Not well: gx.port: '0' (--gx-port) cannot be used")
    assert (told.status, told.state("permissions")) == (1, "skipped")
    told = await bench.doctor(1, VICTRON_HOTS="1")
    assert any(line.startswith("note") and "VICTRON_HOTS" in line for line in told.lines)
    assert (await bench.doctor(1, "--demo")).status == 1
    assert (await bench.doctor(1, "--frobnicate")).status == 2
    assert (await bench.doctor(1, "--backend", "iotcore")).lines[-1].startswith("Not well: iotcore.endpoint is missing")


@asynchronous
async def test_each_of_several_gx_is_looked_at(bench: Bench) -> None:
    port = await bench.listen()
    file = bench.folder / "twin.toml"
    file.write_text(f'[[gx]]\nhost = "{HOST}"\n[[gx]]\nhost = "{HOST}"\nport = {free_port()}\n')
    file.chmod(0o600)
    told = await bench.doctor(port, "--config", str(file))
    assert told.last == ("Not well: connection refused", 1)
    assert [line.split()[0] for line in told.lines if line[8:23].strip() == "TCP"] == ["ok", "FAILED"]


@asynchronous
async def test_beside_the_running_service(bench: Bench) -> None:
    port = await bench.listen()
    login = {"VICTRON_MQTT_PASSWORD": PASSWORD}
    with Service(bench.folder, "--gx-host", HOST, "--gx-port", str(port), environment=login) as service:
        await deferToThread(service.wait_until_healthy)
        before = {name: (bench.state / name).read_bytes() for name in ("lock", "pins.json", "token")}
        told = await bench.doctor(port)
        assert told.last == ("All is well.", 0)
        assert told.says("TLS") == "the certificate is the one that is remembered"
        assert "the running service holds the store" in told.says("backend")
        assert before == {name: (bench.state / name).read_bytes() for name in before}
        _, health = await deferToThread(service.get, "/health")
        assert (health["mqttConnected"], health["connectionAttempts"]) == (True, 1)
