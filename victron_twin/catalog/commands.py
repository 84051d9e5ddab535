"""What may be desired of a field, and how it is written: ``commands.csv``, one row a writable field.

A row counts for every service of its shadow that has the field, or as ``acsystem/mode`` for one service alone.

``class``: a *setting* is held until it is changed; an *action* is done once and never echoes its value; a *setpoint* is
forgotten by the device unless it is written again and again: ``setpoints.csv`` says within which time it ``lapses``, in
s, and the ``safe`` value that is written when it is let go of (empty: left to lapse). Of the latter two the path's own
reading is not shown under their name: where it tells something, a field of its own shows it. ``wire`` is the type that
the path has where nothing was heard of it. ``needs``: values of other paths without which the device does not take a
write, ``/ModeIsAdjustable=1``. ``guarded``: texts that the default policy does not allow, ``*`` any, each possibly only
``unless`` a field of the same shadow shows one of some values. A number needs bounds unless all its values are guarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .model import NUMERIC, CatalogError, Field, Source, fill
from .names import template
from .tables import Row, read

if TYPE_CHECKING:
    from importlib.abc import Traversable

_SERVICE = r"\*|[a-z][a-z0-9]*"
NEVER_COLUMNS = ("service", "path", "reason")
FLASH_COLUMNS = ("service", "path")
SETPOINT_COLUMNS = ("shadow", "field", "lapses", "safe")
COLUMNS = ("shadow", "field", "class", "wire", "needs", "guarded")


class Class(str, Enum):
    """What a write does."""

    SETTING = "setting"
    ACTION = "action"
    SETPOINT = "setpoint"


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
    """A value that is not in the default allow-list, unless ``field`` shows one of ``unless``; ``*`` is any value."""

    value: str
    field: str = ""
    unless: tuple[str, ...] = ()

    def covers(self, text: str) -> bool:
        return self.value in ("*", text)


#: No value is in the default allow-list.
ANY = Guard("*")


@dataclass(frozen=True, slots=True)
class Setpoint:
    """The device forgets it within ``lapses`` s; ``safe`` is written when it is let go of, None: left to lapse."""

    lapses: float
    safe: float | None


@dataclass(frozen=True, slots=True)
class Command:
    """How a field is written. ``needs`` have their placeholders filled in; that class alone has a ``setpoint``."""

    field: Field
    kind: Class
    wire: Wire
    needs: tuple[Need, ...] = ()
    guards: tuple[Guard, ...] = ()
    setpoint: Setpoint | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    pattern: re.Pattern[str]
    command: Command  #: its needs keep their placeholders


class Commands:
    """The table; the first row that fits a field counts. ``flash`` and ``never`` are patterns of services and of their
    paths, the latter with a reason each."""

    def __init__(
        self,
        lines: Iterable[tuple[str, _Line]],
        flash: Iterable[tuple[str, str]] = (),
        never: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        self._flash = tuple(flash)
        self._never = tuple(never)
        self._lines: dict[str, list[_Line]] = {}
        for shadow, line in lines:
            self._lines.setdefault(shadow, []).append(line)

    def is_stored(self, service: str, path: str) -> bool:
        """Whether a path is kept in flash, which wears with each write."""
        return any(fnmatchcase(service, kind) and fnmatchcase(path, pattern) for kind, pattern in self._flash)

    def forbids(self, service: str, path: str) -> str:
        """Why a path that no field has is never written, whatever the configuration says; else an empty text."""
        found = (why for kind, pattern, why in self._never if fnmatchcase(service, kind) and fnmatchcase(path, pattern))
        return f"is never written: {reason}" if (reason := next(found, "")) else ""

    def of(self, shadow: str, name: str, service: str = "") -> Command | None:
        """The command of a field by its dotted name without ``devices.<instance>``; None: it cannot be written.

        In a shadow of several services one name is several fields: ``service`` says which, empty takes the first.
        """
        for line in self._lines.get(shadow, ()):
            command = line.command
            if service not in ("", command.field.service):
                continue
            match = line.pattern.fullmatch(name)
            if match is not None:
                binding = match.groupdict()
                needs = tuple(Need(n.source.bound(binding), n.value) for n in command.needs)
                return replace(command, needs=needs)
        return None

    def rows(self, field: Field) -> Mapping[str, Command]:
        """Each name that the table has for a field, and how it is written; the needs keep their placeholders."""
        rows: dict[str, Command] = {}
        for line in self._lines.get(field.shadow, ()):
            if line.command.field is field:
                rows.setdefault(line.name, line.command)
        return rows


def read_commands(
    folder: Traversable, fields: Mapping[str, Iterable[Field]], patterns: Mapping[str, str], first: Mapping[str, str]
) -> Commands:
    """``commands.csv`` against the fields of each shadow; a catalogue without one has no command.

    ``patterns`` and ``first`` are those of the placeholders.
    """
    file = folder / "commands.csv"
    lines: list[tuple[str, _Line]] = []
    named: set[tuple[str, str]] = set()
    setpoints = _setpoints(folder)
    for row in read(file, "commands.csv", COLUMNS) if file.is_file() else ():
        shadow, name = row.text("shadow"), row.text("field")
        if (shadow, name) in named:
            raise row.wrong(f"field {name!r} is there twice")
        named.add((shadow, name))
        service, _, plain = name.rpartition("/")
        compiled = re.compile(template(plain, patterns))
        guards = tuple(_guard(row, text) for text in row.cells["guarded"].split(";") if text.strip())
        kind, setpoint = row.choice("class", Class), setpoints.pop((shadow, name), None)
        if (kind is Class.SETPOINT) is not (setpoint is not None):
            raise row.wrong(f"a setpoint has a line in setpoints.csv, and nothing else has: {name!r}")
        for field in _fields(row, service, plain, fields.get(shadow, ()), patterns):
            needs = tuple(_need(row, text, field.service) for text in row.words("needs"))
            wire = row.choice("wire", Wire)
            lines.append((shadow, _Line(plain, compiled, Command(field, kind, wire, needs, guards, setpoint))))
    if setpoints:
        raise CatalogError(f"setpoints.csv: {' '.join(next(iter(setpoints)))} has no row in commands.csv")
    commands = Commands(lines, _flash(folder), _never(folder))
    for shadow, rows in fields.items():
        for field in rows if named else ():
            if not field.writable:
                continue
            command = commands.of(shadow, fill(field.name, first), field.service)
            if command is None:
                raise CatalogError(f"commands.csv: no row for {shadow} {field.service}/{field.name}, which is writable")
            if field.kind in NUMERIC and None in (field.minimum, field.maximum) and ANY not in command.guards:
                raise CatalogError(
                    f"commands.csv: {shadow} {field.service}/{field.name} is a number without min and max: the GX does "
                    "not always give them, so that all its values must be guarded"
                )
    return commands


def _setpoints(folder: Traversable) -> dict[tuple[str, str], Setpoint]:
    """``setpoints.csv``; a catalogue without one has none."""
    file = folder / "setpoints.csv"
    found: dict[tuple[str, str], Setpoint] = {}
    for row in read(file, "setpoints.csv", SETPOINT_COLUMNS) if file.is_file() else ():
        lapses = row.number("lapses")
        if not lapses or lapses <= 0:
            raise row.wrong("lapses must be a time in s")
        found[row.text("shadow"), row.text("field")] = Setpoint(lapses, row.number("safe"))
    return found


def _flash(folder: Traversable) -> Iterable[tuple[str, str]]:
    """``flash.csv``: what is kept in flash, as patterns; a catalogue without one has none."""
    file = folder / "flash.csv"
    rows = read(file, "flash.csv", FLASH_COLUMNS) if file.is_file() else []
    return [(row.text("service", _SERVICE), row.text("path", r"/\S+")) for row in rows]


def _never(folder: Traversable) -> Iterable[tuple[str, str, str]]:
    """``never.csv``: what is not written even where the configuration allows paths that no field has."""
    file = folder / "never.csv"
    rows = read(file, "never.csv", NEVER_COLUMNS) if file.is_file() else []
    return [(row.text("service", _SERVICE), row.text("path", r"/\S+"), row.text("reason")) for row in rows]


def _fields(row: Row, service: str, name: str, fields: Iterable[Field], patterns: Mapping[str, str]) -> Iterable[Field]:
    """The writable field that a row means, of each service that has it."""
    found: dict[str, Field] = {}
    for field in fields:
        # Most rows and fields are told apart without a pattern, which takes long to make.
        fits = field.name == name or (
            field.placeholders
            and field.name.count(".") == name.count(".")
            and re.fullmatch(template(field.name, patterns, named=False), name)
        )
        if fits and service in ("", field.service):
            found.setdefault(field.service, field)
    if not found:
        raise row.wrong(f"field {name!r} is no field of {service or row.cells['shadow']!r}")
    writable = [field for field in found.values() if field.writable]
    if not writable:
        raise row.wrong(f"field {name!r} is not writable in fields/{next(iter(found))}.csv")
    return writable


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
