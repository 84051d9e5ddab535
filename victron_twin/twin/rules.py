"""How a field is made where it is not one D-Bus path as it is. The catalogue names the rule; MAPPING of the sources:
the Venus OS D-Bus pages and what real devices send.

A rule takes the raw values of the field's sources in their order (None: no value) and the field's memory, and gives
a raw value, or None where the field has none now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from victron_twin.catalog import Catalog

from .readings import is_number

Raw = Any


@dataclass(slots=True)
class Memory:
    """What a rule is told beside its sources, and what it keeps for the next time."""

    catalog: Catalog
    binding: Mapping[str, str]
    now: float = 0.0
    kept: dict[str, float] = field(default_factory=dict)


Rule = Callable[[Sequence[Raw], Memory], Raw]

#: The GX's "the battery is not discharging" as a time to go, in seconds.
ENDLESS = 864000
#: Panels below this give no current by division; shown again only a little higher.
DARK_BELOW, BRIGHT_ABOVE = 1.0, 2.0
#: Efficiency means nothing below 5 % of the charger's rating, or below this where the rating is not known, in W.
FAINT = 20.0
FAINT_SHARE = 0.05
#: Efficiency is the quotient of two energies over at least this long, in s; older ones fade.
ENERGY_WINDOW = 60.0
#: The product ids of the Orion XS, a charger that calls itself an alternator.
ORION_XS = range(0xA3F0, 0xA400)
#: Air pressure from here on is in hPa, below it in kPa.
LEAST_HPA = 200.0
#: Bits of a switch output's status, and one of our own for two of them together.
POWERED, OUTPUT_FAULT, OUTPUT_ON = 0x1, 0x8, 0x100
#: Types of a switch's output: temperature setpoint, stepped switch, basic slider, numeric input; and dropdown.
SET_VALUE_TYPES, DROPDOWN = (3, 4, 7, 8), 6


def _number(raw: Raw) -> float | None:
    return raw if is_number(raw) else None


def as_is(values: Sequence[Raw], memory: Memory) -> Raw:
    return values[0]


def first(values: Sequence[Raw], memory: Memory) -> Raw:
    return next((v for v in values if v is not None), None)


def negate(values: Sequence[Raw], memory: Memory) -> Raw:
    """Consumed Ah: the bus counts down from 0, the field up."""
    number = _number(values[0])
    return values[0] if number is None else max(0.0, -number)


def power(values: Sequence[Raw], memory: Memory) -> Raw:
    """The power that the device gives, else voltage times current."""
    if values[0] is not None:
        return values[0]
    voltage, current = _number(values[1]), _number(values[2])
    return None if voltage is None or current is None else voltage * current


def unless_zero(values: Sequence[Raw], memory: Memory) -> Raw:
    """The first, unless the second says that the device has no such sensor."""
    return None if values[1] == 0 else values[0]


def time_to_go(values: Sequence[Raw], memory: Memory) -> Raw:
    number = _number(values[0])
    return None if number is not None and round(number) >= ENDLESS else values[0]


def ratio(values: Sequence[Raw], memory: Memory) -> Raw:
    above, below = _number(values[0]), _number(values[1])
    if above is None or below is None:
        return None
    least = DARK_BELOW if memory.kept.get("bright") else BRIGHT_ABOVE
    memory.kept["bright"] = float(below >= least)
    return above / below if below >= least else None


def total(values: Sequence[Raw], memory: Memory) -> Raw:
    numbers = [n for n in map(_number, values) if n is not None]
    return sum(numbers) if numbers else None


def strip_slash(values: Sequence[Raw], memory: Memory) -> Raw:
    return values[0].removeprefix("/") if isinstance(values[0], str) else values[0]


def counter(values: Sequence[Raw], memory: Memory) -> Raw:
    """An energy counter; 0 just after a device woke up is not its value."""
    number = _number(values[0])
    if number is None:
        return values[0]
    if number == 0 and memory.kept.get("last", 0) > 0:
        return None
    memory.kept["last"] = number
    return number


def firmware(values: Sequence[Raw], memory: Memory) -> Raw:
    """0x308 is v3.08; with 24 bits the last byte is FF in a release (0x0331FF is v3.31), else the beta's number."""
    code = values[0]
    if type(code) is not int or code < 0:
        return code
    if code <= 0xFFFF:
        return f"v{code >> 8:x}.{code & 0xFF:02x}"
    release = f"v{code >> 16:x}.{code >> 8 & 0xFF:02x}"
    return release if code & 0xFF == 0xFF else f"{release}-beta-{code & 0xFF:02x}"


def hex_digits(values: Sequence[Raw], memory: Memory) -> Raw:
    """A VE.Bus firmware: 1154 is 482."""
    return f"{values[0]:x}" if type(values[0]) is int and values[0] >= 0 else values[0]


def low_bits(values: Sequence[Raw], memory: Memory) -> Raw:
    """The network status of a charger: its low three bits are a number, those above are flags."""
    number = _number(values[0])
    return values[0] if number is None else int(number) & 7


def consumption(values: Sequence[Raw], memory: Memory) -> Raw:
    """A phase's AC loads: the GX's sum, else what hangs on input and output; 0 for a phase that is not there."""
    phases = _number(values[3])
    if phases is not None and int(memory.binding["phase"]) > phases:
        return 0
    return values[0] if values[0] is not None else total(values[1:3], memory)


def ess_mode(values: Sequence[Raw], memory: Memory) -> Raw:
    """ESS mode is two settings: Hub4Mode 3 is external control, else the BatteryLife state tells."""
    hub4, life = _number(values[0]), _number(values[1])
    if hub4 is None:
        return None
    if hub4 == 3:
        return 3
    if life is None:
        return None
    return 2 if life == 9 else 1 if life in (10, 11, 12) else 0


def efficiency(values: Sequence[Raw], memory: Memory) -> Raw:
    """Battery side by panel side in %, as energies over about a minute; None while the sun is faint.

    Sources: battery voltage, battery current, load current, panel power, product id.
    """
    voltage, current, load, panel = (_number(v) for v in values[:4])
    kept = memory.kept
    if voltage is None or current is None or panel is None:
        kept.clear()
        return None
    rated = memory.catalog.rated_current(values[4]) if type(values[4]) is int else None
    least = FAINT if rated is None else FAINT_SHARE * rated * voltage
    if panel < least * (0.9 if kept else 1.0):
        kept.clear()
        return None
    if "at" in kept:
        seconds = max(0.0, memory.now - kept["at"])
        fade = max(0.0, 1.0 - seconds / (2 * ENERGY_WINDOW))
        kept["in"] = kept["in"] * fade + kept["panel"] * seconds
        kept["out"] = kept["out"] * fade + kept["battery"] * seconds
        kept["for"] += seconds
    else:
        kept.update({"in": 0.0, "out": 0.0, "for": 0.0})
    kept.update(at=memory.now, panel=panel, battery=voltage * (current + (load or 0.0)))
    if kept["for"] < ENERGY_WINDOW or kept["in"] <= 0:
        return None
    percent = 100 * kept["out"] / kept["in"]
    kept["implausible"] = float(percent > 100)
    return percent if 0 <= percent <= 100 else None


def error_id(values: Sequence[Raw], memory: Memory) -> Raw:
    """An error that its maker numbers, ``dse:e-4096``, with its text; empty where there is none."""
    identity = values[0]
    if not isinstance(identity, str):
        return identity
    return memory.catalog.error_text(identity) if identity else "No error"


def alternator_error(values: Sequence[Raw], memory: Memory) -> Raw:
    """The error of an Orion XS, which numbers as all chargers do, or of an alternator's regulator, which does not."""
    code, product = values
    if not is_number(code) or code != int(code):
        return code
    if code == 0:
        return "No error"
    if is_number(product) and int(product) in ORION_XS:
        return memory.catalog.text("charger_error", int(code))
    return memory.catalog.error_text(f"wakespeed:e-{int(code)}")


def kilopascals(values: Sequence[Raw], memory: Memory) -> Raw:
    """Air pressure: a GX sends kPa, though its lists say hPa; the two cannot be mistaken for each other."""
    number = _number(values[0])
    return values[0] if number is None or number < LEAST_HPA else number / 10


def output_status(values: Sequence[Raw], memory: Memory) -> Raw:
    """The state of a switch's output: the bits 0x1 (powered) and 0x8 (fault) together mean that it is on."""
    mask = _number(values[0])
    both = POWERED | OUTPUT_FAULT
    if mask is None or int(mask) & both != both:
        return values[0]
    return int(mask) & ~both | OUTPUT_ON


def dimming(values: Sequence[Raw], memory: Memory) -> Raw:
    """The level of an output in %; for some types the same path is a set value in another unit."""
    return None if values[1] in SET_VALUE_TYPES else values[0]


def set_value(values: Sequence[Raw], memory: Memory) -> Raw:
    """The set value of an output of such a type."""
    return values[0] if values[1] in SET_VALUE_TYPES else None


def on_off(values: Sequence[Raw], memory: Memory) -> Raw:
    """Whether an output is on; of a list to choose from the same path is the number of the choice."""
    return None if values[1] == DROPDOWN else values[0]


def choice(values: Sequence[Raw], memory: Memory) -> Raw:
    return values[0] if values[1] == DROPDOWN else None


RULES: Mapping[str, Rule] = {
    "": as_is,
    "alternator_error": alternator_error,
    "choice": choice,
    "consumption": consumption,
    "counter": counter,
    "dimming": dimming,
    "efficiency": efficiency,
    "error_id": error_id,
    "ess_mode": ess_mode,
    "firmware": firmware,
    "first": first,
    "hex_digits": hex_digits,
    "low_bits": low_bits,
    "kilopascals": kilopascals,
    "negate": negate,
    "on_off": on_off,
    "output_status": output_status,
    "power": power,
    "ratio": ratio,
    "set_value": set_value,
    "strip_slash": strip_slash,
    "sum": total,
    "time_to_go": time_to_go,
    "unless_zero": unless_zero,
}

#: Rules that make a value out of several; the second and third only where the device itself gives none.
_MADE = frozenset({"efficiency", "ratio", "sum"})
_MADE_WITHOUT = frozenset({"consumption", "power"})


def derived(rule: str, values: Sequence[Raw]) -> bool:
    """Whether a value that a rule gives was made out of others."""
    return rule in _MADE or (rule in _MADE_WITHOUT and values[0] is None)


#: Rules whose value moves with time alone, so that they are asked again at each look.
TIMED = frozenset({"efficiency"})
