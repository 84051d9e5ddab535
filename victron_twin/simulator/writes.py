"""What a write to the simulated GX does to the value on the bus.

Whatever is refused is refused in silence, as a GX does.
"""

from __future__ import annotations

import math

from victron_twin.simulator.bus import Bus, Range, Service, Value, float32
from victron_twin.simulator.rules import Rule


class Refused(Exception):
    """The write has no effect; a GX says nothing about it."""


def check(bus: Bus, service: Service, path: str, value: Value, it: Rule) -> Value:
    """The value as it will stand on the bus. Raises Refused."""
    if it.needs is not None:
        there = bus.find(service.key + it.needs[0] if it.needs[0].startswith("/") else it.needs[0])
        if there is None or there[0][there[1]] != it.needs[1]:
            raise Refused(f"{it.needs[0]} is not {it.needs[1]}")
    if it.text:
        if not isinstance(value, str):
            raise Refused("takes a text")
        return value
    if not isinstance(value, (bool, int, float)):
        raise Refused("takes a number")
    if it.choices and value not in it.choices:
        raise Refused(f"is none of {it.choices}")
    if it.limits is not None:
        low, high = it.limits
        if it.clips:
            return float32(round(max(low, min(high, float(value))), 1))
        if not low <= value <= high:
            raise Refused(f"is not within {low} and {high}")
    return value


def setting(old: Value, value: Value, limits: Range | None) -> Value:
    """A setting's new value, brought to the setting's type as the GX's store of settings does. Raises Refused."""
    new: Value
    try:
        if isinstance(old, (list, dict)) or old is None or isinstance(value, (list, dict)) or value is None:
            raise Refused("has another type")
        new = str(value) if isinstance(old, str) else float(value) if isinstance(old, float) else int(value)
    except (ValueError, OverflowError) as error:
        raise Refused("has another type") from error
    if isinstance(new, (int, float)):
        if not (math.isfinite(new) and (isinstance(old, float) or abs(new) < 2**31)):
            raise Refused("is beyond what the type holds")
        low, high = limits or (None, None)
        if (low is not None and new < low) or (high is not None and new > high):
            raise Refused(f"is not within {low} and {high}")
    return new
