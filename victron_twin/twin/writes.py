"""From what is desired of a field to the writes that bring it about, in the types that the paths have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from victron_twin.catalog import Catalog
from victron_twin.catalog.commands import Command, Wire
from victron_twin.catalog.model import NUMERIC, Field, Kind

from .devices import Live, Slot
from .policy import Limit
from .readings import is_number


class Unfit(ValueError):
    """A desired value that the field cannot have; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Write:
    """One ``W/`` message: a value for a path. ``key`` is the device, ``raw`` has the type that goes over the wire."""

    key: tuple[str, str]
    path: str
    raw: Any


def raw_value(asked: Any, field: Field, catalog: Catalog) -> Any:
    """What the bus has for a desired value: the code of a text, a number as it is. Raises Unfit."""
    if field.kind is Kind.ENUM:
        texts = catalog.enum(field.enum)
        if is_number(asked) and asked in texts:
            return int(asked)
        if isinstance(asked, str):
            for code, text in texts.items():
                if text.casefold() == asked.strip().casefold():
                    return code
        raise Unfit("must be one of " + ", ".join(f"{text} ({code})" for code, text in texts.items()))
    if field.kind is Kind.BOOLEAN:
        if isinstance(asked, bool) or (is_number(asked) and asked in (0, 1)):
            return int(asked)
        raise Unfit("must be true or false")
    if field.kind in NUMERIC:
        if is_number(asked):
            return asked
        raise Unfit("must be a number")
    if isinstance(asked, str):
        return asked
    raise Unfit("must be a text")


def passed_on(asked: Any, slot: Slot) -> Any:
    """What the bus has for a desired value of a path that no table has: of the kind that was heard. Raises Unfit."""
    heard = slot.value
    for kind, is_kind in (("true or false", _is_bool), ("a number", is_number), ("a text", _is_text)):
        if is_kind(heard):
            if is_kind(asked):
                return asked
            raise Unfit(f"must be {kind}, as what it has")
    raise Unfit("has no value, so that its type is not known")


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def check_range(raw: Any, field: Field, slot: Slot, limits: Iterable[Limit] = ()) -> None:
    """Within what the GX publishes for the path, the catalogue's bound where it gives none, and the owner's limits.

    Raises Unfit, which says by which of them.
    """
    if field.kind not in NUMERIC and not (field.kind is Kind.RAW and is_number(raw)):
        return
    lows = _sides(slot.minimum, field.minimum, [(limit.least, limit) for limit in limits])
    highs = _sides(slot.maximum, field.maximum, [(limit.most, limit) for limit in limits])
    if not lows or not highs:
        which = "upper bound that is" if lows else "lower bound that is" if highs else "bounds that are"
        raise Unfit(f"has no {which} known, neither from the GX nor here: commands.limits can give it")
    least, by_least = max(lows, key=lambda low: low[0])
    most, by_most = min(highs, key=lambda high: high[0])
    if raw < least or raw > most:
        span = f"must be from {least:g} to {most:g} {field.unit}".rstrip()
        raise Unfit(f"{span} ({by_least if raw < least else by_most})")


def _sides(
    live: float | None, table: float | None, limits: Iterable[tuple[float | None, Limit]]
) -> list[tuple[float, str]]:
    """All bounds of one side, each with whose it is."""
    found = [(bound, f"commands.limits: {limit}") for bound, limit in limits if bound is not None]
    if live is not None:
        found.insert(0, (live, "the GX's range"))
    elif table is not None:
        found.insert(0, (table, "the catalogue's range"))
    return found


def typed(raw: Any, slot: Slot, wire: Wire) -> Any:
    """The value in the type that the path has: the one that was heard, else the catalogue's. Raises Unfit."""
    if wire is Wire.TEXT:
        return str(raw)
    heard = type(slot.value)
    if heard is bool and isinstance(raw, bool):
        return raw
    if heard is float or (heard is not int and wire is Wire.DOUBLE):
        return float(raw)
    if raw == int(raw):
        return int(raw)
    if wire is Wire.DOUBLE:
        return float(raw)
    raise Unfit("must be a whole number")


def _same(raw: Any, live: Live) -> list[tuple[Slot, Any]]:
    return [(live.slots[0], raw)]


def _first(raw: Any, live: Live) -> list[tuple[Slot, Any]]:
    """The path that the value is from: a newer name of it, or an older."""
    return [(next((slot for slot in live.slots if slot.value is not None), live.slots[0]), raw)]


def _slash(raw: Any, live: Live) -> list[tuple[Slot, Any]]:
    """A time zone, with the slash before it where the path has one."""
    (slot,) = live.slots
    leads = isinstance(slot.value, str) and slot.value.startswith("/")
    return [(slot, f"/{raw}" if leads and not str(raw).startswith("/") else raw)]


def _ess_mode(raw: Any, live: Live) -> list[tuple[Slot, Any]]:
    """Hub4Mode 3 is external control; else Hub4Mode 1 or 2 (what it has), then the BatteryLife state 1, 10 or 9."""
    hub4, life = live.slots
    if raw == 3:
        return [(hub4, 3)]
    return [(hub4, 2 if hub4.value == 2 else 1), (life, {0: 1, 1: 10, 2: 9}[raw])]


def _shown(raw: Any, live: Live) -> list[tuple[Slot, Any]]:
    """Of a path that means one thing or another by the type of an output: only what it means now."""
    if live.shown is None:
        raise Unfit("is nothing that this output has, by its type")
    return _same(raw, live)


#: By the field's rule, how a value is taken apart into the raw values of its sources.
INVERSES: Mapping[str, Callable[[Any, Live], list[tuple[Slot, Any]]]] = {
    **dict.fromkeys(("choice", "dimming", "on_off", "set_value"), _shown),
    "": _same,
    "ess_mode": _ess_mode,
    "first": _first,
    "strip_slash": _slash,
}


def writes(raw: Any, live: Live, command: Command, limits: Iterable[Limit] = ()) -> tuple[Write, ...]:
    """The writes in their order. Raises Unfit."""
    check_range(raw, live.field, live.slots[0], limits)
    return takes(raw, live, command)


def takes(raw: Any, live: Live, command: Command) -> tuple[Write, ...]:
    """The writes that a value takes, whatever it is: what was there before may go back there. Raises Unfit."""
    return tuple(
        Write((slot.device.service, slot.device.instance), slot.path, typed(value, slot, command.wire))
        for slot, value in INVERSES[live.field.rule](raw, live)
    )
