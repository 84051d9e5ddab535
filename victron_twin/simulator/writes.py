"""What a write to the simulated GX does: which paths take one, what each accepts, and what becomes of it.

Everything else is read-only; whatever is refused is refused in silence, as a GX does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from victron_twin.simulator.bus import Bus, Range, Service, Value, float32

MANUAL = 2  #: the relay function in which a relay obeys, and a BMV's relay mode "remote"


@dataclass(frozen=True)
class Rule:
    """One writable path.

    ``choices``: only these values, as Python compares: 4.0 and True pass where 4 and 1 do, and stand there as such.
    ``limits``: beyond them is refused, or brought within where the device ``clips`` (which then rounds to a tenth).
    ``needs``: a topic and the value it must have. ``action``: something happens and the value stays as it was.
    ``lapses``: seconds after which the value is gone unless it is written again. ``owner``: written over by the GX
    itself at its next turn. ``text``: takes texts only.
    """

    choices: tuple[int, ...] = ()
    limits: tuple[float, float] | None = None
    clips: bool = False
    needs: tuple[str, int] | None = None
    action: bool = False
    lapses: float | None = None
    owner: bool = False
    text: bool = False


_SWITCH = (0, 1)
_NAME = Rule(text=True)
_OWNED = Rule(limits=(-1000.0, 1000.0), owner=True)

#: By the service's type and the path.
RULES: dict[str, Rule] = {
    "vebus/Mode": Rule(choices=(1, 2, 3, 4), needs=("/ModeIsAdjustable", 1)),
    "vebus/Ac/In/1/CurrentLimit": Rule(limits=(0.0, 50.0), clips=True, needs=("/Ac/In/1/CurrentLimitIsAdjustable", 1)),
    "vebus/Ac/ActiveIn/CurrentLimit": Rule(
        limits=(0.0, 50.0), clips=True, needs=("/Ac/ActiveIn/CurrentLimitIsAdjustable", 1)
    ),
    "vebus/Ac/Control/IgnoreAcIn1": Rule(choices=_SWITCH),
    "vebus/Settings/Alarm/System/GridLost": Rule(choices=_SWITCH),
    "vebus/SystemReset": Rule(choices=(1,), action=True),
    "vebus/RedetectSystem": Rule(choices=(1,), action=True),
    "vebus/VebusSetChargeState": Rule(choices=(1, 2, 3), action=True),
    "vebus/CustomName": _NAME,
    "vebus/ExtraBatteryCurrent": _OWNED,
    "vebus/Soc": _OWNED,
    "vebus/BatterySense/Voltage": _OWNED,
    "solarcharger/Mode": Rule(choices=(1, 4)),
    "solarcharger/Settings/ChargeCurrentLimit": Rule(limits=(0.0, 30.0)),
    "solarcharger/Settings/BmsPresent": Rule(choices=_SWITCH),
    "solarcharger/CustomName": _NAME,
    "solarcharger/Link/ChargeCurrent": _OWNED,
    "solarcharger/Link/ChargeVoltage": _OWNED,
    "solarcharger/Link/NetworkMode": _OWNED,
    "solarcharger/Link/VoltageSense": _OWNED,
    "solarcharger/Link/TemperatureSense": _OWNED,
    "battery/CustomName": _NAME,
    "battery/Relay/0/State": Rule(choices=_SWITCH, needs=("/Settings/RelayMode", MANUAL)),
    "battery/History/Clear": Rule(choices=(1,), action=True),
    "system/Relay/0/State": Rule(choices=_SWITCH, needs=("settings/0/Settings/Relay/Function", MANUAL)),
    "system/Relay/1/State": Rule(choices=_SWITCH, needs=("settings/0/Settings/Relay/1/Function", MANUAL)),
    "system/SwitchableOutput/0/State": Rule(choices=_SWITCH, needs=("settings/0/Settings/Relay/Function", MANUAL)),
    "system/SwitchableOutput/1/State": Rule(choices=_SWITCH, needs=("settings/0/Settings/Relay/1/Function", MANUAL)),
    "system/Pv/Disable": Rule(choices=_SWITCH),
    "system/Buzzer/State": Rule(choices=(0,), action=True),
    "hub4/Overrides/Setpoint": Rule(limits=(-32767.0, 32767.0), lapses=60.0),
    "hub4/Overrides/ForceCharge": Rule(choices=_SWITCH, lapses=60.0),
    "hub4/Overrides/MaxChargePower": Rule(limits=(-1.0, 1e6), lapses=60.0),
    "hub4/Overrides/MaxDischargePower": Rule(limits=(-1.0, 1e6), lapses=60.0),
    "hub4/Pv/Disable": Rule(choices=_SWITCH, lapses=60.0),
    "platform/Device/Reboot": Rule(choices=(1,), action=True),
    "platform/Firmware/Online/Check": Rule(choices=(1,), action=True),
}

#: Paths that are one thing under two names.
ALIASES = {
    "vebus/Ac/ActiveIn/CurrentLimit": "/Ac/In/1/CurrentLimit",
    "vebus/Ac/In/1/CurrentLimit": "/Ac/ActiveIn/CurrentLimit",
    "system/SwitchableOutput/0/State": "/Relay/0/State",
    "system/SwitchableOutput/1/State": "/Relay/1/State",
    "system/Relay/0/State": "/SwitchableOutput/0/State",
    "system/Relay/1/State": "/SwitchableOutput/1/State",
}


class Refused(Exception):
    """The write has no effect; a GX says nothing about it."""


def rule(service: Service, path: str) -> Rule | None:
    """The rule of a path of a service; None where it is read-only. Settings have :func:`setting` instead."""
    return RULES.get(service.kind + path)


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
