"""What the journal knows after the process has ended in whatever way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from victron_twin.commands.journal import IDS_KEPT, Journal, Record, Step
from victron_twin.state import StateError
from victron_twin.worker import InlineWorker


def now(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0]


def opened(path: Path) -> Journal:
    journal = Journal(path, InlineWorker())
    assert now(journal.open()) is None
    return journal


def test_both_values_count_until_one_is_known_to_have_arrived(tmp_path: Path) -> None:
    path = tmp_path / "commands.sqlite"
    journal = opened(path)
    now(journal.settle("van", "victron-vebus", {("mode",): "On"}))
    now(journal.propose("van", "victron-vebus", {("mode",): "Off", ("input1", "currentLimit"): 12.5}))
    now(journal.close())
    record: Record = now(opened(path).record("van"))
    assert record.settled == {"victron-vebus": {("mode",): ("On", "Off"), ("input1", "currentLimit"): (None, 12.5)}}
    assert now(opened(path).record("boat")).settled == {}


def test_the_id_of_an_action_is_used_from_before_it_is_done(tmp_path: Path) -> None:
    path = tmp_path / "commands.sqlite"
    journal = opened(path)
    now(journal.begin("van", "a", {"value": 1}, 1e9))
    now(journal.begin("van", "b", {"value": 2}, 1e9))
    now(journal.done("van", "b"))
    assert now(opened(path).record("van")).ids == {"a": ({"value": 1}, False), "b": ({"value": 2}, True)}
    now(journal.begin("van", "c", {}, 1e9 + IDS_KEPT + 1))
    assert set(now(opened(path).record("van")).ids) == {"c"}


def test_the_audit_log_is_newest_first_and_only_grows(tmp_path: Path) -> None:
    journal = opened(tmp_path / "commands.sqlite")
    for number in range(5):
        step = Step("t", "van", "victron-vebus", "mode", "On", "Off", "received", "new", "", "", number)
        now(journal.note(step))
    assert [s["version"] for s in now(journal.steps(3))] == [4, 3, 2]


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to be read as one" * 20])
def test_a_file_that_cannot_be_used_is_said_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "commands.sqlite"
    path.write_bytes(content)
    failure = now(Journal(path, InlineWorker()).open())
    assert failure.check(StateError)
    assert str(path) in failure.getErrorMessage()
    assert "move it away" in failure.getErrorMessage()
    assert path.read_bytes() == content
