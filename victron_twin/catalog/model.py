"""What one row of the catalogue says: a shadow field and the D-Bus paths behind it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

#: ``{name}`` in a path or a field; what it may stand for is said in ``placeholders.csv``.
PLACEHOLDER = re.compile(r"\{(\w+)\}")


class CatalogError(ValueError):
    """A catalogue table is wrong; the message names the file, the line and the rule it breaks."""


class Kind(str, Enum):
    """What the values of a field are."""

    NUMBER = "number"  #: rounded to the field's decimals
    INTEGER = "integer"
    TEXT = "text"
    ENUM = "enum"  #: an integer code on the bus, its text in the shadow
    BITS = "bits"  #: a bit mask on the bus, the texts of the set bits in the shadow
    BOOLEAN = "boolean"  #: 0 or 1 on the bus, false or true in the shadow
    RAW = "raw"  #: any number, text or boolean as it is on the bus: of paths that no table has
    OBJECT = "object"  #: several keys below the field, made by its rule


#: The kinds whose values have bounds and a deadband.
NUMERIC = (Kind.NUMBER, Kind.INTEGER)


class Cadence(str, Enum):
    """How soon a change of a field is worth a write of its own."""

    CRITICAL = "critical"
    NORMAL = "normal"
    SLOW = "slow"
    NEVER = "never"  #: it rides along with others


class Layout(str, Enum):
    """How a shadow holds its devices."""

    PRIMARY = "primary"  #: the primary device at the top, further ones under ``devices.<instance>``
    DEVICES = "devices"  #: all under ``devices.<instance>``
    MIXED = "mixed"  #: several services: all under ``devices.<service>-<instance>``
    OWN = "own"  #: not fed by devices: the component itself


@dataclass(frozen=True, slots=True)
class Source:
    """A D-Bus path, possibly with placeholders: ``Source("battery", "/Dc/0/Voltage")``."""

    service: str
    path: str

    def __str__(self) -> str:
        return self.service + self.path

    @property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(PLACEHOLDER.findall(self.path))

    def bound(self, binding: Mapping[str, str]) -> Source:
        """The same with its placeholders filled in."""
        return Source(self.service, fill(self.path, binding))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a shadow.

    ``name`` is dotted and may hold placeholders (``pv.trackers.{tracker}.voltage``); all sources of a
    field use the placeholders of its name, or none. ``rule`` names the function in
    :mod:`victron_twin.twin.rules` that makes the value out of the sources' values; empty: the first
    source as it is; no source at all: the twin itself makes the value. ``minimum`` and ``maximum`` bound what may
    be written; of a field that is only read they are the physical range, and what lies outside is no value (an
    inverter without a sensor says -273 degrees). ``required`` fields gate the first write of a shadow; a higher
    ``priority`` number stays longer when a document grows too large (0 to 9).
    """

    shadow: str
    service: str
    name: str
    sources: tuple[Source, ...]
    rule: str
    unit: str
    title: str
    kind: Kind
    decimals: int | None
    enum: str
    writable: bool
    minimum: float | None
    maximum: float | None
    cadence: Cadence
    deadband: float
    required: bool
    priority: int

    @property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(PLACEHOLDER.findall(self.name))


@dataclass(frozen=True, slots=True)
class ShadowKind:
    """One of the fixed set of named shadows: ``victron-battery`` and the services that feed it."""

    name: str
    title: str
    layout: Layout
    services: tuple[str, ...]
    helpers: tuple[str, ...] = ()  #: lend values to its fields, but are no devices of it


def fill(template: str, binding: Mapping[str, str]) -> str:
    """``fill("l{phase}", {"phase": "2"})`` is ``"l2"``."""
    return PLACEHOLDER.sub(lambda m: binding[m[1]], template)
