"""One shadow's last acknowledged state against what the twin says now: what to write, and when it is worth it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from victron_twin.catalog.model import Cadence

from .flat import Flat, Path, dotted, flatten, nest, overlaid, size
from .plan import at, is_new
from .readings import is_number
from .shadow import same
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
    """One update: leaves of reported to set, or to remove; with those to set, leaves of desired to overwrite.

    ``settles`` are all leaves of desired that are settled by it, those too that have the value already.
    """

    set: Flat
    remove: tuple[Path, ...] = ()
    desired: Flat = field(default_factory=dict)
    settles: Flat = field(default_factory=dict)

    def request(self, version: int) -> dict[str, Any]:
        """The payload of the update. Never an empty object, never a null beside a value.

        What overwrites desired names the version that it was decided on: a newer desire must not be erased.
        """
        leaves = self.set or dict.fromkeys(self.remove)
        state = {"reported": nest(leaves)} if leaves else {}
        if not self.desired:
            return {"state": state}
        return {"state": {**state, "desired": nest(self.desired)}, "version": version}


@dataclass(slots=True)
class Ledger:
    """One shadow. ``acknowledged`` are the leaves of reported that the backend is known to hold, ``desired`` is the
    section that it was last seen to hold, ``settled`` what was last made of its desires. ``held`` are fields whose
    desire is under way: they are reported with what became of it, not before.
    """

    acknowledged: Flat = field(default_factory=dict)
    version: int = 0
    desired: dict[str, Any] = field(default_factory=dict)
    desired_size: int = 0
    settled: dict[Path, tuple[Any, ...]] = field(default_factory=dict)
    limit: int = REPORTED_LIMIT
    held: set[Path] = field(default_factory=set)
    reads: int = 0
    left_out: set[Path] = field(default_factory=set)
    _count: int = 0  #: of changes to what is acknowledged
    _fits: tuple[object, int] = (None, 0)  #: revision of the last sheet that fits whole, and its room
    _not_due: dict[Cadence, tuple[object, int]] = field(default_factory=dict)

    def load(self, document: Mapping[str, Any]) -> None:
        """Take what the backend holds as the last acknowledged."""
        state = document.get("state") or {}
        self.acknowledged = flatten(state.get("reported") or {})
        self._desire(state.get("desired") or {})
        self.version = document.get("version", 0)
        self.reads += 1
        self._count += 1

    def _desire(self, desired: dict[str, Any]) -> None:
        self.desired = desired
        self.desired_size = len(orjson.dumps(desired))

    def accept(self, patch: Patch, version: int) -> bool:
        """The backend took a patch. False where somebody else has written in between: load again."""
        if patch.desired:
            self._desire(overlaid(self.desired, patch.desired))
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

    def forget(self, paths: Collection[Path]) -> None:
        """These are not where they were taken for: write them again."""
        for path in paths:
            self.acknowledged.pop(path, None)
        self._count += 1

    def representatives(self, leaves: Flat) -> Flat:
        """Of leaves that are not held, one for each highest container in which none is held."""
        return {path: leaves[path] for path in {_highest(p, self.acknowledged): p for p in sorted(leaves)}.values()}

    def reported(self) -> dict[str, Any]:
        """The section that the backend is known to hold."""
        return nest(self.acknowledged)

    def wanted(self, sheet: Sheet) -> Flat:
        """The leaves to be held: those of the sheet that fit, the ones of low priority out first."""
        room = min(self.limit, TOGETHER_LIMIT - self.desired_size)
        values = sheet.values
        holding = {path: self.acknowledged[path] for path in self.held & self.acknowledged.keys()}
        if holding:
            values = {**values, **holding}
        if not self.left_out:
            if sheet.revision is not None and not holding and self._fits == (sheet.revision, room):
                return values
            if size(values) <= room:
                if not holding:
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
        if cadence is Cadence.NEVER:
            return False
        if sheet.revision is not None and not self.held and self._not_due.get(cadence) == (sheet.revision, self._count):
            return False
        for path, value in wanted.items():
            row = sheet.fields.get(path)
            own = row.cadence if row is not None else _own_cadence(path)
            if own is cadence and self._moved(path, value, row.deadband if row is not None else 0.0):
                return True
        if cadence is Cadence.NORMAL and any(True for _ in self._gone(wanted)):
            return True
        if not self.held:
            self._not_due[cadence] = (sheet.revision, self._count)
        return False

    def patch(self, wanted: Flat, settle: Collection[Path] = ()) -> Patch | None:
        """All that differs, below the deadband too: first what is to be set, removals in a patch of their own.

        Removals stand alone because a delete that is merged with an update that is still to be synced is lost. What
        was desired is overwritten with what is reported: where it is to be settled (``settle``), and where the
        reported value of a settled desire moves, so that no delta stays.
        """
        changed = {p: v for p, v in wanted.items() if self._moved(p, v, 0.0)}
        settling = self.settling(wanted, settle)
        settles = {**settling, **self._followed(changed)}
        desired = {
            p: v
            for p, v in settles.items()
            if (p in settling or at(self.desired, p) is not None) and not same(v, at(self.desired, p))
        }
        if changed or desired:
            return Patch(changed, desired=desired, settles=settles)
        return self.removal(wanted)

    def removal(self, wanted: Flat) -> Patch | None:
        """What is not wanted any more, as a patch of nulls alone."""
        gone = {_highest(path, wanted) for path in self._gone(wanted)}
        return Patch({}, tuple(sorted(gone))) if gone else None

    def clearing(self, paths: Collection[Path]) -> list[dict[str, Any]]:
        """The requests that remove leaves of desired which no field takes; only those that are known to be there.

        A key called ``state`` at the top is not removed alone, since Shadow Manager loses such a patch: the section is
        removed, and the rest written again.
        """
        there = [path for path in paths if at(self.desired, path) is not None]
        if not there:
            return []
        rest = overlaid(self.desired, dict.fromkeys(there))
        if ("state",) in there or not flatten(rest):
            again = [{"state": {"desired": nest(flatten(rest))}}] if flatten(rest) else []
            return [{"state": {"desired": None}, "version": self.version}, *again]
        gone = {_highest(path, flatten(rest)) for path in there}
        return [{"state": {"desired": nest(dict.fromkeys(sorted(gone)))}, "version": self.version}]

    def cleared(self, request: Mapping[str, Any], version: int) -> None:
        """The backend took one of them."""
        desired = request["state"]["desired"]
        self._desire({} if desired is None else overlaid(self.desired, flatten(desired)))
        self.version = version

    @staticmethod
    def settling(wanted: Flat, settle: Collection[Path]) -> Flat:
        """The leaves that these desires are settled with; the object of an action is several."""
        return {p: v for p, v in wanted.items() if any(p[: len(path)] == path for path in settle)}

    def _followed(self, changed: Flat) -> Flat:
        """The leaves of settled desires whose reported value moves; also where the desire itself was removed since."""
        followed: Flat = {}
        for path, value in changed.items() if self.desired or self.settled else ():
            asked = at(self.desired, path) if path[0] != COMMANDS else None
            if asked is None:
                if path in self.settled:
                    followed[path] = value
            elif not is_new(path, asked, self.settled, self.reported()):
                followed[path] = value
        return followed

    def _moved(self, path: Path, value: Any, deadband: float) -> bool:
        if path not in self.acknowledged:
            return True
        old = self.acknowledged[path]
        if is_number(value) and is_number(old):
            return value != old and abs(value - old) >= deadband - 1e-9
        return type(value) is not type(old) or bool(value != old)

    def _gone(self, wanted: Flat) -> Iterable[Path]:
        return (p for p in self.acknowledged if p not in wanted and not any(_overlap(p, w) for w in wanted))

    def names_left_out(self) -> list[str]:
        return sorted(map(dotted, self.left_out))


def _own_cadence(path: Path) -> Cadence | None:
    return Cadence.CRITICAL if path[0] == COMMANDS else OWN.get(path[-1], Cadence.NORMAL)


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
