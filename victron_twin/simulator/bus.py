"""What stands on the simulated GX's D-Bus: services, their paths, values and published ranges."""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from victron_twin.simulator.rules import Rule

#: What a path can hold; None is D-Bus's invalid.
Value = None | bool | int | float | str | list[Any] | dict[str, Any]

#: ``min`` and ``max`` as a settings service publishes them; None is unbounded on that side.
Range = tuple[int | float | None, int | float | None]

_CHOICE = re.compile(r"\{([^{}]*)\}")
_SPAN = re.compile(r"(\d+)-(\d+)")


def float32(value: float) -> float:
    """The value as the devices have it: 57.05 is 57.04999923706055 on the bus."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def expand(pattern: str) -> Iterator[str]:
    """``/Alarms/{Low,High}Voltage`` and ``/Daily/{0-30}/Yield`` as the paths they stand for."""
    parts = _CHOICE.split(pattern)
    for number in range(1, len(parts), 2):
        span = _SPAN.fullmatch(parts[number])
        if span:
            parts[number] = ",".join(map(str, range(int(span[1]), int(span[2]) + 1)))
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ("".join(choice) for choice in itertools.product(*choices))


def expanded(table: Mapping[str, Value]) -> dict[str, Value]:
    """A table of patterns as a table of paths; a later row wins over an earlier one."""
    return {path: value for pattern, value in table.items() for path in expand(pattern)}


@dataclass
class Service:
    """One service: ``Service("battery", 512, "com.victronenergy.battery.ttyS6", {"/Soc": 87.5})``.

    ``rules`` says which paths take writes (settings have none of these: all do). ``changed`` has the paths that were
    signalled since the bus last took them, oldest first.
    """

    kind: str
    instance: int
    name: str
    values: dict[str, Value]
    ranges: dict[str, Range] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    forced: dict[str, Value] = field(default_factory=dict)
    present: bool = True
    changed: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """``battery/512``, as in a topic."""
        return f"{self.kind}/{self.instance}"

    def __getitem__(self, path: str) -> Value:
        return self.forced.get(path, self.values[path])

    def get(self, path: str) -> Value:
        """The value of a path, None also where there is no such path."""
        return self[path] if path in self.values else None

    def number(self, path: str, default: float = 0.0) -> float:
        """The value of a path as a number; the default where it is none."""
        value = self.get(path)
        return default if value is None or isinstance(value, (str, list, dict)) else float(value)

    def put(self, path: str, value: Value, *, again: bool = False) -> None:
        """Set a value; signalled where it changed, as Python compares (1, 1.0 and True are the same), or ``again``."""
        old = self.values.get(path)
        if old == value and path in self.values and not again:
            return
        self.values[path] = value
        if path not in self.forced:
            self.changed.append(path)

    def update(self, values: Mapping[str, Value]) -> None:
        """Set several values."""
        for path, value in values.items():
            self.put(path, value)

    def items(self) -> Iterator[tuple[str, Value]]:
        """Each path and the value it shows."""
        return ((path, self[path]) for path in self.values)


class Bus:
    """The services of one GX, by their key (``battery/512``)."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = {service.key: service for service in services}

    def __iter__(self) -> Iterator[Service]:
        """The services that are on the bus."""
        return (service for service in self._services.values() if service.present)

    def __getitem__(self, key: str) -> Service:
        """A service, also one that has left the bus."""
        try:
            return self._services[key]
        except KeyError:
            raise KeyError(f"no service {key!r}; there are {', '.join(self._services)}") from None

    def find(self, tail: str) -> tuple[Service, str] | None:
        """``battery/512/Dc/0/Voltage`` as its service and path; None where nothing like it is on the bus."""
        kind, _, rest = tail.partition("/")
        instance, slash, path = rest.partition("/")
        service = self._services.get(f"{kind}/{instance}")
        path = slash + path
        return (service, path) if service is not None and service.present and path in service.values else None

    def kind(self, kind: str) -> list[Service]:
        """The services of a type that are on the bus, the lowest instance first."""
        return sorted((s for s in self if s.kind == kind), key=lambda service: service.instance)

    def first(self, kind: str) -> Service | None:
        """The service of a type with the lowest instance on the bus; None where there is none."""
        return min((s for s in self if s.kind == kind), key=lambda service: service.instance, default=None)

    def take_changes(self) -> list[str]:
        """The topics (``battery/512/Soc``) that were signalled since the last call, and forget them."""
        changes = []
        for service in self._services.values():
            if service.changed:
                if service.present:
                    changes += [service.key + path for path in service.changed]
                service.changed = []
        return changes

    def values(self) -> dict[str, Value]:
        """Everything on the bus, by topic: ``{"battery/512/Soc": 87.5}``."""
        return {service.key + path: value for service in self for path, value in service.items()}
