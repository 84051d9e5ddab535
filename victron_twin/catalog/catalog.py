"""The catalogue in memory: which fields a D-Bus path feeds, and what its codes mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .commands import Commands
from .ignored import Ignored
from .model import Cadence, Field, Kind, Layout, ShadowKind, Source, fill
from .names import template
from .secrets import is_secret

Binding = Mapping[str, str]
Match = tuple[Field, Binding]

_NONE: Binding = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What ``{name}`` may stand for. ``first`` is the value that is there wherever any is."""

    name: str
    pattern: str
    first: str
    title: str


@dataclass(frozen=True, slots=True)
class Codes:
    """The texts of an enum's codes, or of a mask's bits."""

    texts: Mapping[int, str]
    is_mask: bool


class Catalog:
    """All tables, checked. Made by :func:`victron_twin.catalog.load`."""

    def __init__(
        self,
        shadows: Iterable[ShadowKind],
        fields: Iterable[Field],
        enums: Mapping[str, Codes],
        placeholders: Mapping[str, Placeholder],
        rated_currents: Mapping[int, float],
        error_labels: Mapping[str, str],
        commands: Commands,
        ignored: Ignored,
    ) -> None:
        self.shadows: Mapping[str, ShadowKind] = MappingProxyType({s.name: s for s in shadows})
        self.enums = enums
        self.commands = commands
        self.ignored = ignored
        self.placeholders = placeholders
        self.patterns: Mapping[str, str] = {p.name: p.pattern for p in placeholders.values()}
        self._rated_currents = rated_currents
        self._error_labels = error_labels
        self._shadow_of = {
            service: shadow
            for shadow in self.shadows.values()
            if shadow.layout is not Layout.OWN
            for service in shadow.services
        }
        self._fields: dict[str, tuple[Field, ...]] = dict.fromkeys(self.shadows, ())
        literal: defaultdict[tuple[str, str], dict[Field, None]] = defaultdict(dict)
        templates: defaultdict[tuple[str, str], dict[Field, None]] = defaultdict(dict)
        helpers: defaultdict[tuple[str, str], dict[Field, None]] = defaultdict(dict)
        for field in fields:
            self._fields[field.shadow] += (field,)
            for source in field.sources:
                key = source.service, source.path
                if source.placeholders:
                    templates[key][field] = None
                elif field.placeholders:
                    helpers[key][field] = None
                else:
                    literal[key][field] = None
        self._literal = {key: tuple((f, _NONE) for f in found) for key, found in literal.items()}
        self._helpers = {key: tuple(found) for key, found in helpers.items()}
        self._templates: defaultdict[tuple[str, int], list[tuple[re.Pattern[str], tuple[Field, ...]]]]
        self._templates = defaultdict(list)
        for (service, path), found in templates.items():
            compiled = re.compile(template(path, self.patterns))
            self._templates[service, path.count("/")].append((compiled, tuple(found)))
        self._services = {service for service, _ in (*literal, *templates, *helpers)}

    def fields(self, shadow: str) -> tuple[Field, ...]:
        """The fields of a shadow, in the order of its tables; those of all its services."""
        return self._fields[shadow]

    def required(self, shadow: str) -> tuple[str, ...]:
        """The dotted names that gate the first write: of a field with placeholders its first, ``ac.consumption.l1``."""
        first = {p.name: p.first for p in self.placeholders.values()}
        return tuple(dict.fromkeys(fill(f.name, first) for f in self._fields[shadow] if f.required))

    def shadow_of(self, service: str) -> ShadowKind | None:
        """The shadow that holds the devices of a service; None for a helper, and for what the twin makes itself."""
        return self._shadow_of.get(service)

    def match(self, service: str, path: str) -> tuple[Match, ...]:
        """The fields with a source that is this path, each with what its placeholders then stand for.

        A source without placeholders of a field that has some is no match: see :meth:`helpers`.
        """
        found = self._literal.get((service, path), ())
        for pattern, fields in self._templates.get((service, path.count("/")), ()):
            match = pattern.fullmatch(path)
            if match is not None:
                binding = MappingProxyType(match.groupdict())
                found += tuple((field, binding) for field in fields)
        return found

    def untold(self, service: str, path: str) -> tuple[Match, ...]:
        """A row for a path that no table has, in the shadow that holds the service's devices; none for a secret."""
        shadow = self._shadow_of.get(service)
        if shadow is None or is_secret(path):
            return ()
        row = Field(
            shadow=shadow.name,
            service=service,
            name=f"raw.{path[1:]}",
            sources=(Source(service, path),),
            rule="",
            unit="",
            title="",
            kind=Kind.RAW,
            decimals=None,
            enum="",
            writable=False,
            minimum=None,
            maximum=None,
            cadence=Cadence.SLOW,
            deadband=0.0,
            required=False,
            priority=0,
        )
        return ((row, _NONE),)

    def helpers(self, service: str, path: str) -> tuple[Field, ...]:
        """The fields with placeholders that this path helps to make, whatever they stand for (NumberOfPhases)."""
        return self._helpers.get((service, path), ())

    def uses(self, service: str) -> bool:
        """Whether any field has a source there."""
        return service in self._services

    def enum(self, name: str) -> Mapping[int, str]:
        """Texts by code; of a mask, by bit."""
        return self.enums[name].texts

    def text(self, name: str, code: int) -> str:
        """The text of a code; ``Unknown (245)`` for one that is not known."""
        return self.enums[name].texts.get(code) or f"Unknown ({code})"

    def error_text(self, identity: str) -> str:
        """The text of an error that devices of other makers name ``maker:e-number``, a warning ``maker:w-number``."""
        label = self._error_labels.get(identity.replace(":w-", ":e-"), "Unknown")
        return f"{label} ({identity})"

    def rated_current(self, product_id: int) -> float | None:
        """The rated charge current in A of a solar charger by its product id, None where it is not known."""
        return self._rated_currents.get(product_id)
