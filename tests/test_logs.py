"""Lines for people and for machines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from zope.interface import implementer

from victron_twin import logs
from victron_twin.config import Secret

TIME = 1_718_877_600.0


@implementer(ILogObserver)
class Log:
    """What an observer writes of what is logged."""

    def __init__(self, form: str, level: str = "info") -> None:
        self._stream = io.StringIO()
        self._observer = logs.observer(self._stream, form, level)

    def logger(self, namespace: str = "victron_twin.gx.service.GXService") -> Logger:
        return Logger(namespace, observer=self)

    def __call__(self, event: LogEvent) -> None:
        self._observer({**event, "log_time": TIME})

    def failure(self) -> None:
        try:
            raise ValueError("what was wrong")
        except ValueError:
            self.logger().failure("It broke")

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def line(self) -> dict[str, Any]:
        """The one line, as any strict reader of JSON reads it."""
        (line,) = self.text.splitlines()

        def no_constant(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        read: dict[str, Any] = json.loads(line, parse_constant=no_constant)
        return read


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_for_people() -> None:
    log = Log("human")
    log.logger().info("{host}: all is well again.", host="10.0.0.1")
    assert log.text == "2024-06-20T10:00:00Z info     gx.service.GXService: 10.0.0.1: all is well again.\n"


def test_further_lines_are_indented_so_that_each_event_begins_at_the_margin() -> None:
    log = Log("human")
    log.failure()
    first, *others = log.text.splitlines()
    assert first.endswith("It broke")
    assert all(line.startswith("    ") for line in others)
    assert "ValueError: what was wrong" in others[-1]


def test_names_of_devices_do_not_steer_a_terminal() -> None:
    log = Log("human")
    log.logger().info("{name}", name="\x1b[2J\x7fVan\r")
    assert log.text.endswith(": \\x1b[2J\\x7fVan\\x0d\n")


def test_without_the_time_for_a_parent_that_adds_it() -> None:
    log = Log("bare")
    log.logger().warn("It is late")
    assert log.text == "warn     gx.service.GXService: It is late\n"


def test_for_machines() -> None:
    log = Log("json")
    log.logger().warn("{host} waits {seconds} s", host="Küche", seconds=1.5, first=True, count=3, none=None, list=[1])
    assert log.line == {
        "time": "2024-06-20T10:00:00Z",
        "level": "warn",
        "where": "gx.service.GXService",
        "message": "Küche waits 1.5 s",
        "host": "Küche",
        "seconds": 1.5,
        "first": True,
        "count": 3,
    }


def test_a_failure_for_machines() -> None:
    log = Log("json")
    log.failure()
    assert (log.line["level"], log.line["message"]) == ("critical", "It broke")
    assert log.line["trace"].splitlines()[-1] == "builtins.ValueError: what was wrong"


ODD = {
    "no number": float("nan"),
    "without end": float("-inf"),
    "too long for Python": 10**5000,
    "too long for others": 2**70,
    "half a pair": "\udc80",
    "bytes": b"\xff",
    "unprintable": Unprintable(),
    "unprintable within": {"deep": {1: Unprintable()}},
    "controls": "\x00\n\u2028",
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("format", ["it is {value}", "it is {value!r}", "{value.gone}", "{", "plain"])
def test_whatever_comes_makes_one_line_of_json(value: object, format: str) -> None:
    log = Log("json")
    log.logger().info(format, value=value)
    assert log.line["level"] == "info"


def test_fields_never_replace_the_lines_own() -> None:
    log = Log("json")
    log.logger().info("the message", message="mine", where="mine", time="mine")
    assert (log.line["message"], log.line["where"]) == ("the message", "gx.service.GXService")
    assert log.line["time"].startswith("2024")


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_secret_shows_itself_nowhere(form: str) -> None:
    log = Log(form)
    password = Secret("hunter2")
    try:
        raise ValueError(password)
    except ValueError:
        log.logger().failure("{password} {password!r} {more}", password=password, more=[password])
    assert "hunter2" not in log.text
    assert "Secret(...)" in log.text


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "critical"])
def test_levels(level: str) -> None:
    log = Log("json", level)
    every = ["debug", "info", "warn", "error", "critical"]
    for each in every:
        log.logger().emit(LogLevel.levelWithName(each), "something")
    assert [json.loads(line)["level"] for line in log.text.splitlines()] == every[every.index(level) :]


@pytest.mark.parametrize("namespace", ["log_legacy", "twisted.web.server.Site", "twisted.scripts._twistd_unix.X"])
def test_chatter_of_twisted_is_heard_at_debug_only(namespace: str) -> None:
    for level, told in (("debug", True), ("info", False), ("error", False)):
        log = Log("human", level)
        log.logger(namespace).info("Starting factory")
        assert bool(log.text) is told
    log = Log("human")
    log.logger(namespace).error("It broke")
    assert "It broke" in log.text


def test_a_disk_that_is_full_loses_lines_and_nothing_else() -> None:
    with open("/dev/full", "w") as full:
        write = logs.observer(full, "human", "info")
        for _ in range(3):
            write({"log_level": LogLevel.info, "log_namespace": "x", "log_format": "y", "log_time": TIME})
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


SPEAK = """
import sys
from twisted.logger import LogLevel
from victron_twin import logs
write = logs.observer(sys.stdout, "human", "info")
sys.stdin.read()
for n in range(3):
    write({"log_level": LogLevel.info, "log_namespace": "x", "log_format": "Temp\\xe9rature \\u2600", "log_time": 0.0})
"""


@pytest.mark.integration
def test_a_reader_that_has_gone_is_no_reason_to_fail() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SPEAK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.integration
def test_a_stream_of_another_encoding_takes_what_it_can() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SPEAK],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout.splitlines() == [b"1970-01-01T00:00:00Z info     x: Temp\xe9rature \\u2600"] * 3
