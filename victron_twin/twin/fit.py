"""Which leaves of a sheet are kept where a document must not be larger than a room."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import orjson

from .flat import Flat, Path
from .sheet import Sheet

#: A field that was left out comes back only where this many bytes stay free, so that it does not come and go.
MARGIN = 256
#: Stays when a document has to shrink, before any catalogued field.
_OWN_PRIORITY = 10
#: Of the section itself: two braces, and one comma less than its leaves were counted with.
_ROOT = 1


@lru_cache(maxsize=8192)
def _key(name: str) -> int:
    """Bytes of a key with its colon and a comma."""
    return len(orjson.dumps(name)) + 2


def _leaf(path: Path, value: Any) -> int:
    return _key(path[-1]) + len(orjson.dumps(value))


class Fit:
    """Keeps the leaves of one sheet after the other within a room, those of low priority out first.

    Sizes are exact: each leaf counts with its key, colon and comma, each container with one byte more than its key.
    """

    def __init__(self) -> None:
        self.left_out: set[Path] = set()
        self.changes = 0  #: of what is left out
        self.kept: Flat = {}
        self._sheet: Sheet | None = None
        self._revision = 0
        self._room = 0
        self._sizes: dict[Path, int] = {}
        self._inner: Counter[Path] = Counter()  # kept leaves below each container
        self._total = _ROOT
        self._order: list[Path] = []  # the lowest priority first
        self._rank: dict[Path, int] = {}

    def of(self, sheet: Sheet, room: int) -> Flat:
        """What is kept of a sheet; of one that is followed always the same mapping."""
        if sheet is not self._sheet or not sheet.followed:
            self._begin(sheet)
        elif sheet.revision == self._revision and room == self._room:
            return sheet.values if not self.left_out else self.kept
        else:
            for path in sheet.changed_since(self._revision):
                self._change(path, sheet.values[path])
        self._revision, self._room = sheet.revision, room
        if self._total > room or self.left_out:
            self._squeeze(room)
        return sheet.values if not self.left_out else self.kept

    def _begin(self, sheet: Sheet) -> None:
        values = sheet.values
        self._sheet = sheet
        self._sizes = {path: _leaf(path, value) for path, value in values.items()}
        self.left_out &= values.keys()
        self._inner.clear()
        self._total = _ROOT
        self.kept = {}
        for path in values:
            if path not in self.left_out:
                self._add(path)
        self._order = []
        self.changes += 1

    def _sort(self) -> None:
        """Needed only where something has to go."""
        if self._order or self._sheet is None:
            return
        fields = self._sheet.fields

        def priority(path: Path) -> tuple[int, Path]:
            row = fields.get(path)
            return (row.priority if row is not None else _OWN_PRIORITY), path

        self._order = sorted(self._sizes, key=priority)
        self._rank = {path: rank for rank, path in enumerate(self._order)}

    def _change(self, path: Path, value: Any) -> None:
        size = _leaf(path, value)
        if path not in self.left_out:
            self._total += size - self._sizes[path]
            self.kept[path] = value
        self._sizes[path] = size

    def _add(self, path: Path) -> None:
        if self._sheet is None:
            return
        self._total += self._sizes[path]
        self.kept[path] = self._sheet.values[path]
        for depth in range(1, len(path)):
            container = path[:depth]
            if not self._inner[container]:
                self._total += _key(path[depth - 1]) + 1
            self._inner[container] += 1

    def _drop(self, path: Path) -> None:
        self._total -= self._sizes[path]
        del self.kept[path]
        for depth in range(1, len(path)):
            container = path[:depth]
            self._inner[container] -= 1
            if not self._inner[container]:
                self._total -= _key(path[depth - 1]) + 1

    def _squeeze(self, room: int) -> None:
        before = len(self.left_out)
        self._sort()
        if self._total > room:
            for path in self._order:
                if path in self.kept:
                    self._drop(path)
                    self.left_out.add(path)
                    self.changes += 1
                    if self._total <= room:
                        break
        if len(self.left_out) > before:
            return
        while self.left_out and self._total <= room - MARGIN:
            path = max(self.left_out, key=self._rank.__getitem__)
            self._add(path)
            if self._total > room - MARGIN:
                self._drop(path)
                return
            self.left_out.discard(path)
            self.changes += 1
