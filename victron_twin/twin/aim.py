"""What the leaves of a desired section are aimed at: a device, one of its fields, and how that is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from victron_twin.catalog.catalog import Catalog
from victron_twin.catalog.commands import Class, Command, Wire
from victron_twin.catalog.model import Kind, Layout, ShadowKind

from .devices import Device, Live
from .flat import Path, dotted, within
from .policy import names_of
from .twin import Twin

#: Under this a shadow shows the paths that no table has, as they are on the bus.
RAW = "raw"

#: Whether a path that no table has may be written, by service and path; else why not, in a sentence.
RawRule = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Target:
    """What a desired leaf is aimed at; ``command`` None: it cannot be written, and ``reason`` says why, where anything
    was asked at all."""

    path: Path
    asked: Any
    device: Device | None
    name: Path
    command: Command | None
    reason: str = ""

    @property
    def live(self) -> Live | None:
        return self.device.fields.get(self.name) if self.device is not None else None


def targets(shadow: str, section: Mapping[str, Any], twin: Twin, raw: RawRule, above: Path = ()) -> Iterator[Target]:
    """Every leaf of a desired section with what it is aimed at; the object of an action is a leaf."""
    for key, asked in section.items():
        path = (*above, key)
        device, name, reason = _aim(shadow, path, twin)
        service = _service(twin.catalog.shadows[shadow], path)
        command = twin.catalog.commands.of(shadow, dotted(name), service) if name and not reason else None
        if name[:1] == (RAW,) and len(name) == 2 and not reason:
            command, reason = _raw(service or twin.catalog.shadows[shadow].services[0], device, name, twin, raw)
        if command is not None:
            yield Target(path, asked, device, name, command)
        elif asked == {}:
            yield Target(path, asked, device, name, None)  # what was withdrawn leaves it, and a delta with it
        elif isinstance(asked, Mapping):
            yield from targets(shadow, asked, twin, raw, path)
        else:
            if not reason:
                is_field = any(dotted(name) == row.name for row in twin.catalog.fields(shadow)) or (
                    device is not None and name in device.fields
                )
                reason = f"{dotted(path)} is read-only" if is_field else f"{dotted(path)} is no field"
            yield Target(path, asked, device, name, None, reason)


def is_momentary(shadow: str, path: Path, catalog: Catalog) -> bool:
    """Whether a path of a shadow is an action's or a setpoint's, whatever device is there."""
    command = catalog.commands.of(shadow, dotted(within(path)), _service(catalog.shadows[shadow], path))
    return command is not None and command.kind is not Class.SETTING


def _service(kind: ShadowKind, path: Path) -> str:
    """The service that an entry of a shadow of several names, ``acload-40``; empty where none is named."""
    named = kind.layout is Layout.MIXED and path[0] == "devices" and len(path) > 2
    return path[1].partition("-")[0] if named else ""


def _aim(shadow: str, path: Path, twin: Twin) -> tuple[Device | None, Path, str]:
    """The device and the field that a path of a shadow means, or why it means none."""
    kind = twin.catalog.shadows[shadow]
    if kind.layout is Layout.OWN:
        return None, path, ""
    if path[0] != "devices":
        if kind.layout is not Layout.PRIMARY:
            return None, path, ""
        primary = twin.primaries.get(kind.services[0])
        return (twin.devices.get(primary) if primary else None), path, ""
    if len(path) < 3:
        return None, (), ""
    service, instance = kind.services[0], path[1]
    if kind.layout is Layout.MIXED:
        service, _, instance = instance.partition("-")
    if kind.layout is Layout.PRIMARY and twin.primaries.get(service) == (service, instance):
        return None, path[2:], f"device {instance} is the primary: it is addressed at the top only"
    return twin.devices.get((service, instance)), path[2:], ""


def _raw(service: str, device: Device | None, name: Path, twin: Twin, rule: RawRule) -> tuple[Command | None, str]:
    """The command of a path that no table has, or why there is none; it may not have been heard of yet."""
    path = f"/{name[1]}"
    live = device.fields.get(name) if device is not None else None
    field = live.field if live is not None else next((row for row, _ in twin.catalog.untold(service, path)), None)
    reason = rule(service, path) if field is not None else "is never written: it is a secret"
    if field is None or reason:
        return None, f"{service}{path} {reason}"
    wire = {str: Wire.TEXT, float: Wire.DOUBLE}.get(type(live.slots[0].value) if live else int, Wire.INTEGER)
    return Command(field, Class.SETTING, wire), ""


def names(shadow: str, target: Target, twin: Twin) -> tuple[str, ...]:
    """All that patterns may call what a desire is aimed at: other fields of the same path count as well.

    ``victron-vebus.currentLimit`` and ``.input1.currentLimit`` are one limit: a rule for one of them holds for both.
    """
    device = target.device
    if device is None:
        return names_of(shadow, target.path)
    found = dict.fromkeys(names_of(shadow, target.path, _entry(device, shadow, twin)))
    live = target.live
    for other in (feed for slot in live.slots for feed in slot.feeds) if live is not None else ():
        if other.field.writable and other is not live:
            theirs = other.field.shadow
            found.update(dict.fromkeys(names_of(theirs, other.path, _entry(other.device, theirs, twin))))
    return tuple(found)


def _entry(device: Device, shadow: str, twin: Twin) -> str:
    """The key of a device under ``devices`` of a shadow."""
    return str(device).replace("/", "-") if twin.catalog.shadows[shadow].layout is Layout.MIXED else device.instance


def is_raw(command: Command) -> bool:
    """Whether it is for a path that no table has."""
    return command.field.kind is Kind.RAW
