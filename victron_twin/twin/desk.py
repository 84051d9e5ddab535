"""What became of the desires of one shadow, as it stands in the shadow itself: ``reported.commands`` and the objects of
actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from .desires import Status, is_dated, moment, shorten
from .flat import Flat, Path, dotted, flatten
from .ledger import COMMANDS
from .sheet import Sheet
from .twin import iso

#: Compact JSON of ``reported.commands``, in bytes; the oldest goes first.
LIMIT = 1_200
#: What is older goes, all together, once in this time, in s.
KEPT = 86_400.0

#: A status that is final: the desire is settled.
FINAL = frozenset(Status) - {Status.PENDING}


def _can_be_mirrored(asked: Any) -> bool:
    """Whether that is an action's or a setpoint's object, of scalars: Shadow Manager takes no array where something
    else was."""
    return is_dated(asked) and not any(isinstance(part, Mapping | list) for part in asked.values())


def _objects(section: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for key, inner in section.items():
        path = (*above, key)
        if _can_be_mirrored(inner):
            yield path, inner
        elif isinstance(inner, Mapping):
            yield from _objects(inner, path)


class Desk:
    """The statuses of one shadow's desires, and the actions that are mirrored into reported."""

    def __init__(self, mirrors: Callable[[Path], bool] = lambda path: False) -> None:
        """``mirrors`` says of a path whether it is an action's or a setpoint's."""
        self.revision = 0
        self._mirrors = mirrors
        self._results: dict[str, dict[str, Any]] = {}
        self._mirrored: dict[Path, Mapping[str, Any]] = {}
        self._swept = 0.0
        self._below: Sheet | None = None
        self._over = Sheet()
        self._own: Flat = {}
        self._laid = self._followed = 0

    def restore(self, reported: Mapping[str, Any]) -> None:
        """Take up what an earlier run has reported."""
        commands = reported.get(COMMANDS)
        if isinstance(commands, dict):
            there = {name: dict(r) for name, r in commands.items() if isinstance(r, dict)}
            self._results.update(sorted(there.items(), key=lambda item: str(item[1].get("at"))))
        for path, asked in _objects(reported):
            if self._mirrors(path):
                self._mirrored.setdefault(path, asked)
        self.revision += 1

    def told(self, path: Path, status: Status, asked: Any) -> bool:
        """Whether this stands there of a desire already."""
        result = self._results.get(dotted(path), {})
        return result.get("status") == status.value and bool(result.get("value") == shorten(asked))

    def pending(self) -> list[Path]:
        """The desires that were told as pending and not decided since."""
        waiting = Status.PENDING.value
        return [tuple(name.split(".")) for name, r in self._results.items() if r.get("status") == waiting]

    def tell(self, path: Path, status: Status, asked: Any, reason: str, identity: str, now: float) -> None:
        """Say what became of a desire. An action that has all three parts is mirrored, whatever became of it."""
        self._results.pop(dotted(path), None)
        self._results[dotted(path)] = {
            "status": status.value,
            "value": "" if asked is None else shorten(asked),
            "reason": reason[:200],
            "id": identity,
            "at": iso(now),
        }
        while len(self._results) > 1 and len(orjson.dumps(self._results)) > LIMIT:
            del self._results[next(iter(self._results))]
        if status in FINAL and self._mirrors(path):
            self._mirrored.pop(path, None)
            if _can_be_mirrored(asked):
                self._mirrored[path] = dict(asked)
        self.revision += 1

    def sweep(self, now: float) -> None:
        """Once a day forget what is older than a day: each removal is a costly delete."""
        if now - self._swept < KEPT:
            return
        self._swept = now
        old = [name for name, r in self._results.items() if (moment(r.get("at")) or 0.0) < now - KEPT]
        for name in old:
            del self._results[name]
            self.revision += 1

    def over(self, sheet: Sheet) -> Sheet:
        """The sheet with these on top."""
        if not self._results and not self._mirrored:
            return sheet
        if sheet.followed and sheet is self._below and self._laid == self.revision:
            for path in sheet.changed_since(self._followed):
                if path not in self._own:
                    self._over.set(path, sheet.values[path])
            self._followed = sheet.revision
            return self._over
        leaves: Flat = {}
        for name, result in self._results.items():
            leaves.update({(COMMANDS, name, key): value for key, value in result.items()})
        for path, asked in self._mirrored.items():
            leaves.update(flatten(asked, path))
        self._below, self._laid, self._followed = sheet, self.revision, sheet.revision
        self._own = leaves
        self._over = Sheet({**sheet.values, **leaves}, sheet.fields, sheet.followed)
        return self._over
