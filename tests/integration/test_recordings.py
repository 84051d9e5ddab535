"""A GX for other clients, recorded and played back: the commands as processes, over TLS."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.comparison import compare
from tests.mosquitto import HOST, free_port
from tests.program import Program
from tests.service import Service, wait_until
from tests.support import CATALOG, needs

pytestmark = pytest.mark.integration

PORTAL = "c0619ab2d3e4"
PASSWORD = "right-7d3a-password"
#: 45 s of the simulated van, made by ``victron-twin capture``: a solar charger goes and returns, the GPS goes, a value
#: becomes invalid, a state takes a code that nobody knows.
VAN = Path(__file__).with_name("recordings") / "van.jsonl.gz"
PINCODE = "settings/0/Settings/Ble/Service/Pincode"


@dataclass(frozen=True)
class GX:
    """The simulated GX of this module, a process."""

    port: int
    folder: Path
    program: Program

    @property
    def options(self) -> tuple[str, ...]:
        return "--gx-host", HOST, "--gx-port", str(self.port)


@pytest.fixture(scope="module")
def gx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GX]:
    folder = tmp_path_factory.mktemp("gx")
    port = free_port()
    options = ("--port", str(port), "--password", PASSWORD, "--folder", str(folder))
    with Program(folder / "simulate.log", "simulate", *options) as program:
        program.wait_for(f"mqtts://{HOST}:{port}")
        yield GX(port, folder, program)
        assert program.end(signal.SIGTERM) == 0
        assert PASSWORD not in program.output


# Other clients


@needs("mosquitto_sub", "mosquitto_pub")
def test_mosquittos_clients_see_a_gx_keep_it_alive_and_write(gx: GX) -> None:
    address = ("-h", HOST, "-p", str(gx.port), "--cafile", str(gx.folder / "certificate.pem"), "--insecure")
    login = ("-u", "anybody", "-P", PASSWORD)

    def say(topic: str, payload: str) -> None:
        message = ("-t", f"{topic.replace('<id>', PORTAL)}", "-m", payload)
        subprocess.run(["mosquitto_pub", *address, *login, *message], check=True, timeout=30)

    def hear(topic: str, count: int, seconds: int = 20) -> subprocess.Popen[str]:
        wanted = ("-t", topic.replace("<id>", PORTAL), "-C", str(count), "-W", str(seconds), "-F", "%t %p")
        return subprocess.Popen(["mosquitto_sub", *address, *login, *wanted], stdout=subprocess.PIPE, text=True)

    with hear("N/+/system/0/Serial", 1) as serial:
        assert serial.stdout is not None
        assert serial.stdout.read().split() == [f"N/{PORTAL}/system/0/Serial", f'{{"value":"{PORTAL}"}}']

    with hear("N/<id>/battery/#", 1, seconds=3) as nothing:
        assert nothing.stdout is not None
        assert nothing.stdout.read() == ""  # nobody keeps it alive

    with hear("N/<id>/#", 3000, seconds=12) as everything:
        say("R/<id>/keepalive", "")
        for mode in (1, 3):
            say("R/<id>/keepalive", '{"keepalive-options":["suppress-republish"]}')
            say("W/<id>/vebus/276/Mode", f'{{"value":{mode}}}')
        assert everything.stdout is not None
        heard = everything.stdout.read().splitlines()
    topics = [line.split(" ", 1)[0].removeprefix(f"N/{PORTAL}/") for line in heard]
    assert len(set(topics)) > 1_000
    assert topics.count("heartbeat") >= 3
    assert topics.count("full_publish_completed") == 1
    modes = [json.loads(line.split(" ", 1)[1])["value"] for line in heard if "/vebus/276/Mode " in line]
    assert {1, 3} <= set(modes)
    assert modes[-1] == 3

    wrong = (*address, "-u", "anybody", "-P", "wrong", "-t", "#", "-W", "20")
    assert subprocess.run(["mosquitto_sub", *wrong], timeout=30, capture_output=True, check=False).returncode == 5


def test_what_it_cannot_serve_is_said_in_one_line(gx: GX, tmp_path: Path) -> None:
    (tmp_path / "certificate.pem").write_text("rubbish")
    (tmp_path / "key.pem").write_text("rubbish")
    for arguments, says in (
        (("--port", str(gx.port), "--folder", str(gx.folder)), f"{HOST}:{gx.port} cannot be listened on"),
        (("--port", str(free_port()), "--folder", str(tmp_path)), f"{tmp_path / 'certificate.pem'}"),
        (("--password-file", "nowhere"), "--password-file: nowhere: No such file"),
        (("--port", "x"), "'x' is no port"),
        (("--speed", "0"), "'0' cannot be used: it must be a number above 0"),
        (("--site", "house"), "'house' is no site"),
    ):
        with Program(tmp_path / "log", "simulate", *arguments) as program:
            assert program.wait() > 0
        error, *more = program.output.splitlines()
        assert error.startswith("victron-twin: ")
        assert says in error
        assert more in ([], ["Try victron-twin --help."])


# Recording


def capture(gx: GX, folder: Path, *arguments: str, password: str = PASSWORD) -> Program:
    options = (*gx.options, "--state-dir", str(folder / "state"))
    return Program(folder / "log", "capture", *options, *arguments, environment={"VICTRON_MQTT_PASSWORD": password})


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def last(path: Path) -> dict[str, Any]:
    """The last value of each topic of a recording, below the portal id; what left is not there."""
    start, values = f"N/{PORTAL}/", {}
    for line in lines(path):
        topic = line.get("topic", "")
        if topic.startswith(start) and topic.count("/") > 3:
            values[topic.removeprefix(start)] = line["payload"]
    return {topic: json.loads(payload)["value"] for topic, payload in values.items() if payload}


def test_it_records_beside_the_service_what_the_gx_says_but_its_secrets(gx: GX, tmp_path: Path) -> None:
    file = tmp_path / "gx.jsonl.gz"
    with Service(tmp_path, *gx.options, environment={"VICTRON_MQTT_PASSWORD": PASSWORD}) as service:
        service.wait_until_healthy()
        pins = (tmp_path / "state" / "pins.json").read_text()
        with capture(gx, tmp_path, "--seconds", "5", str(file)) as program:
            assert program.wait() == 0
        assert service.get("/health")[0] == 200
    said = program.output.splitlines()
    assert said[0].startswith(f"Connected to the GX at {HOST}:{gx.port}: its certificate has the SHA-256 ")
    assert said[0].rsplit(" ", 1)[1] in pins
    assert said[-1].endswith(str(file))
    values = last(file)
    assert len(values) > 1_000
    assert values["vebus/276/Mode"] == 3
    assert values[PINCODE] == "******"
    assert (tmp_path / "state" / "pins.json").read_text() == pins


def test_ctrl_c_ends_a_recording_that_is_whole(gx: GX, tmp_path: Path) -> None:
    file = tmp_path / "gx.jsonl"
    with capture(gx, tmp_path, str(file)) as program:
        wait_until(lambda: file.exists() and file.stat().st_size > 10_000, "something is written")
        assert program.end(signal.SIGINT) == 0
    recorded = lines(file)
    assert recorded[0]["event"] == "connected"
    assert f"{len(recorded) - 1:,} messages" in program.output.splitlines()[-1]
    assert not (tmp_path / "state").exists()


def test_a_recording_that_comes_to_nothing_leaves_none(gx: GX, tmp_path: Path) -> None:
    file = tmp_path / "gx.jsonl"
    for arguments, password, says in (
        ((), "wrong", "not authorised"),
        (("--portal-id", "c0619abfffff"), PASSWORD, f"set VICTRON_VRM_ID={PORTAL}"),
        (("--gx-trust", f"pin:{64 * '0'}"), PASSWORD, f"instead of {64 * '0'}"),
        (("--gx-host", "nowhere.invalid"), PASSWORD, "VICTRON_HOST=<ip>"),
        (("--gx-port", "0"), PASSWORD, "gx.port"),
    ):
        with capture(gx, tmp_path, *arguments, str(file), password=password) as program:
            assert program.wait() == 1
        error = program.output.splitlines()[-1]
        assert error.startswith("victron-twin: ")
        assert says in error
        assert not file.exists()
        assert "Traceback" not in program.output


def test_a_recording_is_never_written_over(gx: GX, tmp_path: Path) -> None:
    file = tmp_path / "gx.jsonl"
    file.write_text("what was there")
    with capture(gx, tmp_path, str(file)) as program:
        assert program.wait() == 1
    assert program.output.splitlines() == [f"victron-twin: {file} is there already: give another name, or remove it"]
    assert file.read_text() == "what was there"


# Playing back


def test_the_shadows_end_as_a_recording_does(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "twin.toml"
    config.write_text("[cadence]\nnormal = 1\nslow = 1\nbatch = 0.5\n")
    serve = ("--port", str(port), "--password", PASSWORD, "--folder", str(tmp_path / "gx"), "--speed", "3")
    address = ("--gx-host", HOST, "--gx-port", str(port), "--config", str(config))
    values, catalog = last(VAN), CATALOG

    def reported(name: str) -> Mapping[str, Any]:
        _, document = service.get(f"/things/victron-twin/shadow?name={name}")
        found: Mapping[str, Any] = (document or {}).get("state", {}).get("reported", {})
        return found

    with (
        Program(tmp_path / "replay.log", "replay", *serve, str(VAN)) as replay,
        Service(tmp_path, *address, environment={"VICTRON_MQTT_PASSWORD": PASSWORD}) as service,
    ):
        service.wait_until_healthy()
        replay.wait_for("The recording has ended")
        wait_until(lambda: not compare(values, reported, catalog).differences, "the shadows say what was recorded")
        assert compare(values, reported, catalog).fields > 250
        assert reported("victron-vebus")["state"] == "Unknown (199)"
        assert reported("victron-settings")["systemName"] == "Vän"
        assert "temperature" not in reported("victron-battery")
        assert reported("victron-solarcharger")["devices"]["280"]["connected"] is True
        assert reported("victron-gps")["connected"] is False
        assert "latitude" in reported("victron-gps")
        assert service.get("/health")[0] == 200
        assert replay.end(signal.SIGINT) == 0
    assert PASSWORD not in service.log.read_text() + replay.output
    assert "Traceback" not in service.log.read_text() + replay.output


def test_what_is_no_recording_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "rubbish.jsonl").write_text("rubbish\n")
    (tmp_path / "empty.jsonl").write_text("")
    for name, says in (
        ("nowhere.jsonl", "No such file"),
        ("rubbish.jsonl", "line 1"),
        ("empty.jsonl", "no message of a GX"),
    ):
        with Program(tmp_path / "log", "replay", "--folder", str(tmp_path), str(tmp_path / name)) as program:
            assert program.wait() == 1
        (error,) = program.output.splitlines()
        assert error.startswith(f"victron-twin: {tmp_path / name}")
        assert says in error
