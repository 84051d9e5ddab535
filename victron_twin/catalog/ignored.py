"""What the catalogue leaves out on purpose: ``ignored.csv``, a service, a path and why.

A path may hold placeholders as those of fields do, and ``*`` for any text; the service may be ``*`` for every one. A
row without ``*`` must not be mapped by a field; one with it speaks of whatever no field maps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .model import PLACEHOLDER, Field, Source, fill
from .names import template
from .tables import read

if TYPE_CHECKING:
    from importlib.abc import Traversable

COLUMNS = ("service", "path", "reason")
_SERVICE = r"\*|[a-z][a-z0-9]*"
_PATH = r"(/([A-Za-z0-9_*-]|\{\w+\})+)+"


@dataclass(frozen=True, slots=True)
class Omission:
    """One row: ``Omission("dcgenset", "/Link/*", "...", ...)``."""

    service: str
    path: str
    reason: str
    pattern: re.Pattern[str]

    def covers(self, service: str, path: str) -> bool:
        return self.service in ("*", service) and self.pattern.fullmatch(path) is not None


class Ignored:
    """The table."""

    def __init__(self, rows: Iterable[Omission] = ()) -> None:
        self._rows = tuple(rows)

    def __iter__(self) -> Iterator[Omission]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def reason(self, service: str, path: str) -> str | None:
        """Why a path is left out, None where no row says so."""
        return next((row.reason for row in self._rows if row.covers(service, path)), None)


def read_ignored(
    folder: Traversable, fields: Iterable[Field], patterns: Mapping[str, str], first: Mapping[str, str]
) -> Ignored:
    """``ignored.csv`` against the fields; a catalogue without one ignores nothing.

    ``patterns`` and ``first`` are those of the placeholders.
    """
    file = folder / "ignored.csv"
    rows: dict[tuple[str, str], Omission] = {}
    mapped: dict[tuple[str, int], set[Source]] = {}
    for source in (source for field in fields for source in field.sources):
        mapped.setdefault((source.service, source.path.count("/")), set()).add(source)
    for row in read(file, "ignored.csv", COLUMNS) if file.is_file() else ():
        service, path, reason = row.text("service", _SERVICE), row.text("path", _PATH), row.text("reason")
        for name in PLACEHOLDER.findall(path):
            if name not in patterns:
                raise row.wrong(f"unknown placeholder {{{name}}}: it must be in placeholders.csv")
        compiled = re.compile(template(path, patterns, named=False).replace(r"\*", ".+"))
        if (service, compiled.pattern) in rows:
            raise row.wrong(f"{service}{path} is there twice")
        omission = rows[service, compiled.pattern] = Omission(service, path, reason, compiled)
        if "*" not in service + path:
            for source in mapped.get((service, path.count("/")), ()):
                if _meet(omission, source, patterns, first):
                    raise row.wrong(f"{service}{path} is mapped by a field: {source}")
    return Ignored(rows.values())


def _meet(omission: Omission, source: Source, patterns: Mapping[str, str], first: Mapping[str, str]) -> bool:
    """Whether there is a path that both mean."""
    theirs = re.compile(template(source.path, patterns, named=False))
    return bool(omission.pattern.fullmatch(fill(source.path, first)) or theirs.fullmatch(fill(omission.path, first)))
