"""The audit log on the disk: files of lines that are chained, and beside them where they end.

``<folder>/<number of its first line>.jsonl``, the last of which grows, and ``head.json``: the last line's number and
hash, without which lines could be taken from the end unseen. A line is on the disk before ``head.json`` tells of it.
What stands in a file is never written over: where something is wrong the log goes on in a new file.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from victron_twin import files

from .chain import Entry, Head, Misfit, Verifier, content_of, encode, head_of, name_of, opens_file, read, seal

#: Steps that are at hand, newest first.
MOST_STEPS = 500
#: A file has this part of what is kept, by size and by age.
PARTS = 10
#: So often, and with so long in between (s), is it verified where something is wrong: the service may be writing it.
TRIES, PAUSE = 5, 0.1

_HEAD = "head.json"
_HEAD_SIZE = 128  # always as long, so that it is written in one piece


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is kept: all files together in bytes, and a step's age in s."""

    max_bytes: int = 20_000_000
    max_age: float = 365 * 86_400.0


#: Unless configured.
KEPT = Kept()


@dataclass(slots=True)
class _File:
    path: Path
    first: int
    since: float | None  #: when its first line was written, epoch s; None where that cannot be told
    size: int


class Audit:
    """Blocks: to be used in a worker. Times are those of the steps."""

    def __init__(self, folder: Path, kept: Kept) -> None:
        self._folder = folder
        self._kept = kept
        self._files: list[_File] = []
        self._newest: deque[Entry] = deque(maxlen=MOST_STEPS)
        self._head: Head | None = None  # None: not opened
        self._begins = 1
        self._torn = 0
        self._anew = True  # whether the next line needs a new file

    def open(self) -> str:
        """Find the end of the log; what is wrong with it, in a sentence. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = [_file(path) for path in listed(self._folder)]
        self._newest.clear()
        self._begins, self._torn, found = 1, 0, Head()
        known = read_head(self._folder)
        hashes: dict[int, str] = {}
        trouble = ""
        if self._files:
            content = self._files[-1].path.read_bytes()
            good, self._torn = _good(content)
            found = head_of(good[-1]) if good else Head(self._files[-1].first)
            hashes = {entry["line"]: entry["hash"] for entry in good}
            self._begins = next((e["begins"] for e in good if opens_file(e)), 1)
            self._collect(good)
            if self._torn:
                trouble = f"{self._files[-1].path} ends with {self._torn} bytes that are no line: the log goes on after"
        self._anew = not self._files or self._torn > 0
        if known is None and not self._files:
            files.write(self._folder / _HEAD, _head_text(found))
        elif known is None:
            found, self._anew = Head(found.line), True
            trouble = f"{self._folder / _HEAD} is missing or cannot be read"
        elif known.line > found.line or hashes.get(known.line, known.hash) != known.hash:
            # What follows is chained to the line that is gone, so that verifying finds it for ever.
            found, self._anew = Head(max(known.line, found.line), known.hash), True
            trouble = f"lines in {self._folder} were removed or replaced: see victron-twin audit verify"
        self._head = found
        return trouble

    def append(self, content: Mapping[str, Any], sync: bool = True) -> None:
        """One more line; it is on the disk afterwards. Raises OSError."""
        head, self._head = self.head(), None  # if it fails, what is there is looked at anew
        at = str(content["at"])
        raw, after = seal(head, content)
        if self._anew or self._full(len(raw) + 1, at):
            head = self._begin(head, at)
            raw, after = seal(head, content)
        file = self._files[-1]
        _append(file.path, raw + b"\n", sync)
        file.size += len(raw) + 1
        self._know(after)
        self._head = after
        self._newest.appendleft(content_of(json.loads(raw)))

    def head(self) -> Head:
        """The last line. Raises OSError."""
        if self._head is None:
            self.open()
        return self._head or Head()

    def newest(self, limit: int) -> list[Entry]:
        """The newest steps, newest first, at most :data:`MOST_STEPS`."""
        return list(self._newest)[:limit]

    def _full(self, more: int, at: str) -> bool:
        file, now = self._files[-1], seconds(at)
        old = now is not None and file.since is not None and now - file.since >= self._kept.max_age / PARTS
        return old or file.size + more > self._kept.max_bytes // PARTS

    def _begin(self, head: Head, at: str) -> Head:
        """Begin a new file, and prune old ones; what is pruned is said in it before it is done."""
        pruned = self._pruned(seconds(at))
        kept = self._files[len(pruned) :]
        if pruned:
            self._begins = max(self._begins, kept[0].first if kept else head.line + 1)
        raw, after = seal(head, {"at": at, "begins": self._begins, "torn": self._torn})
        path = self._folder / name_of(after.line)
        files.write(path, raw + b"\n")
        self._files = [*kept, _File(path, after.line, seconds(at), len(raw) + 1)]
        self._anew, self._torn = False, 0
        for file in pruned:
            file.path.unlink(missing_ok=True)
        self._know(after)
        return after

    def _pruned(self, now: float | None) -> list[_File]:
        """The oldest files, as far as they need not be kept; the last one always is."""
        room = self._kept.max_bytes - self._kept.max_bytes // PARTS
        size = sum(file.size for file in self._files)
        count = 0
        for file, following in zip(self._files, self._files[1:], strict=False):
            ended = following.since
            old = now is not None and ended is not None and now - ended > self._kept.max_age
            if not (old or size > room or file.first < self._begins):
                break
            size -= file.size
            count += 1
        return self._files[:count]

    def _know(self, head: Head) -> None:
        """Not on the disk at once: after a power cut it may know less than there is, which does no harm."""
        descriptor = os.open(self._folder / _HEAD, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, _head_text(head), 0)
        finally:
            os.close(descriptor)

    def _collect(self, last: list[Entry]) -> None:
        steps: list[Entry] = []
        entries, earlier = last, self._files[:-1]
        while True:
            steps += (content_of(entry) for entry in reversed(entries) if not opens_file(entry))
            if not earlier or len(steps) >= MOST_STEPS:
                break
            entries = _good(earlier.pop().path.read_bytes())[0]
        self._newest = deque(steps[:MOST_STEPS], maxlen=MOST_STEPS)


def take_over(folder: Path, kept: Kept, steps: Iterable[Mapping[str, Any]]) -> None:
    """Make the log from the steps of a former form, all of it or nothing; a log that is there stays as it is."""
    if folder.exists():
        return
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    audit = Audit(fresh, kept)
    audit.open()
    for step in steps:
        audit.append(step, sync=False)
    for path in (*fresh.iterdir(), fresh):
        _sync(path)
    fresh.rename(folder)
    _sync(folder.parent)


def listed(folder: Path) -> list[Path]:
    """The files of the log, the oldest first."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")


def read_head(folder: Path) -> Head | None:
    try:
        found = json.loads((folder / _HEAD).read_bytes())
        head = Head(found["line"], found["hash"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return head if type(head.line) is int and type(head.hash) is str else None


def verify(folder: Path, noted: str | None = None, wait: Callable[[float], None] = time.sleep) -> Verifier:
    """What was found in the whole log, also while the service writes it. Raises Misfit and OSError.

    ``noted`` is the hash of a line that must be there.
    """
    for left in reversed(range(TRIES)):
        try:
            found = _verified(folder, noted)
            if not found.torn or not left:
                return found
        except (Misfit, FileNotFoundError):
            if not left or not folder.exists():
                raise
        wait(PAUSE)
    raise AssertionError("the last try returns or raises")


def _verified(folder: Path, noted: str | None) -> Verifier:
    verifier = Verifier(read_head(folder), noted)
    for path in listed(folder):
        verifier.file(path.name, path.read_bytes())
    verifier.end()
    return verifier


def seconds(at: str) -> float | None:
    """ISO 8601 as epoch s."""
    try:
        return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _file(path: Path) -> _File:
    with path.open("rb") as stream:
        entry = read(stream.readline().rstrip(b"\n"))
        size = os.fstat(stream.fileno()).st_size
    first = int(path.stem) if path.stem.isdecimal() else 0
    return _File(path, first, None if entry is None else seconds(str(entry.get("at"))), size)


def _good(content: bytes) -> tuple[list[Entry], int]:
    """The lines that are as they were written, and how many bytes follow the last of them."""
    *lines, rest = content.split(b"\n")
    entries = [read(raw) for raw in lines]
    torn = len(rest)
    while entries and entries[-1] is None:
        torn += len(lines.pop()) + 1
        entries.pop()
    return [entry for entry in entries if entry is not None], torn


def _head_text(head: Head) -> bytes:
    return encode({"hash": head.hash, "line": head.line}).ljust(_HEAD_SIZE - 1) + b"\n"


def _append(path: Path, raw: bytes, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        while raw:
            raw = raw[os.write(descriptor, raw) :]
        if sync:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
