"""What the shadows must say of a GX whose values are known, and where they do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from victron_twin.catalog import Catalog
from victron_twin.catalog.commands import Class
from victron_twin.catalog.model import Field, Layout, ShadowKind, fill
from victron_twin.twin.devices import number
from victron_twin.twin.primary import SYSTEM_BATTERY
from victron_twin.twin.readings import Unreadable, fit, is_number
from victron_twin.twin.rules import RULES, TIMED, Memory

#: A position is shown anew once it has moved by 20 m: these, in degrees, are less.
POSITION = {"latitude": 0.00018, "longitude": 0.00018}

Reported = Callable[[str], Mapping[str, Any]]


@dataclass
class Comparison:
    """``compared`` counts the fields that were looked at, ``fields`` those that had a value."""

    compared: int = 0
    fields: int = 0
    differences: list[str] = field(default_factory=list)


def compare(values: Mapping[str, Any], reported: Reported, catalog: Catalog) -> Comparison:
    """Every field of every device of a GX against its shadow, within the field's deadband.

    ``values`` are the GX's by topic (``battery/512/Soc``; None: invalid), ``reported`` gives a shadow's section
    by its name. Not compared are actions, of which the shadow shows what was asked, and what needs a history.
    """
    found = Comparison()
    shadows: dict[str, Mapping[str, Any]] = {}
    gone: dict[str, None] = {}
    for row, instance, binding in _fields(values, catalog):
        kind = catalog.shadows[row.shadow]
        if kind.name not in shadows:
            shadows[kind.name] = reported(kind.name)
        section = _section(kind, row.service, instance, shadows[kind.name])
        if section is None:
            continue
        device = f"{kind.name} {row.service}/{instance}"
        if section.get("connected") is not True:
            gone[f"{device} is not shown as connected"] = None
            continue
        name = fill(row.name, binding)
        raw = [
            values.get(f"{s.service}/{instance if s.service == row.service else '0'}{s.path}")
            for s in (source.bound(binding) for source in row.sources)
        ]
        try:
            value = fit(RULES[row.rule](raw, Memory(catalog, binding)), row, catalog)
        except Unreadable:
            value = None
        if value is None and row.name == "state":
            value = "Unknown"  # a key of this name is never removed
        shown = _at(section, name)
        found.compared += 1
        found.fields += value is not None
        if value != shown and not _near(value, shown, row):
            found.differences.append(f"{device} {name}: the GX {value!r}, the shadow {shown!r}")
    found.differences += gone
    return found


def _fields(values: Mapping[str, Any], catalog: Catalog) -> Iterator[tuple[Field, str, Mapping[str, str]]]:
    """Each field that one of the topics feeds: its row, the instance of its device, what its placeholders stand for."""
    seen = set()
    for topic in values:
        service, instance, path = topic.split("/", 2)
        for row, binding in catalog.match(service, "/" + path):
            name = fill(row.name, binding)
            command = catalog.commands.of(row.shadow, name, row.service)
            if row.rule in TIMED or (command is not None and command.kind is not Class.SETTING):
                continue
            owner = instance if service == row.service else "0"
            key = (row.shadow, row.service, owner, name)
            if key not in seen and (service == row.service or instance == "0"):
                seen.add(key)
                yield row, owner, binding


def _section(kind: ShadowKind, service: str, instance: str, reported: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Where a device stands in its shadow; None for the system's view of a battery that has its own service."""
    devices = reported.get("devices", {})
    if kind.layout is Layout.MIXED:
        return _table(devices.get(f"{service}-{instance}"))
    if kind.layout is Layout.PRIMARY:
        if (service, instance) == SYSTEM_BATTERY:
            return reported if "source" in reported else None
        if reported.get("deviceInstance") == number(instance):
            return reported
    return _table(devices.get(instance))


def _table(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _at(section: Mapping[str, Any], name: str) -> Any:
    value: Any = section
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _near(value: object, shown: object, row: Field) -> bool:
    return (
        is_number(value)
        and is_number(shown)
        and abs(value - shown) <= max(row.deadband, POSITION.get(row.name, 0.0)) + 1e-6
    )
