"""The audit log: chained, rotated, pruned, and verified whatever became of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from victron_twin.commands import audit
from victron_twin.commands.audit import MOST_STEPS, Audit, Kept, listed, take_over
from victron_twin.commands.chain import Misfit, Verifier
from victron_twin.commands.journal import Journal, Step
from victron_twin.state import StateError
from victron_twin.worker import InlineWorker

from .test_journal import now

START = 1_782_000_000.0
LARGE = Kept(10**9, 1e9)


def step(number: int, seconds: float = START) -> dict[str, Any]:
    at = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"at": at, "field": "mode", "new": "Off", "old": None, "step": "received", "version": number}


def written(folder: Path, count: int, kept: Kept = LARGE, *, period: float = 0.0) -> Audit:
    log = Audit(folder, kept)
    assert log.open() == ""
    for number in range(count):
        log.append(step(number, START + number * period))
    return log


def verified(folder: Path, noted: str | None = None) -> Verifier:
    return audit.verify(folder, noted, wait=lambda _: None)


def misfit(folder: Path) -> str:
    with pytest.raises(Misfit) as caught:
        verified(folder)
    return str(caught.value)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1]


def put(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def versions(log: Audit) -> list[int]:
    return [s["version"] for s in log.newest(MOST_STEPS)]


def test_what_was_written_fits_and_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    log = written(folder, 5)
    found = verified(folder)
    assert (found.files, found.first, found.last.line, found.steps, found.torn) == (1, 1, 6, 5, 0)
    assert log.newest(2) == [step(4), step(3)]
    again = Audit(folder, LARGE)
    assert again.open() == ""
    assert again.newest(MOST_STEPS) == log.newest(MOST_STEPS)
    again.append(step(5))
    assert verified(folder).last.line == 7
    assert len(listed(folder)) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


def test_nothing_was_written_yet(tmp_path: Path) -> None:
    written(tmp_path / "audit", 0)
    assert verified(tmp_path / "audit").files == 0


def test_values_of_all_kinds(tmp_path: Path) -> None:
    log = written(tmp_path, 0)
    values = [None, True, 12.5, 1e300, "Grüße 😀\n\u2028", {"value": 1, "id": "a"}, [1, [2]]]
    for value in values:
        log.append(step(0) | {"new": value})
    assert verified(tmp_path).steps == len(values)
    again = Audit(tmp_path, LARGE)
    again.open()
    assert [s["new"] for s in again.newest(10)] == values[::-1]


# Rotated and pruned


def test_by_size_all_files_together_stay_below_what_is_kept(tmp_path: Path) -> None:
    log = Audit(tmp_path, Kept(100_000, 1e9))
    log.open()
    for number in range(1000):
        log.append(step(number))
        assert sum(path.stat().st_size for path in listed(tmp_path)) <= 100_000
    found = verified(tmp_path)
    assert found.first > 1
    assert found.files >= 9
    assert versions(log)[0] == 999
    again = Audit(tmp_path, Kept(100_000, 1e9))
    assert again.open() == ""
    assert versions(again) == list(range(999, 999 - found.steps, -1))


def test_by_age(tmp_path: Path) -> None:
    day = 86_400.0
    written(tmp_path, 365, Kept(10**9, 100 * day), period=day)
    found = verified(tmp_path)
    assert found.files in (10, 11, 12)
    oldest = json.loads(lines_of(listed(tmp_path)[0])[0])["at"]
    assert audit.seconds(oldest) is not None
    assert 100 * day <= START + 364 * day - (audit.seconds(oldest) or 0) <= 121 * day


def test_a_clock_that_goes_back_ends_no_file_and_prunes_none(tmp_path: Path) -> None:
    log = written(tmp_path, 3, Kept(10**9, 1000.0))
    log.append(step(3, 0.0))
    log.append(step(4, START + 1))
    assert len(listed(tmp_path)) == 1
    assert verified(tmp_path).steps == 5


def test_after_a_long_silence_the_old_go_with_the_next_step_but_one_file(tmp_path: Path) -> None:
    log = written(tmp_path, 30, Kept(10**9, 1000.0), period=100.0)
    assert len(listed(tmp_path)) > 5
    log.append(step(30, START + 1e6))
    assert len(listed(tmp_path)) == 2
    assert verified(tmp_path).first > 1


def test_a_kill_between_what_is_said_to_be_pruned_and_doing_it(tmp_path: Path) -> None:
    kept = Kept(100_000, 1e9)
    folder = tmp_path / "audit"
    log = written(folder, 200, kept)
    while len(listed(folder)) < 9:
        log.append(step(0))
    before = shutil.copytree(folder, tmp_path / "before")
    while listed(folder)[0].name == listed(before)[0].name:
        log.append(step(0))
    shutil.copy(listed(before)[0], folder)  # it is still there
    assert verified(folder).first == 1
    log = Audit(folder, kept)
    assert log.open() == ""
    for number in range(50):
        log.append(step(number))
    assert verified(folder).first > 1


# Tampered with


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_change_removal_insertion_or_reordering_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("audit") / "log"
    written(folder, data.draw(st.integers(1, 12)), Kept(10 * 1000, 1e9))
    path = data.draw(st.sampled_from(listed(folder)))
    lines = lines_of(path)
    tampered = list(lines)
    places = st.integers(0, len(lines) - 1)
    place = data.draw(places)
    kind = data.draw(st.sampled_from(["change", "remove", "insert", "copy", "move", "bytes", "file"]))
    if kind == "change":
        entry = json.loads(tampered[place])
        name = data.draw(st.sampled_from(sorted(entry)))
        entry[name] = data.draw(
            st.one_of(st.text(max_size=5), st.integers(), st.none()).filter(lambda v: v != entry[name])
        )
        tampered[place] = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    elif kind == "remove":
        del tampered[place : data.draw(st.integers(place + 1, len(lines)))]
    elif kind == "insert":
        tampered.insert(place, data.draw(st.binary(max_size=20)))
    elif kind == "copy":
        tampered.insert(data.draw(st.integers(0, len(lines))), tampered[place])
    elif kind == "move":
        tampered.insert(data.draw(places), tampered.pop(place))
    put(path, tampered)
    if kind == "bytes":
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
    elif kind == "file":
        path.unlink()
    elif tampered == lines:
        return
    assert misfit(folder)
    # The service goes on, and what was done is still found, for ever.
    log = Audit(folder, LARGE)
    log.open()
    log.append(step(99))
    assert misfit(folder)
    again = Audit(folder, LARGE)
    again.open()
    again.append(step(100))
    assert misfit(folder)


def reseal(entry: Mapping[str, Any]) -> bytes:
    from victron_twin.commands.chain import Head, content_of, seal

    return seal(Head(entry["line"] - 1, entry["previous"]), content_of(dict(entry)))[0]


CASES: Mapping[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "changed": (lambda lines: [*lines[:3], lines[3].replace(b"Off", b"On"), *lines[4:]], "line 4: it was changed"),
    "changed, with a hash that fits": (
        lambda lines: [*lines[:3], reseal(json.loads(lines[3]) | {"new": "On"}), *lines[4:]],
        "line 5: it does not follow the line before it",
    ),
    "removed": (lambda lines: [*lines[:3], *lines[5:]], "line 4: lines 4 to 5 of the log were removed before it"),
    "removed at the end": (lambda lines: lines[:-1], "line 9 of the log was removed from the end"),
    "moved": (
        lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]],
        "line 4: line 4 of the log was removed before",
    ),
    "doubled": (
        lambda lines: [*lines[:4], lines[3], *lines[4:]],
        "line 5: it is line 4 of the log where line 5 belongs",
    ),
    "without its newline": (
        lambda lines: [*lines[:3], lines[3] + lines[4], *lines[5:]],
        "line 4: it was changed",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_line_that_does_not_fit_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path, 8)
    (path,) = listed(tmp_path)
    tamper, said = CASES[name]
    put(path, tamper(lines_of(path)))
    assert said in misfit(tmp_path)


def test_files_that_were_removed(tmp_path: Path) -> None:
    for gone, said in (
        (0, "of the log were removed before the first file that is there"),
        (2, "of the log were removed before it"),
        (-1, "removed from the end"),
    ):
        folder = tmp_path / str(gone)
        written(folder, 60, Kept(10_000, 1e9))
        files = listed(folder)
        if gone == 0:  # what was pruned is not missed, what is to be there is
            assert verified(folder).first > 1
        files[gone].unlink()
        assert said in misfit(folder)


def test_where_the_log_ends_is_not_known(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "head.json").unlink()
    assert "head.json is missing" in misfit(tmp_path)
    log = Audit(tmp_path, LARGE)
    assert "head.json" in log.open()
    log.append(step(3))
    assert "does not follow" in misfit(tmp_path)


def test_a_log_that_was_written_anew_is_found_by_a_hash_that_was_noted(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    log = written(folder, 3)
    noted = verified(folder).last.hash
    log.append(step(3))
    assert verified(folder, noted).steps == 4
    shutil.rmtree(folder)
    written(folder, 4, period=1.0)
    assert verified(folder).steps == 4
    with pytest.raises(Misfit, match=noted):
        verified(folder, noted)


# Cut short


def test_a_kill_at_any_byte_of_the_last_line(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    log = written(folder, 3)
    head = (folder / "head.json").read_bytes()
    (path,) = listed(folder)
    whole = path.stat().st_size
    log.append(step(3))
    content = path.read_bytes()
    for size in range(whole, len(content) + 1):
        cut = tmp_path / str(size)
        shutil.copytree(folder, cut)
        (cut / path.name).write_bytes(content[:size])
        (cut / "head.json").write_bytes(head)
        torn = size - whole if size < len(content) else 0
        assert verified(cut).torn == torn
        again = Audit(cut, LARGE)
        assert bool(again.open()) == bool(torn)
        again.append(step(4))
        found = verified(cut)
        assert found.torn == 0
        assert found.files == (2 if torn else 1)
        assert versions(again) == ([4, 3, 2, 1, 0] if size == len(content) else [4, 2, 1, 0])
        if torn:  # what was left of a line is not to be touched either
            for other in (content[: size - 1], content[:size] + b"x"):
                (cut / path.name).write_bytes(other)
                assert "was cut or added to at its end" in misfit(cut)


def test_a_line_that_was_acknowledged_is_missed_where_it_is_cut(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (path,) = listed(tmp_path)
    path.write_bytes(path.read_bytes()[:-2])
    assert "line 4 of the log was removed from the end" in misfit(tmp_path)


def test_a_power_cut_before_head_json_was_on_the_disk(tmp_path: Path) -> None:
    log = written(tmp_path, 3)
    old = (tmp_path / "head.json").read_bytes()
    for number in range(3, 10):
        log.append(step(number))
    (tmp_path / "head.json").write_bytes(old)
    assert verified(tmp_path).steps == 10
    again = Audit(tmp_path, LARGE)
    assert again.open() == ""
    again.append(step(10))
    assert verified(tmp_path).steps == 11


def test_a_step_that_could_not_be_written_is_not_in_the_way_of_the_next(tmp_path: Path) -> None:
    log = written(tmp_path, 3)
    (path,) = listed(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        log.append(step(3))
    path.rmdir()
    (tmp_path / "elsewhere").rename(path)
    log.append(step(4))
    assert versions(log) == [4, 2, 1, 0]
    assert verified(tmp_path).steps == 4


# Verified while it is written


def test_it_is_verified_while_it_is_written_rotated_and_pruned(tmp_path: Path) -> None:
    log = written(tmp_path, 1, Kept(20_000, 1e9))
    ended = threading.Event()

    def write() -> None:
        random = Random(1)
        for number in range(3000):
            log.append(step(number) | {"reason": "x" * random.randrange(200)}, sync=False)
            ended.wait(0.0005)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        count = 0
        while not ended.is_set():
            audit.verify(tmp_path)
            count += 1
        assert count > 3
    finally:
        writer.join()
    assert verified(tmp_path).first > 1


# In the journal

FORMER = """
CREATE TABLE settled (thing TEXT, shadow TEXT, path TEXT, value TEXT, proposed TEXT,
                      PRIMARY KEY (thing, shadow, path)) WITHOUT ROWID;
CREATE TABLE ids (thing TEXT, id TEXT, at REAL, asked TEXT, done INTEGER, PRIMARY KEY (thing, id)) WITHOUT ROWID;
CREATE TABLE steps (number INTEGER PRIMARY KEY, step TEXT);
PRAGMA user_version = 1;
INSERT INTO settled VALUES ('van', 'victron-vebus', '["mode"]', '"On"', NULL);
"""


def former(path: Path, count: int) -> None:
    db = sqlite3.connect(path)
    db.executescript(FORMER)
    with db:
        db.executemany("INSERT INTO steps (step) VALUES (?)", [(json.dumps(step(n)),) for n in range(count)])
    db.close()


@pytest.mark.parametrize("rest", ["nothing", "half of it", "all of it"])
def test_the_steps_of_the_former_form_are_taken_over_once(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "commands.sqlite"
    former(path, 700)
    if rest == "half of it":  # of a takeover that was killed
        written(tmp_path / "audit.new", 300)
    elif rest == "all of it":
        take_over(tmp_path / "audit", LARGE, map(step, range(700)))
    for _ in range(2):
        journal = Journal(path, InlineWorker())
        assert now(journal.open()) is None
        assert [s["version"] for s in now(journal.steps(500))] == list(range(699, 199, -1))
        assert now(journal.record("van")).settled == {"victron-vebus": {("mode",): ("On",)}}
        assert verified(tmp_path / "audit").steps == 700
        now(journal.close())
    assert not (tmp_path / "audit.new").exists()


def test_the_journal_writes_each_step_to_the_log_beside_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "commands.sqlite", InlineWorker())
    now(journal.open())
    for number in range(3):
        now(journal.note(Step("t", "van", "victron-vebus", "mode", "On", "Off", "received", "new", "", "", number)))
    assert verified(tmp_path / "audit").steps == 3
    assert set(now(journal.steps(1))[0]) == set(Step.__dataclass_fields__)


def test_a_folder_that_cannot_be_used_is_said_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("no folder")
    failure = now(Journal(tmp_path / "commands.sqlite", InlineWorker()).open())
    assert failure.check(StateError)
    assert "move it away" in failure.getErrorMessage()
