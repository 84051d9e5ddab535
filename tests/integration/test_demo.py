"""``victron-twin demo`` as a process without a terminal."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.mosquitto import HOST, free_port
from tests.program import Program
from tests.service import children, runs, wait_until

pytestmark = pytest.mark.integration


def demo(folder: Path, *arguments: str, name: str = "demo.log") -> Program:
    return Program(folder / name, "demo", "--state-dir", str(folder / "state"), *arguments)


def family(program: Program) -> list[int]:
    """The service, and the simulated GX below it."""
    (service,) = children(program.process.pid)
    return [service, *children(service)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_a_site_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    port = free_port()
    with demo(tmp_path, "--port", str(port)) as program:
        program.wait_for("mode")
        table = re.compile(r"^ +[\d.]+ % +-?[\d.]+ W +-?[\d.]+ W +-?[\d.]+ W +On +\d+$", re.MULTILINE)
        wait_until(lambda: table.search(program.output), "a line of the table")
        lines = [line.strip() for line in program.output.splitlines()]
        assert f"The page:  http://{HOST}:{port}/" in lines
        (copied,) = [line for line in lines if line.startswith("curl ")]
        with urlopen(copied.split("'")[1], timeout=5) as answer:
            document: Any = json.load(answer)
        assert document["state"]["reported"]["power"] < 0  # it starts with a battery that discharges
        with urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
            assert json.load(answer)["mqttConnected"] is True
        processes = family(program)
        assert len(processes) == 2
        assert program.end(number) == 0
        wait_until(lambda: not any(map(runs, processes)), "its processes have ended", 10.0)
    assert "Ending." in program.output
    assert "\r" not in program.output
    assert "Traceback" not in program.output + (tmp_path / "state" / "service.log").read_text()


def test_it_can_be_ended_before_it_shows_anything(tmp_path: Path) -> None:
    with demo(tmp_path, "--port", str(free_port())) as program:
        processes = wait_until(lambda: family(program) if children(program.process.pid) else [], "the service")
        assert program.end(signal.SIGTERM) == 0
        wait_until(lambda: not any(map(runs, processes)), "its processes have ended", 10.0)
    assert "Traceback" not in program.output


def test_the_large_site_fills_a_shadow_of_every_kind(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, "--port", str(port), "--site", "large") as program:
        program.wait_for("mode")
        with urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
            shadows = set(json.load(answer)["activeShadows"])
        assert program.end() == 0
    assert {"victron-genset", "victron-evcharger", "victron-inverter", "victron-dcdc", "victron-io"} <= shadows


def test_a_port_that_is_taken_and_a_second_demo(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        with demo(tmp_path, "--port", str(taken)) as program:
            program.wait_for("The page:")
            (line,) = [line for line in program.output.splitlines() if "is taken" in line]
            page = int(line.removesuffix(".").rsplit(" ", 1)[1])
            assert page > taken
            assert f"Port {taken} is taken, so the page is on {page}." == line
            assert f"http://{HOST}:{page}/" in program.output
            with demo(tmp_path, "--port", str(taken), name="second.log") as second:
                assert second.wait() == 1
            assert "already in use by another victron-twin" in second.output
            with urlopen(f"http://{HOST}:{page}/health", timeout=5) as answer:
                assert answer.status == 200
            assert program.end(signal.SIGINT) == 0


def test_what_cannot_be_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with demo(tmp_path) as program:
        assert program.wait() == 1
    (line,) = program.output.splitlines()
    assert line.startswith(f"victron-twin: --state-dir: {tmp_path / 'state'}")
    for port in ("x", "0", "99999"):
        with demo(tmp_path, "--port", port) as program:
            assert program.wait() == 2
        assert program.output.startswith(f"victron-twin: '{port}' is no port")
    with demo(tmp_path, "--site", "moon") as program:
        assert program.wait() == 2
    assert program.output.startswith("victron-twin: 'moon' is no site")
