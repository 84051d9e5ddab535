"""The compact form of measured values, for messages that are many.

``t`` is the time of the message in epoch ms, ``v`` the values by dotted field, ``q`` the quality of those that are not
good, ``d`` the ms that a value is older than ``t``, where it is::

    {"t": 1700000000000, "v": {"voltage": 12.45, "power": -64.7}, "q": {"power": 1}, "d": {"voltage": 250}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .devices import Live
from .flat import dotted
from .readings import Value, is_number
from .rules import derived
from .twin import Twin


class Quality(IntEnum):
    """How far a value can be relied on."""

    GOOD = 0  #: as the device says it
    DERIVED = 1  #: made out of others
    DOUBTFUL = 2  #: the device gives none now, or an impossible one: the last is still held
    STALE = 3  #: the device or its GX is not heard


@dataclass(frozen=True, slots=True)
class Point:
    """One value: ``t`` in epoch ms, ``v``, ``q``."""

    t: int
    v: Value
    q: Quality = Quality.GOOD


class Malformed(ValueError):
    """A message that is not of this form; the text says what is wrong with it."""


def encode(points: Mapping[str, Point]) -> dict[str, Any]:
    """One message of points by dotted field; the newest gives its time."""
    newest = max((point.t for point in points.values()), default=0)
    message: dict[str, Any] = {"t": newest, "v": {name: point.v for name, point in points.items()}}
    qualities = {name: int(point.q) for name, point in points.items() if point.q}
    delays = {name: newest - point.t for name, point in points.items() if point.t != newest}
    return message | ({"q": qualities} if qualities else {}) | ({"d": delays} if delays else {})


def decode(message: Mapping[str, Any]) -> dict[str, Point]:
    """The points of a message. Raises Malformed."""
    newest, values = message.get("t"), message.get("v")
    qualities, delays = message.get("q", {}), message.get("d", {})
    if type(newest) is not int or not isinstance(values, Mapping):
        raise Malformed("t must be epoch ms, and v an object")
    for name, found in (("q", qualities), ("d", delays)):
        if not isinstance(found, Mapping) or not all(is_number(n) for n in found.values()):
            raise Malformed(f"{name} must be an object of numbers")
    try:
        return {
            name: Point(newest - int(delays.get(name, 0)), value, Quality(qualities.get(name, 0)))
            for name, value in values.items()
        }
    except ValueError as error:
        raise Malformed(str(error)) from None


def points(twin: Twin, shadow: str) -> dict[str, Point]:
    """What a shadow's devices measure now, by dotted field."""
    return {dotted(path): point for path, point in _points(twin, shadow)}


def _points(twin: Twin, shadow: str) -> Iterator[tuple[tuple[str, ...], Point]]:
    for device, place in twin.placed(twin.catalog.shadows[shadow]):
        for path, live in device.fields.items():
            if live.shown is not None and not live.hidden:
                heard = max((slot.at for slot in live.slots), default=0.0)
                yield place + path, Point(round(heard * 1000), live.shown, quality(live))


def quality(live: Live) -> Quality:
    """How far the shown value of a field can be relied on."""
    if not live.device.connected:
        return Quality.STALE
    if live.invalid_since is not None or not any(slot.at for slot in live.slots):
        return Quality.DOUBTFUL
    return Quality.DERIVED if derived(live.field.rule, [slot.value for slot in live.slots]) else Quality.GOOD
