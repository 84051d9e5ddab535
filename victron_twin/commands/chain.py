"""The audit log as a chain: each line carries the hash of the one before, so that none can be changed unseen.

A line is a JSON object in canonical form (keys sorted, no blanks, ASCII). Beside its content it has ``line`` (its
number, from 1), ``previous`` (the ``hash`` of the line before) and ``hash``, the SHA-256 of all else.
The first line of each file has as its content ``at``, ``begins`` (from which line on the log was kept then) and
``torn`` (how many bytes the file before has after its last line: what a power cut left of one).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Entry = dict[str, Any]

#: What stands for the hash before the first line.
NOTHING = "0" * 64
LINKS = ("line", "previous", "hash")


@dataclass(frozen=True, slots=True)
class Head:
    """A line by its number and hash; without arguments what stands before the first."""

    line: int = 0
    hash: str = NOTHING


class Misfit(Exception):
    """The first line that does not fit, and why."""


def encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def seal(before: Head, content: Mapping[str, Any]) -> tuple[bytes, Head]:
    """The line that follows, without its newline, and what follows that."""
    body = {**content, "line": before.line + 1, "previous": before.hash}
    head = Head(before.line + 1, hashlib.sha256(encode(body)).hexdigest())
    return encode({**body, "hash": head.hash}), head


def read(raw: bytes) -> Entry | None:
    """A line, if it is as it was written."""
    try:
        entry = json.loads(raw)
        if not isinstance(entry, dict) or type(entry.get("line")) is not int or encode(entry) != raw:
            return None
    except (ValueError, RecursionError):
        return None
    body = {name: value for name, value in entry.items() if name != "hash"}
    return entry if entry.get("hash") == hashlib.sha256(encode(body)).hexdigest() else None


def head_of(entry: Entry) -> Head:
    return Head(entry["line"], entry["hash"])


def content_of(entry: Entry) -> Entry:
    """A line's content, without what chains it."""
    return {name: value for name, value in entry.items() if name not in LINKS}


def opens_file(entry: Entry) -> bool:
    """Whether it is the first line of a file, and no step."""
    return type(entry.get("begins")) is int


def name_of(line: int) -> str:
    """The file whose first line is this."""
    return f"{line:010d}.jsonl"


@dataclass(slots=True)
class Verifier:
    """Is given the files one after the other, and then where the log is known to reach to. Raises Misfit."""

    known: Head | None  #: read before the files: their lines reach at least to it
    noted: str | None = None  #: the hash of a line that must be there
    files: int = 0
    steps: int = 0
    first: int = 0  #: the number of the first line that is there
    last: Head = field(default_factory=Head)
    torn: int = 0  #: bytes after the last line
    _begins: int = 1
    _name: str = ""

    def file(self, name: str, content: bytes) -> None:
        *lines, rest = content.split(b"\n")
        if not lines:
            raise Misfit(f"{name} has no line")
        number = 0
        try:
            for number, raw in enumerate(lines, 1):
                self._line(name, raw, number == 1)
        except Misfit as misfit:
            raise Misfit(f"{name}, line {number}: {misfit}") from None
        self.files += 1
        self.torn, self._name = len(rest), name

    def end(self) -> None:
        if self.known is None:
            raise Misfit("head.json is missing or cannot be read: nothing says where the log ends")
        if self.known.line > self.last.line:
            raise Misfit(f"{_lines(self.last.line + 1, self.known.line)} removed from the end")
        if self.files and self.first > self._begins:
            raise Misfit(f"{_lines(self._begins, self.first - 1)} removed before the first file that is there")
        if self.noted is not None:
            raise Misfit(f"no line has the hash {self.noted}: it was written anew, or is not kept so far back")

    def _line(self, name: str, raw: bytes, opening: bool) -> None:
        entry = read(raw)
        if entry is None:
            raise Misfit("it was changed")
        if not self.files and opening:
            if entry["line"] != 1:  # the files before it were pruned, or end() finds that they were not
                self.last = Head(entry["line"] - 1, str(entry.get("previous")))
            self.first = entry["line"]
        due = self.last.line + 1
        if entry["line"] > due:
            raise Misfit(f"{_lines(due, entry['line'] - 1)} removed before it")
        if entry["line"] < due:
            raise Misfit(f"it is line {entry['line']} of the log where line {due} belongs: put there or moved")
        if entry.get("previous") != self.last.hash:
            raise Misfit("it does not follow the line before it: that one was replaced, or this one put there")
        if opens_file(entry) != opening or (opening and name != name_of(due)):
            raise Misfit("it does not belong here: a file was renamed, joined or divided")
        if opening:
            if self.files and entry.get("torn") != self.torn:
                raise Misfit(f"{self._name}, the file before it, was cut or added to at its end")
            self._begins = max(self._begins, entry["begins"])
        else:
            self.steps += 1
        self.last = head_of(entry)
        if self.last.hash == self.noted:
            self.noted = None
        if self.known is not None and self.known.line == due and self.known != self.last:
            raise Misfit("it is not the line that head.json knows: the log was written anew")


def _lines(first: int, last: int) -> str:
    return f"line {first} of the log was" if first == last else f"lines {first} to {last} of the log were"
