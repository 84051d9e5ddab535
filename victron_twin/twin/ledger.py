"""One shadow's last acknowledged state against what the twin says now: what to write, and when it is worth it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from victron_twin.catalog.model import Cadence

from .desires import at, is_new
from .fit import Fit
from .flat import Flat, Path, dotted, flatten, nest, overlaid, plain
from .readings import is_number
from .shadow import same
from .sheet import OWN, Sheet

#: Compact JSON of reported, in bytes; the cloud's limit is 8,192 for reported and desired together.
REPORTED_LIMIT = 6_500
TOGETHER_LIMIT = 8_000
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
    desire is under way: they are reported with what became of it, not before. What is ``enforced``, by its path, stays
    desired when the reported value moves.
    """

    acknowledged: Flat = field(default_factory=dict)
    version: int = 0
    desired: dict[str, Any] = field(default_factory=dict)
    desired_size: int = 0
    settled: dict[Path, tuple[Any, ...]] = field(default_factory=dict)
    limit: int = REPORTED_LIMIT
    held: set[Path] = field(default_factory=set)
    enforced: Mapping[Path, Any] = field(default_factory=dict)
    reads: int = 0
    _fit: Fit = field(default_factory=Fit)
    _odd: set[Path] = field(default_factory=set)  #: leaves of desired that are not quite what the backend holds
    _turns: int = 0  #: of what is acknowledged, other than by a patch that said what the sheet says
    _sheet: Sheet | None = None  #: that is followed
    _wanted: Flat = field(default_factory=dict)  #: of it
    _revision: int = 0  #: up to which its changes are in ``_stirred``
    _stirred: set[Path] | None = None  #: leaves of it that may differ from what is acknowledged; None: all may
    _named: tuple[int, list[str]] = (-1, [])  #: what is left out, as of these changes
    _looked: dict[Cadence, tuple[object, int, int, int]] = field(default_factory=dict)

    @property
    def left_out(self) -> set[Path]:
        """What does not fit."""
        return self._fit.left_out

    def load(self, document: Mapping[str, Any]) -> None:
        """Take what the backend holds as the last acknowledged."""
        state = document.get("state") or {}
        self.acknowledged = flatten(state.get("reported") or {})
        self._desire(state.get("desired") or {})
        self.version = document.get("version", 0)
        self.reads += 1
        self._turn()

    def _desire(self, desired: dict[str, Any]) -> None:
        self.desired = plain(desired)
        taken = flatten(self.desired)
        self._odd = {path for path, value in flatten(desired).items() if not same(value, taken.get(path))}
        self.desired_size = len(orjson.dumps(self.desired))

    def accept(self, patch: Patch, version: int) -> bool:
        """The backend took a patch. False where somebody else has written in between: load again."""
        if patch.desired:
            self._desire(overlaid(self.desired, patch.desired))
        if patch.remove or not patch.set.keys() <= self.acknowledged.keys():
            self._turns += 1
        for path in patch.set.keys() - self.acknowledged.keys():
            for there in [p for p in self.acknowledged if _overlap(p, path)]:
                del self.acknowledged[there]
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
        self._turn()

    def _turn(self) -> None:
        """What is acknowledged is something else now."""
        self._turns += 1
        self._stirred = None

    def representatives(self, leaves: Flat) -> Flat:
        """Of leaves that are not held, one for each highest container in which none is held."""
        return {path: leaves[path] for path in {_highest(p, self.acknowledged): p for p in sorted(leaves)}.values()}

    def reported(self) -> dict[str, Any]:
        """The section that the backend is known to hold."""
        return nest(self.acknowledged)

    def wanted(self, sheet: Sheet) -> Flat:
        """The leaves to be held: those of the sheet that fit, the ones of low priority out first."""
        room = min(self.limit, TOGETHER_LIMIT - self.desired_size)
        holding = {path: self.acknowledged[path] for path in self.held & self.acknowledged.keys()}
        if holding:
            return self._fit.of(Sheet({**sheet.values, **holding}, sheet.fields), room)
        changes = self._fit.changes
        wanted = self._fit.of(sheet, room)
        if sheet is not self._sheet or self._fit.changes != changes:
            self._sheet, self._stirred = sheet, None
        elif sheet.followed and sheet.revision == self._revision:
            return wanted
        if self._stirred is not None and sheet.followed:
            self._stirred.update(sheet.changed_since(self._revision))
        self._revision = sheet.revision
        self._wanted = wanted
        return wanted

    def due(self, sheet: Sheet, wanted: Flat, cadence: Cadence) -> bool:
        """Whether a leaf of this cadence has changed by its deadband and more."""
        if cadence is Cadence.NEVER:
            return False
        state = (sheet, self._turns, self._fit.changes)
        *before, revision = self._looked.get(cadence, (None, 0, 0, 0))
        followed = sheet.followed and wanted is self._wanted
        known = followed and before == list(state)
        if known and sheet.revision == revision:
            return False
        stirred = self._stirred if followed and self._stirred is not None else wanted
        for path in sheet.changed_since(revision) if known else stirred:
            if path not in wanted:
                continue
            row = sheet.fields.get(path)
            own = row.cadence if row is not None else _own_cadence(path)
            if own is cadence and self._moved(path, wanted[path], row.deadband if row is not None else 0.0):
                return True
        if cadence is Cadence.NORMAL and not known and any(True for _ in self._gone(wanted)):
            return True
        self._looked[cadence] = (*state, sheet.revision)
        return False

    def patch(self, wanted: Flat, settle: Collection[Path] = ()) -> Patch | None:
        """All that differs, below the deadband too: first what is to be set, removals in a patch of their own.

        Removals stand alone because a delete that is merged with an update that is still to be synced is lost; they
        come first where both do not fit into the document, which would not take what is to be set ever. What
        was desired is overwritten with what is reported: where it is to be settled (``settle``), and where the
        reported value of a settled desire moves, so that no delta stays.
        """
        changed = self._changed(wanted)
        settling = self.settling(wanted, settle)
        settles = {**settling, **self._followed(changed)}
        desired = {
            p: v
            for p, v in settles.items()
            if (p in settling or at(self.desired, p) is not None) and not self._is_desired(p, v)
        }
        if changed or desired:
            removal = self.removal(wanted) if self._too_large(changed, desired) else None
            return removal or Patch(changed, desired=desired, settles=settles)
        return self.removal(wanted)

    def _is_desired(self, path: Path, value: Any) -> bool:
        return path not in self._odd and same(value, at(self.desired, path))

    def _too_large(self, changed: Flat, desired: Flat) -> bool:
        """Whether the document would be, with what is to be set and still all that it has."""
        new = changed.keys() - self.acknowledged.keys()
        if not desired and not new:
            return False
        kept = {p: v for p, v in self.acknowledged.items() if not any(_overlap(p, path) for path in new)}
        reported = len(orjson.dumps(nest({**kept, **changed})))
        return reported + len(orjson.dumps(overlaid(self.desired, desired))) > TOGETHER_LIMIT

    def _changed(self, wanted: Flat) -> Flat:
        """What differs, below the deadband too."""
        if wanted is not self._wanted or self._sheet is None or not self._sheet.followed:
            return {path: value for path, value in wanted.items() if self._moved(path, value, 0.0)}
        stirred = wanted if self._stirred is None else self._stirred
        changed = {path: wanted[path] for path in stirred if path in wanted and self._moved(path, wanted[path], 0.0)}
        self._stirred = set(changed)
        return changed

    def removal(self, wanted: Flat) -> Patch | None:
        """What is not wanted any more, as a patch of nulls alone."""
        gone = {_highest(path, wanted) for path in self._gone(wanted)}
        return Patch({}, tuple(sorted(gone))) if gone else None

    def clearing(self, paths: Collection[Path], empties: bool = True) -> tuple[dict[str, Any], Flat]:
        """The request that removes leaves of desired which no field takes, only those that are known to be there, and
        what of desired is to be set again after it; an empty request where nothing is to be removed.

        A key called ``state`` at the top is not removed alone, since Shadow Manager loses such a patch: the section is
        removed, and the rest written again. ``empties``: so are empty objects; to Shadow Manager they are not there.
        """
        there = [p for p in paths if (held := at(self.desired, p)) is not None and (empties or held != {})]
        if not there:
            return {}, {}
        rest = flatten(overlaid(self.desired, dict.fromkeys(there)))
        gone = {_highest(path, rest) for path in there}
        if ("state",) in gone or not rest:
            return {"state": {"desired": None}, "version": self.version}, rest
        return {"state": {"desired": nest(dict.fromkeys(sorted(gone)))}, "version": self.version}, {}

    def cleared(self, request: Mapping[str, Any], version: int) -> None:
        """The backend took it."""
        desired = request["state"]["desired"]
        self._desire({} if desired is None else overlaid(self.desired, flatten(desired)))
        self.version = version

    @staticmethod
    def settling(wanted: Flat, settle: Collection[Path]) -> Flat:
        """The leaves that these desires are settled with; the object of an action is several."""
        return {p: v for p, v in wanted.items() if any(p[: len(path)] == path for path in settle)} if settle else {}

    def _followed(self, changed: Flat) -> Flat:
        """The leaves of settled desires whose reported value moves; also where the desire itself was removed since."""
        followed: Flat = {}
        for path, value in changed.items() if self.desired or self.settled else ():
            asked = at(self.desired, path) if path[0] != COMMANDS else None
            if path in self.enforced and same(asked, self.enforced[path]):
                continue
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
        """Of what does not fit; not made anew before something else does not."""
        changes, names = self._named
        if changes != self._fit.changes:
            names = sorted(map(dotted, self.left_out))
            self._named = self._fit.changes, names
        return names


def _own_cadence(path: Path) -> Cadence | None:
    return Cadence.CRITICAL if path[0] == COMMANDS else OWN.get(path[-1], Cadence.NORMAL)


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
