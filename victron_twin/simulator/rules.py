"""Which paths of the simulated GX take writes, and what each accepts. Everything else is read-only."""

from __future__ import annotations

from dataclasses import dataclass

MANUAL = 2  #: the relay function in which a relay obeys, and a BMV's relay mode "remote"


@dataclass(frozen=True)
class Rule:
    """One writable path.

    ``choices``: only these values, as Python compares: 4.0 and True pass where 4 and 1 do, and stand there as such.
    ``limits``: beyond them is refused, or brought within where the device ``clips`` (which then rounds to a tenth).
    ``needs``: a topic and the value it must have. ``action``: something happens and the value stays as it was.
    ``lapses``: seconds after which it falls back to what it was, unless it is written again. ``owner``: written over by
    the GX itself at its next turn. ``text``: takes texts only.
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

#: Of a small system's devices, by the service's type and the path.
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


def of_kind(kind: str) -> dict[str, Rule]:
    """The rules of a small system's device of a type, by path: ``{"/Mode": Rule(...)}``."""
    return {topic.removeprefix(kind): rule for topic, rule in RULES.items() if topic.startswith(f"{kind}/")}
