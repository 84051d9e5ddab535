"""What may be desired of a field, and how it is written: ``commands.csv``, one row a writable field.

``class``: a *setting* is held until it is changed; an *action* is done once and never echoes its value. ``wire`` is the
type that the path has where nothing was heard of it. ``needs``: values of other paths without which the device does
not take a write, ``/ModeIsAdjustable=1``. ``guarded``: texts that the default policy does not allow, each
possibly only ``unless`` a field of the same shadow shows one of some values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .model import CatalogError, Field, Source, fill
from .names import template
from .tables import Row, read

if TYPE_CHECKING:
    from importlib.abc import Traversable

COLUMNS = ("shadow", "field", "class", "wire", "needs", "guarded")


class Class(str, Enum):
    """What a write does."""

    SETTING = "setting"
    ACTION = "action"


class Wire(str, Enum):
    """The D-Bus type that a path has, as JSON writes it."""

    INTEGER = "integer"
    DOUBLE = "double"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Need:
    """A precondition: this path must have this value."""

    source: Source
    value: int


@dataclass(frozen=True, slots=True)
class Guard:
    """A value that is not in the default allow-list, unless ``field`` shows one of ``unless``."""

    value: str
    field: str = ""
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """How a field is written. ``needs`` have their placeholders filled in."""

    field: Field
    kind: Class
    wire: Wire
    needs: tuple[Need, ...]
    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    pattern: re.Pattern[str]
    field: Field
    kind: Class
    wire: Wire
    needs: tuple[Need, ...]
    guards: tuple[Guard, ...]


class Commands:
    """The table; the first row that fits a field counts."""

    def __init__(self, lines: Iterable[tuple[str, _Line]]) -> None:
        self._lines: dict[str, list[_Line]] = {}
        for shadow, line in lines:
            self._lines.setdefault(shadow, []).append(line)

    def of(self, shadow: str, name: str) -> Command | None:
        """The command of a field by its dotted name without ``devices.<instance>``; None: it cannot be written."""
        for line in self._lines.get(shadow, ()):
            match = line.pattern.fullmatch(name)
            if match is not None:
                binding = match.groupdict()
                needs = tuple(Need(n.source.bound(binding), n.value) for n in line.needs)
                return Command(line.field, line.kind, line.wire, needs, line.guards)
        return None


def read_commands(
    folder: Traversable, fields: Mapping[str, Iterable[Field]], patterns: Mapping[str, str], first: Mapping[str, str]
) -> Commands:
    """``commands.csv`` against the fields of each shadow; a catalogue without one has no command.

    ``patterns`` and ``first`` are those of the placeholders.
    """
    file = folder / "commands.csv"
    lines: list[tuple[str, _Line]] = []
    named: set[tuple[str, str]] = set()
    for row in read(file, "commands.csv", COLUMNS) if file.is_file() else ():
        shadow, name = row.text("shadow"), row.text("field")
        if (shadow, name) in named:
            raise row.wrong(f"field {name!r} is there twice")
        named.add((shadow, name))
        field = _field(row, name, fields.get(shadow, ()), patterns)
        if not field.writable:
            raise row.wrong(f"field {name!r} is not writable in fields/{field.service}.csv")
        compiled = re.compile(template(name, patterns))
        needs = tuple(_need(row, text, field.service) for text in row.words("needs"))
        guards = tuple(_guard(row, text) for text in row.cells["guarded"].split(";") if text.strip())
        lines.append(
            (shadow, _Line(compiled, field, row.choice("class", Class), row.choice("wire", Wire), needs, guards))
        )
    commands = Commands(lines)
    for shadow, rows in fields.items():
        for field in rows if named else ():
            if field.writable and commands.of(shadow, fill(field.name, first)) is None:
                raise CatalogError(f"commands.csv: no row for {shadow} {field.name}, which is writable")
    return commands


def _field(row: Row, name: str, fields: Iterable[Field], patterns: Mapping[str, str]) -> Field:
    for field in fields:
        if field.name == name or re.fullmatch(template(field.name, patterns, named=False), name):
            return field
    raise row.wrong(f"field {name!r} is no field of {row.cells['shadow']!r}")


def _need(row: Row, text: str, service: str) -> Need:
    parts = re.fullmatch(r"([a-z0-9]+)?(/[^=\s]+)=(-?\d+)", text)
    if parts is None:
        raise row.wrong(f"needs {text!r} must read /Path=1 or service/Path=1")
    return Need(Source(parts[1] or service, parts[2]), int(parts[3]))


def _guard(row: Row, text: str) -> Guard:
    value, _, condition = text.strip().partition(" unless ")
    if not condition:
        return Guard(value)
    field, equals, values = condition.partition("=")
    if not equals or not values:
        raise row.wrong(f"guarded {text!r}: after unless stands field=value|value")
    return Guard(value, field.strip(), tuple(v.strip() for v in values.split("|")))
