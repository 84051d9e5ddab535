"""What to do about a desired document: an ordered list of orders, verdicts without a write, and leaves to clear.

Pure: the desired document, what was last settled and last acknowledged, the twin's state and the catalogue go in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from victron_twin.catalog.commands import Class, Command
from victron_twin.catalog.model import Layout

from .devices import Device
from .flat import Path, dotted
from .policy import Policy, names_of
from .readings import Unreadable, fit
from .shadow import same
from .twin import Twin
from .writes import Unfit, Write, raw_value, writes

#: An action may not be asked for further ahead, in s.
FURTHEST = 86_400.0
#: Actions wait while our clock is further from the GX's, in s.
SKEW = 60.0

FORM = '{"value": ..., "id": "...", "expires": "<ISO 8601>"}'


class Status(str, Enum):
    """What became of a desire, as ``reported.commands`` tells it."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"
    UNCONFIRMED = "unconfirmed"
    EXPIRED = "expired"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Order:
    """A desire to be executed: these writes, in this order. ``target`` is what the field will show."""

    path: Path
    asked: Any
    kind: Class
    writes: tuple[Write, ...]
    target: Any
    id: str = ""
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a desire without a write. A pending one is not settled."""

    path: Path
    asked: Any
    status: Status
    reason: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """``clear`` are leaves that no field takes: removed from desired after their verdicts are acknowledged."""

    orders: tuple[Order, ...]
    verdicts: tuple[Verdict, ...]
    clear: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What the planner looks up.

    ``settled`` holds what was last settled for each path (two values while it is not known whether the second was
    acknowledged), ``reported`` the shadow's stored section. ``ids`` holds for each id of an action what was asked with
    it, and whether it is known to be done. What is ``pending`` is decided whatever it is now. ``live`` tells whether
    the GX is there, ``offset`` is our clock minus the GX's in s, None while that is not known.
    """

    twin: Twin
    policy: Policy
    settled: Settled
    reported: Mapping[str, Any]
    ids: Mapping[str, tuple[Any, bool]]
    pending: Collection[Path]
    live: bool
    offset: float | None
    now: float
    spent: Callable[[Write], bool] = lambda _: False  #: whether a write would wear its point too fast by now


#: What was last settled for the path of a desire.
Settled = Mapping[Path, tuple[Any, ...]]


class _Refused(Exception):
    def __init__(self, reason: str, status: Status = Status.REJECTED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


@dataclass(frozen=True, slots=True)
class _Target:
    """What a desired leaf is aimed at; ``command`` None: it cannot be written, and ``reason`` says why."""

    path: Path
    asked: Any
    device: Device | None
    name: Path
    command: Command | None
    reason: str = ""


def plan(shadow: str, desired: Mapping[str, Any], known: Known) -> Plan:
    """What is new in a desired document, decided."""
    orders: list[Order] = []
    verdicts: list[Verdict] = []
    clear: list[Path] = []
    for target in _targets(shadow, desired, (), known.twin):
        if target.command is None:
            verdicts.append(Verdict(target.path, target.asked, Status.REJECTED, target.reason))
            clear.append(target.path)
            continue
        new = is_new(target.path, target.asked, known.settled, known.reported)
        if not new and target.path not in known.pending:
            continue
        asked_id = _id(target.asked)
        try:
            order = _order(shadow, target, target.command, known)
        except _Refused as refused:
            verdicts.append(Verdict(target.path, target.asked, refused.status, refused.reason, asked_id))
        except Unfit as unfit:
            verdicts.append(Verdict(target.path, target.asked, Status.REJECTED, str(unfit), asked_id))
        else:
            if order.writes:
                orders.append(order)
            else:
                verdicts.append(Verdict(target.path, target.asked, Status.APPLIED, "it was so already", asked_id))
    gone = [path for path in known.pending if at(desired, path) is None]
    verdicts.extend(Verdict(path, None, Status.REJECTED, "withdrawn") for path in gone)
    return Plan(tuple(orders), tuple(verdicts), tuple(clear))


def is_new(path: Path, asked: Any, settled: Settled, reported: Mapping[str, Any]) -> bool:
    """Differs from what was last settled, or without a record from what is stored as reported."""
    if path in settled:
        return not any(same(asked, value) for value in settled[path])
    return not same(asked, at(reported, path))


def at(section: Mapping[str, Any], path: Path) -> Any:
    """What stands at a path of a section, None where nothing does."""
    found: Any = section
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def shorten(asked: Any) -> Any:
    """A scalar as it is, anything else as JSON text cut at 80 characters."""
    if asked is None or isinstance(asked, str | int | float | bool):
        return asked if not isinstance(asked, str) else asked[:80]
    return json.dumps(asked, separators=(",", ":"))[:80]


def _targets(shadow: str, section: Mapping[str, Any], above: Path, twin: Twin) -> Iterator[_Target]:
    """Every leaf of a desired section with what it is aimed at; the object of an action is a leaf."""
    for key, asked in section.items():
        path = (*above, key)
        device, name, reason = _aim(shadow, path, twin)
        service = path[1].partition("-")[0] if twin.catalog.shadows[shadow].layout is Layout.MIXED and name else ""
        command = twin.catalog.commands.of(shadow, dotted(name), service) if name and not reason else None
        if command is not None:
            yield _Target(path, asked, device, name, command)
        elif isinstance(asked, Mapping):
            yield from _targets(shadow, asked, path, twin)
        else:
            if not reason:
                is_field = any(dotted(name) == row.name for row in twin.catalog.fields(shadow)) or (
                    device is not None and name in device.fields
                )
                reason = f"{dotted(path)} is read-only" if is_field else f"{dotted(path)} is no field"
            yield _Target(path, asked, device, name, None, reason)


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


def _id(asked: Any) -> str:
    return str(asked["id"])[:64] if isinstance(asked, Mapping) and "id" in asked else ""


def _order(shadow: str, target: _Target, command: Command, known: Known) -> Order:
    """The order for a new desire. Raises _Refused or Unfit; an order without writes is fulfilled already."""
    asked, expires = target.asked, 0.0
    if known.policy.off:
        raise _Refused(known.policy.off)
    if command.kind is Class.SETPOINT:
        raise _Refused("setpoints that must be held are not taken yet")
    if command.kind is Class.ACTION:
        asked, expires = _action(target.asked, known)
    elif isinstance(asked, Mapping | list) or asked is None:
        raise _Refused("a setting is a plain value")
    field = command.field
    raw = raw_value(asked, field, known.twin.catalog)
    try:
        shown = fit(raw, field, known.twin.catalog, bounded=False)
    except Unreadable:
        raise Unfit("no value of this field") from None
    device = target.device
    fields = {path: live.shown for path, live in device.fields.items()} if device is not None else {}
    names = _names(shadow, target, known.twin)
    refusal = known.policy.refuses(names, shown, command, fields)
    if refusal:
        raise _Refused(refusal)
    if not known.live or (device is not None and not device.connected):
        raise _Refused("the GX is not there" if not known.live else f"{device} is not there", Status.PENDING)
    live = device.fields.get(target.name) if device is not None else None
    if device is None or live is None:
        raise _Refused("the device does not have it")
    _check_needs(command, device, known.twin)
    wanted = writes(raw, live, command, known.policy.bounds(names))
    if command.kind is Class.ACTION:
        if known.offset is None or abs(known.offset) > SKEW:
            raise _Refused("our clock and the GX's are apart", Status.PENDING)
        return Order(target.path, target.asked, command.kind, wanted, target.asked, _id(target.asked), expires)
    if all(_has(known.twin, write) for write in wanted) or live.shown == shown:
        wanted = ()
    if any(known.spent(write) for write in wanted):
        raise _Refused(f"kept in flash: {known.policy.rate} writes a minute (commands.rate)", Status.PENDING)
    return Order(target.path, target.asked, command.kind, wanted, shown)


def _names(shadow: str, target: _Target, twin: Twin) -> tuple[str, ...]:
    """All that patterns may call what a desire is aimed at: other fields of the same path count as well.

    ``victron-vebus.currentLimit`` and ``.input1.currentLimit`` are one limit: a rule for one of them holds for both.
    """
    device = target.device
    if device is None:
        return names_of(shadow, target.path)
    names = dict.fromkeys(names_of(shadow, target.path, _entry(device, shadow, twin)))
    live = device.fields.get(target.name)
    for other in (feed for slot in live.slots for feed in slot.feeds) if live is not None else ():
        if other.field.writable and other is not live:
            theirs = other.field.shadow
            names.update(dict.fromkeys(names_of(theirs, other.path, _entry(other.device, theirs, twin))))
    return tuple(names)


def _entry(device: Device, shadow: str, twin: Twin) -> str:
    """The key of a device under ``devices`` of a shadow."""
    return str(device).replace("/", "-") if twin.catalog.shadows[shadow].layout is Layout.MIXED else device.instance


def _has(twin: Twin, write: Write) -> bool:
    device = twin.devices.get(write.key)
    slot = device.slots.get(write.path) if device is not None else None
    return slot is not None and slot.value is not None and bool(slot.value == write.raw)


def _check_needs(command: Command, device: Device, twin: Twin) -> None:
    for need in command.needs:
        holder: Device | None = device
        if need.source.service != device.service:
            holder = twin.devices.get((need.source.service, "0"))
        slot = holder.slots.get(need.source.path) if holder is not None else None
        value = slot.value if slot is not None else None
        if value is None or value != need.value:
            said = "is not known" if value is None else f"is {value}"
            raise _Refused(f"the GX does not take it: {need.source.path} {said}, it must be {need.value}")


def _action(asked: Any, known: Known) -> tuple[Any, float]:
    """The value and the expiry of an action's object. Raises _Refused."""
    if not isinstance(asked, Mapping) or not {"value", "id", "expires"} <= asked.keys():
        raise _Refused(f"an action is asked for as {FORM}")
    identity, until = asked["id"], asked["expires"]
    if not isinstance(identity, str) or not 0 < len(identity) <= 64:
        raise _Refused("id must be a text of 1 to 64 characters")
    expires = moment(until)
    if expires is None:
        raise _Refused("expires must be a time as 2024-01-15T14:30:00Z")
    if identity in known.ids:
        before, done = known.ids[identity]
        if not same(before, asked):
            raise _Refused("this id was used before: an action runs once for each id")
        if done:
            raise _Refused("nothing confirms it", Status.SENT)
        raise _Refused("the service was restarted while it was being done", Status.UNCONFIRMED)
    if expires <= known.now:
        raise _Refused("it has expired", Status.EXPIRED)
    if expires > known.now + FURTHEST:
        raise _Refused("expires is more than 24 h ahead")
    return asked["value"], expires


def moment(text: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time with its zone, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return None if read.tzinfo is None else read.astimezone(timezone.utc).timestamp()
