"""How the service begins where it cannot go on, or not as it is: one line that names the key and the remedy."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.mosquitto import HOST, Mosquitto, free_port
from tests.program import Program
from tests.service import Service, wait_until
from tests.support import needs

pytestmark = pytest.mark.integration

PASSWORD, WRONG = "right-4a1d-password", "wrong-8e6b-password"
PORTAL = "c0619ab2d3e4"
SOCKET, TOKEN = "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "SVCUID"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes see nothing of what is configured on this machine."""
    for name in os.environ:
        if name.startswith(("VICTRON_", "AWS_")) or name in (TOKEN, "UPDATE_FREQUENCY", "BATCH_TIMEOUT"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def gx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """A simulated GX; the options of a service for it."""
    folder = tmp_path_factory.mktemp("gx")
    port = free_port()
    options = ("--port", str(port), "--password", PASSWORD, "--folder", str(folder))
    with Program(folder / "simulate.log", "simulate", *options) as program:
        program.wait_for("listens")
        yield "--gx-host", HOST, "--gx-port", str(port)


def end(folder: Path, *arguments: str, **environment: str) -> str:
    """The one line with which the service ends, with exit status 1."""
    with Service(folder, *arguments, environment=environment) as service:
        assert service.process.wait(60) == 1
    log = service.log.read_text()
    assert "Traceback" not in log
    (line,) = log.splitlines()
    assert line.startswith("victron-twin: ")
    return line.removeprefix("victron-twin: ")


def last_words(folder: Path, *arguments: str) -> str:
    """The same of a service that had begun to log."""
    with Service(folder, *arguments) as service:
        assert service.process.wait(60) == 1
    log = service.log.read_text()
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if " critical " in line]
    return line


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# What is asked for


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--nonsense"], "option --nonsense not recognized: see twistd victron-twin --help"),
        (["nonsense"], "'nonsense' is no option: see twistd victron-twin --help"),
        (["--gx-trust"], "option --gx-trust requires argument: see"),
        (["--gx-port", "x"], "gx.port: 'x' (--gx-port) cannot be used; it must be a whole number from 1 to 65535"),
        (["--gx-trust", "pin:12"], "gx.trust: 'pin:12' (--gx-trust) cannot be used: a pin is a SHA-256"),
        (["--gx-trust", "ca:nowhere"], "nowhere: No such file or directory"),
        (["--gx-trust", "blindly"], "one of tofu, pin:SHA256, ca:FILE, system, insecure, plaintext"),
        (["--config", "nowhere.toml"], "nowhere.toml cannot be read (No such file or directory)"),
        (["--backend", "cloud"], "backend: 'cloud' (--backend) cannot be used; it must be one of auto"),
        (["--backend", "greengrass"], "backend: greengrass needs a Greengrass nucleus"),
    ],
)
def test_a_wrong_option(tmp_path: Path, arguments: list[str], names: str) -> None:
    assert names in end(tmp_path, *arguments)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("[gx]\nhots = 'x'\n", "gx.hots in {file} is not a key; did you mean gx.host?"),
        ("[gx]\nport = 'x'\n", "gx.port: 'x' (gx.port in {file}) cannot be used; it must be a whole number"),
        ("[gx]\nconnectionTimeout = -1\n", "gx.connect_timeout: -1 (gx.connectionTimeout in {file}) cannot be used"),
        ("[gx\n", "config: {file} is not TOML"),
        ("[gx]\npassword_file = 'nowhere'\n", "gx.password_file: 'nowhere' (gx.password_file in {file})"),
        (f"[gx]\npassword = ['{PASSWORD}']\n", "gx.password: the value (gx.password in {file}) cannot be used"),
        (f"[gx]\npassword = '{PASSWORD}'\npassword_file = 'x'\n", "password is given twice"),
        ("manhole = 'tcp:0'\n", "manhole_keys is missing"),
        ("backend = 'iotcore'\n", "iotcore.endpoint is missing"),
        ("[audit]\ntopic = 'a/#'\n", "audit.topic: 'a/#' (audit.topic in {file}) cannot be used: it must be one topic"),
        (
            "[audit]\ntopic = 'a'\n",
            "audit.topic: the backend local has no cloud to publish to: take the topic out, or ",
        ),
    ],
)
def test_a_wrong_file(tmp_path: Path, content: str, names: str) -> None:
    file = write(tmp_path / "twin.toml", content)
    line = end(tmp_path, "--config", str(file))
    assert names.format(file=file) in line
    assert PASSWORD not in line


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert f"config: {tmp_path} cannot be read (Is a directory)" in end(tmp_path, "--config", str(tmp_path))


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"VICTRON_PORT": "99999"}, "gx.port: '99999' (VICTRON_PORT in the environment)"),
        ({"UPDATE_FREQUENCY": "fast"}, "cadence.normal: 'fast' (UPDATE_FREQUENCY in the environment)"),
        ({SOCKET: "/tmp/ipc"}, f"backend: auto finds {SOCKET} but not {TOKEN} in the environment"),
        ({TOKEN: "secret"}, f"backend: auto finds {TOKEN} but not {SOCKET} in the environment"),
    ],
)
def test_a_wrong_environment(tmp_path: Path, environment: dict[str, str], names: str) -> None:
    line = end(tmp_path, **environment)
    assert names in line
    assert "set backend = local" in line or "it must be" in line


# What it finds in its state folder


@pytest.mark.parametrize("folder", ["state", "state/state"])
def test_a_state_folder_that_cannot_be(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "state", "")
    line = end(tmp_path, "--state-dir", str(tmp_path / folder))
    assert line.startswith(f"state_dir {tmp_path / folder} cannot be written to (")
    assert "VICTRON_TWIN_STATE_DIR" in line


def test_a_state_folder_that_another_twin_has(tmp_path: Path, gx: tuple[str, ...]) -> None:
    with Service(tmp_path, *gx, environment={"VICTRON_MQTT_PASSWORD": PASSWORD}) as service:
        service.wait_until_healthy()
        other = tmp_path / "other"
        other.mkdir()
        line = end(other, *gx, "--state-dir", str(tmp_path / "state"))
        assert f"already in use by another victron-twin (pid {service.process.pid})" in line
        assert "state_dir" in line
        assert service.get("/health")[0] == 200


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("primaries.json", "{", "move it away"),
        ("primaries.json", '{"victron-twin": 3}', "move it away"),
        ("token", "short", "remove it"),
        ("token", b"\xff\xfe\xfd", "remove it"),
    ],
)
def test_a_state_file_that_makes_no_sense(tmp_path: Path, name: str, content: str | bytes, remedy: str) -> None:
    file = write(tmp_path / "state" / name, content)
    line = end(tmp_path)
    assert str(file) in line
    assert remedy in line
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("name", ["shadows.sqlite", "commands.sqlite"])
def test_a_store_that_is_damaged(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "state" / name, "rubbish" * 1_000)
    line = last_words(tmp_path, "--gx-host", HOST, "--gx-port", str(free_port()))
    assert str(file) in line
    assert "move it away" in line
    assert file.read_text().startswith("rubbish")


def test_a_store_of_another_version(tmp_path: Path) -> None:
    file = write(tmp_path / "state" / "shadows.sqlite", "")
    other = sqlite3.connect(file)
    other.execute("PRAGMA user_version=99")
    other.close()
    assert f"{file} was written by another version" in last_words(tmp_path, "--gx-host", HOST, "--gx-port", "1")


# What it finds at the GX: it goes on trying, and says what is wrong


def says(service: Service, *texts: str) -> None:
    """/health says it within 20 s, and the log has it in one line."""

    def said() -> bool:
        assert service.process.poll() is None
        status, health = service.get("/health")
        return status == 503 and all(text in " ".join(health["problems"]) for text in texts)

    wait_until(said, f"{texts}, and not {service.get('/health')}", 20.0)
    lines = [line for line in service.log.read_text().splitlines() if all(text in line for text in texts)]
    assert [" error " in line for line in lines] == [True], lines
    assert "Traceback" not in service.log.read_text()
    assert service.end() == 0


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    with Service(tmp_path, "--gx-host", "nowhere.invalid") as service:
        says(service, "nowhere.invalid does not resolve", "VICTRON_HOST=<ip>")


def test_a_port_that_is_closed(tmp_path: Path) -> None:
    port = free_port()
    with Service(tmp_path, "--gx-host", HOST, "--gx-port", str(port)) as service:
        says(service, f"no connection on port {port} (connection refused)", "VICTRON_HOST and VICTRON_PORT")


@needs("mosquitto", "mosquitto_passwd")
def test_a_port_without_tls(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path) as mosquitto,
        Service(tmp_path, "--gx-host", HOST, "--gx-port", str(mosquitto.port)) as service,
    ):
        says(service, "TLS", "8883")


def test_a_password_that_is_wrong(tmp_path: Path, gx: tuple[str, ...]) -> None:
    with Service(tmp_path, *gx, environment={"VICTRON_MQTT_PASSWORD": WRONG}) as service:
        says(service, "not authorised", "VICTRON_MQTT_PASSWORD")
    assert WRONG not in service.log.read_text()


def test_the_portal_id_of_another_gx(tmp_path: Path, gx: tuple[str, ...]) -> None:
    environment = {"VICTRON_MQTT_PASSWORD": PASSWORD, "VICTRON_VRM_ID": "c0619abfffff"}
    with Service(tmp_path, *gx, environment=environment) as service:
        says(service, "gx.portal_id is c0619abfffff", f"set VICTRON_VRM_ID={PORTAL}")


@needs("mosquitto", "mosquitto_passwd")
def test_a_broker_that_is_no_gx(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as mosquitto:
        address = ("--gx-host", HOST, "--gx-port", str(mosquitto.port), "--gx-trust", "plaintext")
        login = {"VICTRON_MQTT_USERNAME": mosquitto.username, "VICTRON_MQTT_PASSWORD": mosquitto.password}
        with Service(tmp_path, *address, environment=login) as service:
            says(service, "does not tell its portal id", "VICTRON_VRM_ID")


def test_pins_that_make_no_sense_trust_nobody(tmp_path: Path, gx: tuple[str, ...]) -> None:
    pins = write(tmp_path / "state" / "pins.json", "{")
    with Service(tmp_path, *gx, environment={"VICTRON_MQTT_PASSWORD": PASSWORD}) as service:
        says(service, str(pins), "move it away")
    assert pins.read_text() == "{"


# What nobody must see


def test_a_secret_is_nowhere_to_be_seen(tmp_path: Path, gx: tuple[str, ...]) -> None:
    password = write(tmp_path / "password", WRONG)
    config = write(tmp_path / "twin.toml", f"[gx]\npassword_file = '{password}'\n[cadence]\nnormal = 1\n")
    options = (*gx, "--config", str(config), "--log-level", "debug")

    def read(service: Service, path: str) -> str:
        with urlopen(service.url + path, timeout=5) as answer:
            return str(answer.read(1_000_000), "utf-8", "replace")

    with Service(tmp_path, *options) as service:
        wait_until(lambda: "not authorised" in service.log.read_text(), "the login is refused")
        seen = [str(service.get("/health")), read(service, "/metrics"), read(service, "/")]
    seen.append(service.log.read_text())
    password.write_text(PASSWORD)
    with Service(tmp_path, *options) as service:
        service.wait_until_healthy()
        wait_until(lambda: len(service.get("/health")[1]["activeShadows"]) > 6, "all shadows are there")
        names = service.get("/api/things/shadow/ListNamedShadowsForThing/victron-twin")[1]["results"]
        seen += [str(service.get(f"/things/victron-twin/shadow?name={name}")) for name in names]
        seen += [str(service.get("/health")), read(service, "/metrics"), read(service, "/")]
        with socket.create_connection((HOST, service.port), timeout=5) as follower:
            follower.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            events = b""
            while len(re.findall(rb"^data: ", events, re.MULTILINE)) < 3:
                events += follower.recv(1_000_000)
        assert service.end() == 0
    seen += [service.log.read_text(), events.decode()]
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    seen += [path.read_bytes().decode(errors="replace") for path in files]
    assert "victron-battery" in events.decode()
    found: list[Any] = [text for text in seen if WRONG in text or PASSWORD in text]
    assert not found
