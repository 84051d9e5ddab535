"""What the audit log has after a line, read from its files piece by piece, and up to which line it was published."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from victron_twin import files
from victron_twin.state import StateError

from .audit import listed
from .chain import Head, read

#: Where in which file.
_Place = tuple[Path, int]


class Tail:
    """Blocks: to be used in the worker that writes the log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[int, _Place] = {}  # where the last piece began, and what follows it, by the line before

    def after(self, line: int, enough: int) -> list[bytes]:
        """The lines after this one as they stand there, without their ends: so many that they have together at least
        so many bytes, if there are. What is no line, or was changed, is left out. Raises OSError.
        """
        places: list[_Place] = []
        found: list[bytes] = []
        size, reached = 0, line
        for path, start in self._begin(line):
            places.append((path, start))
            offset = start
            with path.open("rb") as stream:
                stream.seek(start)
                for raw in stream:
                    if not raw.endswith(b"\n") or size >= enough:
                        break
                    offset += len(raw)
                    entry = read(raw[:-1])
                    if entry is not None and entry["line"] > reached:
                        found.append(raw[:-1])
                        size, reached = size + len(raw) - 1, entry["line"]
            places.append((path, offset))
            if size >= enough:
                break
        if places:
            self._places = {line: places[0], reached: places[-1]}
        return found

    def _begin(self, line: int) -> list[_Place]:
        """The files from the one on that has what follows a line, and where it does."""
        paths = listed(self._folder)
        known, offset = self._places.get(line, (None, 0))
        if known in paths:
            first = paths.index(known)
        else:
            earlier = [at for at, path in enumerate(paths) if path.stem.isdecimal() and int(path.stem) <= line + 1]
            first, offset = max(earlier, default=0), 0
        return [(path, 0 if at else offset) for at, path in enumerate(paths[first:])]


def read_mark(path: Path) -> Head | None:
    """The last line that was published; None where none was noted. Raises StateError."""
    content = files.read_json(path)
    line, digest = content.get("line"), content.get("hash")
    if not content:
        return None
    if type(line) is not int or not isinstance(digest, str):
        raise StateError(f"{path} does not hold a line of the audit log")
    return Head(line, digest)


def write_mark(path: Path, head: Head) -> None:
    """Raises OSError."""
    files.write_json(path, asdict(head))
