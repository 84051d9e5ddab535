"""The embedded store: the contract, and what it does when the process, the disk or the file fails."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from tests.asynchronous import asynchronous, wait
from tests.conftest import ExpectErrors
from victron_twin.shadows.backend import Delta, ShadowBackend, ShadowError, Unavailable
from victron_twin.shadows.local import LocalBackend
from victron_twin.state import StateError
from victron_twin.worker import InlineWorker, ThreadWorker

from .backend_contract import NAME, BackendContract

THING = "t"


def conforms(backend: LocalBackend) -> ShadowBackend:
    """Checked by mypy: the class has the interface's form."""
    return backend


def inline(path: Path, clock: Clock | None = None) -> LocalBackend:
    return LocalBackend(path, clock or Clock(), InlineWorker())


def threaded(path: Path) -> LocalBackend:
    return LocalBackend(path, IReactorTime(reactor), ThreadWorker(reactor, "shadows"))


def now(deferred: Deferred[Any]) -> Any:
    """The result of what an inline worker did at once; raises its error."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


class TestInline(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[ShadowBackend]:
        backend = inline(tmp_path / "shadows.sqlite")
        wait(backend.start())
        yield backend
        wait(backend.stop())


class TestThreaded(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[ShadowBackend]:
        backend = threaded(tmp_path / "shadows.sqlite")
        wait(backend.start())
        yield backend
        wait(backend.stop())


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    clock = Clock()
    clock.advance(1_700_000_000.9)
    first = inline(path, clock)
    now(first.start())
    now(first.update(THING, NAME, {"state": {"reported": {"a": [1, {"b": "ä"}]}, "desired": {"a": 2}}}))
    now(first.update(THING, "gone", {"state": {"reported": {"a": 1}}}))
    now(first.delete(THING, "gone"))
    before = now(first.get(THING, NAME))
    assert before["metadata"]["desired"] == {"a": {"timestamp": 1_700_000_000}}
    now(first.stop())

    second = inline(path, clock)
    now(second.start())
    assert now(second.get(THING, NAME)) == before
    assert now(second.named_shadows(THING)) == [NAME]
    assert now(second.update(THING, "gone", {"state": {}}))["version"] == 3
    now(second.stop())
    now(second.start())
    assert now(second.get(THING, NAME)) == before
    now(second.stop())


def test_before_the_start_and_after_the_stop_it_is_unavailable(tmp_path: Path) -> None:
    backend = inline(tmp_path / "shadows.sqlite")
    for _ in range(2):
        with pytest.raises(Unavailable, match="not open"):
            now(backend.get(THING, NAME))
        now(backend.start())
        now(backend.update(THING, NAME, {"state": {}}))
        now(backend.stop())
        now(backend.stop())


@asynchronous
async def test_stop_waits_for_what_is_under_way_and_keeps_the_order(tmp_path: Path) -> None:
    backend = threaded(tmp_path / "shadows.sqlite")
    await backend.start()
    sent = [backend.update(THING, NAME, {"state": {"reported": {"n": n}}}) for n in range(50)]
    stopped = backend.stop()
    answers = await DeferredList(sent)
    assert [answer["version"] for _, answer in answers] == list(range(1, 51))
    await stopped
    await backend.start()
    assert (await backend.get(THING, NAME))["state"] == {"reported": {"n": 49}}
    await backend.stop()


@asynchronous
async def test_what_was_accepted_is_announced_though_nobody_waits_for_the_answer(tmp_path: Path) -> None:
    backend = threaded(tmp_path / "shadows.sqlite")
    await backend.start()
    seen: list[Delta] = []
    backend.watch(seen.append)
    asked = backend.update(THING, NAME, {"state": {"desired": {"a": 1}}})
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    await backend.get(THING, NAME)
    assert seen == [Delta(THING, NAME, {"a": 1}, 1)]
    await backend.stop()


def test_a_request_is_taken_by_value(tmp_path: Path) -> None:
    backend = inline(tmp_path / "shadows.sqlite")
    now(backend.start())
    values: dict[str, Any] = {"a": {"b": 1}}
    answer = now(backend.update(THING, NAME, {"state": {"reported": values}}))
    values["a"]["b"] = 2
    answer["state"]["reported"]["a"]["b"] = 3
    assert now(backend.get(THING, NAME))["state"] == {"reported": {"a": {"b": 1}}}
    now(backend.stop())


def test_what_was_answered_belongs_to_the_caller(tmp_path: Path) -> None:
    backend = inline(tmp_path / "shadows.sqlite")
    now(backend.start())
    told: list[Delta] = []
    backend.watch(told.append)
    answer = now(backend.update(THING, NAME, {"state": {"reported": {"a": [1]}, "desired": {"b": {"c": [2]}}}}))
    answer["state"]["reported"]["a"].append(3)
    told[0].state["b"]["c"].append(3)
    now(backend.get(THING, NAME))["state"]["reported"]["a"].append(3)
    assert now(backend.update(THING, NAME, {"state": {"reported": {"x": 1}}}))["version"] == 2
    held = now(backend.get(THING, NAME))["state"]
    assert (held["reported"], held["desired"]) == ({"a": [1], "x": 1}, {"b": {"c": [2]}})
    now(backend.stop())


def test_a_number_of_any_size_stays_what_it_is(tmp_path: Path) -> None:
    backend = inline(tmp_path / "shadows.sqlite")
    now(backend.start())
    reported = {"large": 2**70, "small": 5e-324, "text": "\x7f\u2028"}
    now(backend.update(THING, NAME, {"state": {"reported": reported}}))
    now(backend.stop())
    now(backend.start())
    assert now(backend.get(THING, NAME))["state"]["reported"] == reported
    now(backend.stop())


def test_a_listener_that_fails_disturbs_nobody(tmp_path: Path, logged_errors: ExpectErrors) -> None:
    logged_errors("a listener to deltas failed")
    backend = inline(tmp_path / "shadows.sqlite")
    now(backend.start())
    seen: list[Delta] = []

    def fails(delta: Delta) -> None:
        raise ZeroDivisionError

    backend.watch(fails)
    backend.watch(seen.append)
    now(backend.update(THING, NAME, {"state": {"desired": {"a": 1}}}))
    assert len(seen) == 1
    now(backend.stop())


def start_error(path: Path) -> str:
    with pytest.raises(StateError) as caught:
        now(inline(path).start())
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def some_store(path: Path) -> None:
    backend = inline(path)
    now(backend.start())
    for n in range(30):
        now(backend.update(THING, f"shadow-{n}", {"state": {"reported": {"a": "x" * 4000}}}))
    now(backend.stop())


def test_file_that_is_no_database_stops_the_start_and_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    path.write_bytes(b"rubbish " * 1000)
    assert "move it away" in start_error(path)
    assert path.read_bytes() == b"rubbish " * 1000


def test_damaged_database_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    some_store(path)
    content = bytearray(path.read_bytes())
    for page in range(4096, len(content), 4096):
        content[page : page + 200] = os.urandom(200)
    path.write_bytes(content)
    assert "move it away" in start_error(path)


def test_truncated_database_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    some_store(path)
    path.write_bytes(path.read_bytes()[:9000])
    assert "move it away" in start_error(path)


def test_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    some_store(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    assert "another version" in start_error(path)


def test_second_process_on_the_same_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shadows.sqlite"
    first = inline(path)
    now(first.start())
    assert "in use by another process" in start_error(path)
    now(first.update(THING, NAME, {"state": {}}))
    now(first.stop())


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "must exist and be writable" in start_error(tmp_path / "missing" / "shadows.sqlite")


def test_full_disk_is_unavailable_and_passes(tmp_path: Path) -> None:
    backend = inline(tmp_path / "shadows.sqlite")
    now(backend.start())
    now(backend.update(THING, NAME, {"state": {"reported": {"a": 1}}}))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        for _ in range(3):
            with pytest.raises(Unavailable, match="cannot be used"):
                now(backend.update(THING, NAME, {"state": {"reported": {"a": 2}}}))
        assert now(backend.get(THING, NAME))["state"] == {"reported": {"a": 1}}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert now(backend.update(THING, NAME, {"state": {"reported": {"a": 3}}}))["version"] == 2
    now(backend.stop())


WRITER = """
import sys
from pathlib import Path
from twisted.internet.task import Clock
from victron_twin.shadows.local import LocalBackend
from victron_twin.worker import InlineWorker
backend = LocalBackend(Path(sys.argv[1]), Clock(), InlineWorker())
backend.start()
for n in range(10**9):
    section = ("reported", "desired")[n % 3 == 0]
    backend.update("t", "s", {"state": {section: {"n": n, "pad": "x" * 2000}}}).addCallback(
        lambda answer: print(answer["version"], flush=True))
"""


@pytest.mark.integration
@pytest.mark.parametrize("lines", [1, 40, 400, 1500])
def test_kill_at_any_time_loses_nothing_that_was_acknowledged(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "shadows.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer:
        for _ in range(lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split(b"\n")
    acknowledged = max([lines, *(int(line) for line in rest[:-1])])
    backend = inline(path)
    now(backend.start())
    document = now(backend.get("t", "s"))
    assert document["version"] in (acknowledged, acknowledged + 1)
    assert max(s["n"] for s in document["state"].values()) == document["version"] - 1
    assert json.dumps(document)
    now(backend.stop())


def test_errors_are_the_interfaces(tmp_path: Path, logged_errors: ExpectErrors) -> None:
    """A row that is not ours: told as a failure of the service, with the cause in the log."""
    logged_errors("the shadow store failed")
    path = tmp_path / "shadows.sqlite"
    some_store(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE shadow SET sections='rubbish'")
    connection.close()
    backend = inline(path)
    now(backend.start())
    with pytest.raises(ShadowError, match="Internal service failure"):
        now(backend.get(THING, "shadow-1"))
    now(backend.stop())
