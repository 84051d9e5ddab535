"""One shadow's last acknowledged state against what the twin says now: what to write, and when it is worth it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from victron_twin.catalog.model import Cadence

from .flat import Flat, Path, dotted, flatten, nest, size
from .readings import is_number
from .twin import OWN, Sheet

#: Compact JSON of reported, in bytes; the cloud's limit is 8,192 for reported and desired together.
REPORTED_LIMIT = 6_500
TOGETHER_LIMIT = 8_000
#: A field that was left out comes back only where this many bytes stay free, so that it does not come and go.
MARGIN = 256

#: Stays when a document has to shrink, before any catalogued field.
_OWN_PRIORITY = 10

#: The part of reported that tells what became of desires; not a field of a device.
COMMANDS = "commands"


@dataclass(frozen=True, slots=True)
class Patch:
    """One update of reported: either leaves to set, or leaves to remove."""

    set: Flat
    remove: tuple[Path, ...] = ()

    def request(self) -> dict[str, Any]:
        """The payload of the update. Never an empty object, never a null beside a value."""
        return {"state": {"reported": nest(self.set or dict.fromkeys(self.remove))}}


@dataclass(slots=True)
class Ledger:
    """One shadow. ``acknowledged`` are the leaves of reported that the backend is known to hold."""

    acknowledged: Flat = field(default_factory=dict)
    version: int = 0
    desired_size: int = 0
    limit: int = REPORTED_LIMIT
    left_out: set[Path] = field(default_factory=set)
    _count: int = 0  #: of changes to what is acknowledged
    _fits: tuple[int | None, int] = (None, 0)  #: revision of the last sheet that fits whole, and its room
    _not_due: dict[Cadence, tuple[int | None, int]] = field(default_factory=dict)

    def load(self, document: Mapping[str, Any]) -> None:
        """Take what the backend holds as the last acknowledged."""
        state = document.get("state") or {}
        self.acknowledged = flatten(state.get("reported") or {})
        self.desired_size = size(flatten(state.get("desired") or {}))
        self.version = document.get("version", 0)
        self._count += 1

    def accept(self, patch: Patch, version: int) -> bool:
        """The backend took a patch. False where somebody else has written in between: load again."""
        for path in patch.set.keys() - self.acknowledged.keys():
            for there in [p for p in self.acknowledged if _overlap(p, path)]:
                del self.acknowledged[there]
        self._count += 1
        self.acknowledged.update(patch.set)
        for removed in patch.remove:
            for there in [p for p in self.acknowledged if p[: len(removed)] == removed]:
                del self.acknowledged[there]
        in_order = version == self.version + 1 or self.version == 0
        self.version = version
        return in_order

    def wanted(self, sheet: Sheet) -> Flat:
        """The leaves to be held: those of the sheet that fit, the ones of low priority out first."""
        room = min(self.limit, TOGETHER_LIMIT - self.desired_size)
        values = sheet.values
        if not self.left_out:
            if sheet.revision is not None and self._fits == (sheet.revision, room):
                return values
            if size(values) <= room:
                self._fits = (sheet.revision, room)
                return values
        self.left_out &= values.keys()
        kept = {path: value for path, value in values.items() if path not in self.left_out}
        by_priority = sorted(values, key=lambda path: (_priority(sheet, path), path))
        total = size(kept)
        for path in by_priority:
            if total <= room:
                break
            if path in kept:
                del kept[path]
                self.left_out.add(path)
                total = size(kept)
        for path in reversed(by_priority):
            if path in self.left_out:
                kept[path] = values[path]
                if size(kept) > room - MARGIN:
                    del kept[path]
                    break
                self.left_out.discard(path)
        return kept

    def due(self, sheet: Sheet, wanted: Flat, cadence: Cadence) -> bool:
        """Whether a leaf of this cadence has changed by its deadband and more."""
        if sheet.revision is not None and self._not_due.get(cadence) == (sheet.revision, self._count):
            return False
        for path, value in wanted.items():
            row = sheet.fields.get(path)
            own = row.cadence if row is not None else OWN.get(path[-1], Cadence.NORMAL)
            if own is cadence and self._moved(path, value, row.deadband if row is not None else 0.0):
                return True
        if cadence is Cadence.NORMAL and any(True for _ in self._gone(wanted)):
            return True
        self._not_due[cadence] = (sheet.revision, self._count)
        return False

    def patch(self, wanted: Flat) -> Patch | None:
        """All that differs, below the deadband too: first what is to be set, removals in a patch of their own.

        Removals stand alone because a delete that is merged with an update that is still to be synced is lost.
        """
        changed = {p: v for p, v in wanted.items() if self._moved(p, v, 0.0)}
        if changed:
            return Patch(changed)
        gone = {_highest(path, wanted) for path in self._gone(wanted)}
        return Patch({}, tuple(sorted(gone))) if gone else None

    def _moved(self, path: Path, value: Any, deadband: float) -> bool:
        if path not in self.acknowledged:
            return True
        old = self.acknowledged[path]
        if is_number(value) and is_number(old):
            return value != old and abs(value - old) >= deadband - 1e-9
        return type(value) is not type(old) or bool(value != old)

    def _gone(self, wanted: Flat) -> Iterable[Path]:
        return (
            p
            for p in self.acknowledged
            if p not in wanted and p[0] != COMMANDS and not any(_overlap(p, w) for w in wanted)
        )

    def names_left_out(self) -> list[str]:
        return sorted(map(dotted, self.left_out))


def _priority(sheet: Sheet, path: Path) -> int:
    row = sheet.fields.get(path)
    return row.priority if row is not None else _OWN_PRIORITY


def _overlap(one: Path, other: Path) -> bool:
    """Whether one is the other's container: both cannot be leaves of one section."""
    return one != other and (one == other[: len(one)] or other == one[: len(other)])


def _highest(path: Path, wanted: Iterable[Path]) -> Path:
    """The highest container of a leaf to be removed in which no leaf remains, so that no empty object is left."""
    for depth in range(1, len(path)):
        prefix = path[:depth]
        if not any(p[:depth] == prefix for p in wanted):
            return prefix
    return path
