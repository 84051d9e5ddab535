"""The tables of the large site's devices, ``devices/*.csv``: what paths a device has, what stands there, how it moves.

A row is ``path,value,takes,moves``. ``path`` may stand for several (:func:`~victron_twin.simulator.bus.expand`).

``value``: empty is invalid, ``'...'`` a text whatever is in it, ``?0.01`` is invalid now and has that resolution,
``=/Serial`` is what another path of the device holds, ``=bus`` its name on the bus, ``=unique`` a number of its own.
A number's last decimal is its resolution, and a number without a point is an integer.

``takes``: empty is read-only; ``text``; ``0|1`` is one of these; ``0..100`` is a range. Behind it ``clips``,
``action``, ``owned``, ``lapses`` and ``if /Path=1`` say what :class:`~victron_twin.simulator.rules.Rule` does.
In settings it is the range that the GX publishes, and either end may be missing.

``moves``: see :mod:`~victron_twin.simulator.motion`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from victron_twin.simulator.bus import Range, Service, Value, expand, float32
from victron_twin.simulator.rules import Rule

_NUMBER = re.compile(r"-?\d+(\.(\d+))?")
_HEX = re.compile(r"0x[0-9A-Fa-f]+")
#: Columns of ``devices.csv`` that are paths of the device, where they are not empty.
_IDENTITY = {
    "product": "/ProductId",
    "name": "/ProductName",
    "custom": "/CustomName",
    "serial": "/Serial",
    "firmware": "/FirmwareVersion",
    "connection": "/Mgmt/Connection",
    "process": "/Mgmt/ProcessName",
    "version": "/Mgmt/ProcessVersion",
}
_TEXTS = ("name", "custom", "serial", "connection", "process", "version")
_LAPSE = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """One path of a device; ``step`` is the resolution of a number, 1 of an integer and 0 of what is no number."""

    path: str
    value: Value
    step: float
    takes: str
    moves: str

    @property
    def whole(self) -> bool:
        """Whether the path holds integers."""
        return self.step == 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A device as ``devices.csv`` has it: its service, its rows by path, its driver and how often it measures (s)."""

    service: Service
    rows: dict[str, Row]
    driver: str
    every: float


def devices() -> list[Kind]:
    """The devices of the large site, in the order of the table."""
    return [_device(cells) for cells in _cells("devices")]


def rows(name: str, prefix: str = "") -> Iterator[Row]:
    """The rows of a table, with a prefix before each path."""
    for cells in _cells(name):
        value, step = _value(cells["value"])
        for path in expand(prefix + cells["path"]):
            yield Row(path, value, step, cells["takes"], cells["moves"])


def rule(takes: str) -> Rule:
    """``0|1 if /ModeIsAdjustable=1`` as a rule."""
    accepted, *words = takes.split()
    needs = None
    if "if" in words:
        topic, _, wanted = words[words.index("if") + 1].partition("=")
        needs = topic, int(wanted)
    low, dots, high = accepted.partition("..")
    return Rule(
        choices=() if dots or accepted == "text" else tuple(int(choice) for choice in accepted.split("|")),
        limits=(float(low), float(high)) if dots else None,
        clips="clips" in words,
        needs=needs,
        action="action" in words,
        lapses=_LAPSE if "lapses" in words else None,
        owner="owned" in words,
        text=accepted == "text",
    )


def limits(takes: str) -> Range:
    """``0..100`` as a published range; either end may be missing."""
    low, _, high = takes.partition("..")
    return _value(low)[0] if low else None, _value(high)[0] if high else None  # type: ignore[return-value]  # numbers


def _cells(name: str) -> Iterator[dict[str, str]]:
    text = (files(__package__) / "devices" / f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _value(cell: str) -> tuple[Value, float]:
    """The value and its resolution."""
    if cell.startswith("?"):
        return None, _value(cell[1:])[1]
    if cell.startswith("'"):
        return cell[1:-1], 0
    number = _NUMBER.fullmatch(cell)
    if number is not None:
        return (float(cell), 10.0 ** -len(number[2])) if number[1] else (int(cell), 1)
    if _HEX.fullmatch(cell):
        return int(cell, 16), 1
    if cell.startswith("["):
        return json.loads(cell), 0
    return cell or None, 0


def _device(cells: dict[str, str]) -> Kind:
    kind, instance = cells["kind"], int(cells["instance"])
    name = f"com.victronenergy.{kind}.{cells['bus']}"
    found = {"/DeviceInstance": Row("/DeviceInstance", instance, 1, "", "")}
    for row in rows("generic"):
        found[row.path] = row
    for column, path in _IDENTITY.items():
        if cells[column]:
            value, step = _value(f"'{cells[column]}'" if column in _TEXTS else cells[column])
            found[path] = Row(path, value, step, "text" if column == "custom" else "", "")
    for table in cells["tables"].split():
        file, _, prefix = table.partition("@")
        for row in rows(file, prefix):
            found[row.path] = row
    for also in filter(None, cells["also"].split(";")):
        path, value, *takes = also.split(" ", 2)
        before = found.get(path)
        found[path] = Row(path, *_value(value), takes[0] if takes else "", before.moves if before else "")
    named: dict[str, Value] = {"bus": name, "unique": 400_000 + instance}
    values = {path: row.value for path, row in found.items()}
    for path, value in values.items():
        if isinstance(value, float):
            values[path] = float32(value)
        elif isinstance(value, str) and value.startswith("="):
            values[path] = named[value[1:]] if value[1:] in named else values.get(value[1:], "")
    rules = {path: rule(row.takes) for path, row in found.items() if row.takes}
    service = Service(kind, instance, name, values, rules=rules)
    return Kind(service, found, cells["driver"], float(cells["every"]))
