"""How the process ends, with real processes and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mosquitto import HOST, free_port
from tests.service import Service, runs, wait_until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_time_with_status_0_and_nothing_left(tmp_path: Path, number: int) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        gx = service.gx()
        assert service.end(number) == 0
        wait_until(lambda: not runs(gx), "the simulated GX has ended")
    assert "Traceback" not in service.log.read_text()


def test_a_frozen_gx_does_not_hold_it_up(tmp_path: Path) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        gx = service.gx()
        os.kill(gx, signal.SIGSTOP)
        assert service.end() == 0
        wait_until(lambda: not runs(gx), "the simulated GX has ended")


def test_the_simulated_gx_ends_with_a_service_that_was_killed(tmp_path: Path) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        gx = service.gx()
        service.process.kill()
        service.process.wait()
        wait_until(lambda: not runs(gx), "the simulated GX has ended")


def test_a_simulated_gx_that_was_killed_comes_again(tmp_path: Path) -> None:
    with Service(tmp_path, "--demo") as service:
        service.wait_until_healthy()
        gx = service.gx()
        os.kill(gx, signal.SIGKILL)
        wait_until(lambda: not runs(gx), "the simulated GX has ended")
        service.wait_until_healthy()
        assert service.gx() != gx


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with Service(tmp_path, "--demo", port=port) as service:
            assert service.process.wait(60) == 1
    log = service.log.read_text()
    (line,) = [line for line in log.splitlines() if " critical " in line]
    assert f"http: tcp:{port}:interface={HOST}" in line
    assert "Address already in use" in line
    assert "VICTRON_TWIN_HTTP" in line
    assert "Traceback" not in log


def test_retries_that_are_used_up_end_it_with_status_1(tmp_path: Path) -> None:
    config = tmp_path / "twin.toml"
    config.write_text(f"[gx]\nhost = '{HOST}'\nport = {free_port()}\nmax_retries = 1\n")
    with Service(tmp_path, "--config", str(config)) as service:
        assert service.process.wait(60) == 1
    log = service.log.read_text()
    (line,) = [line for line in log.splitlines() if " critical " in line]
    assert "after 1 retries" in line
    assert "refused" in line
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--http", "nonsense", "http"), ("--http", "tcp:99999", "http"), ("--log-level", "loud", "log_level")],
)
def test_what_cannot_begin_says_why_in_one_line(tmp_path: Path, option: str, value: str, said: str) -> None:
    with Service(tmp_path, option, value) as service:
        assert service.process.wait(60) == 1
    (line,) = service.log.read_text().splitlines()
    assert said in line
    assert value in line


def test_a_reader_of_the_log_who_has_gone_changes_nothing(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Service(tmp_path, "--demo", output=writing) as service:
        os.close(writing)
        service.wait_until_healthy()
        assert service.end() == 0


STUCK = """
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from victron_twin.exits import Exits
reactor.addSystemEventTrigger("before", "shutdown", Deferred)
exits = Exits(reactor)
exits.startService()
reactor.callWhenRunning(print, "running", flush=True)
reactor.callLater(1, exits.fatal, "something") if STATUS else None
reactor.run()
"""


@pytest.mark.parametrize("status", [0, 1])
def test_what_does_not_stop_is_left_behind(status: int) -> None:
    script = STUCK.replace("STATUS", str(status))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        for _ in range(2):
            if not status:
                process.terminate()
        try:
            assert process.wait(30) == status
        finally:
            process.kill()
