"""Drivers of the large site's engines, tanks, switches and inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from victron_twin.simulator.bus import Value
from victron_twin.simulator.device import Device

if TYPE_CHECKING:
    from victron_twin.simulator.estate import Estate

_PHASES = (1, 2, 3)
#: The generator's start conditions: manual, and by the state of charge.
_STOPPED, _MANUAL, _SOC = 0, 1, 4
_CONDITIONS = {_STOPPED: "", _MANUAL: "manual", _SOC: "soc"}
_GENSETS = {0: "genset/0", 1: "dcgenset/1"}
#: What an output says: powered and on.
_ON = 9
#: The states of a digital input while it is open and closed, by its type.
_INPUTS: dict[int, tuple[int, int]] = {2: (6, 7), 3: (2, 3), 6: (8, 9)}
_SMOKE = 6


def generator(estate: Estate, device: Device) -> None:
    """The GX's start and stop of a generator."""
    number = device.service.instance
    genset = estate.gensets[_GENSETS[number]]
    owner, at = estate.bus["settings/0"], f"/Settings/Generator{number}"
    timer = max(0.0, device.number("/ManualStartTimer") - device.passed)
    manual = device.number("/ManualStart") == 1.0
    if manual and device.number("/ManualStartTimer") > 0.0:
        device.show("/ManualStartTimer", timer)
        if timer == 0.0:
            manual = False
            device.show("/ManualStart", 0)
    condition = _MANUAL if manual else _STOPPED
    if condition == _STOPPED and device.number("/AutoStartEnabled") and owner.number(f"{at}/Soc/Enabled"):
        charge = estate.plant.battery.soc * 100.0
        running = device.number("/RunningByConditionCode") == _SOC
        if charge <= owner.number(f"{at}/Soc/StartValue") or (running and charge < owner.number(f"{at}/Soc/StopValue")):
            condition = _SOC
    genset.wanted = condition != _STOPPED
    ran = device.passed if genset.running else 0.0
    device.all(
        {
            "/AccumulatedRuntime": device.number("/AccumulatedRuntime") + ran,
            "/RunningByCondition": _CONDITIONS[condition],
            "/RunningByConditionCode": condition,
            "/Runtime": device.number("/Runtime") + ran if genset.wanted else 0,
            "/ServiceCounter": device.number("/ServiceCounter") - ran,
            "/State": int(genset.wanted),
            "/TodayRuntime": device.number("/TodayRuntime") + ran,
        }
    )


def genset(estate: Estate, device: Device) -> None:
    """A generator's own controller, with AC or DC."""
    it = estate.gensets[device.service.key]
    turning = it.status not in (it.STANDBY, it.FIRST)
    watts = estate.plant.generator if it.running else [0.0, 0.0, 0.0]
    amps = 49.0 + estate.random.gauss(0.0, 0.4) if it.running else 0.0
    load = sum(watts) / 150.0 if device.service.kind == "genset" else 62.0 if it.running else 0.0
    for phase, power in zip(_PHASES, watts, strict=True):
        volts = 231.0 + estate.random.gauss(0.0, 0.6) if it.running else 0.0
        device.all(
            {
                f"/Ac/L{phase}/Current": power / volts if volts else 0.0,
                f"/Ac/L{phase}/Power": power,
                f"/Ac/L{phase}/Voltage": volts,
            }
        )
    warm: dict[str, Value] = {
        f"/Engine/{part}Temperature": estate.air + to * it.warmth
        for part, to in (("Coolant", 58.0), ("Exaust", 45.0), ("Oil", 62.0), ("Winding", 48.0))
    }
    device.all(
        {
            **warm,
            "/Ac/Frequency": 50.4 + estate.random.gauss(0.0, 0.1) if it.running else 0.0,
            "/Dc/0/Current": amps,
            "/Dc/0/Voltage": estate.plant.battery.voltage if it.running else 0.0,
            "/Engine/Load": load,
            "/Engine/OilPressure": 380.0 + estate.random.gauss(0.0, 4.0) if turning else 0.0,
            "/Engine/Speed": 1512.0 + estate.random.gauss(0.0, 4.0) if turning else 0.0,
            "/Engine/Starts": it.starts,
            "/HeatsinkTemperature": estate.air + 18.0 * it.warmth,
            "/Start": int(it.wanted),
            "/StatusCode": it.status,
        }
    )


def tank(estate: Estate, device: Device) -> None:
    """A tank: its level, and the alarms that its owner set."""
    levels = {20: estate.water.fresh, 21: estate.water.waste, 3: max(0.0, estate.diesel)}
    level = levels.get(device.service.instance, device.number("/Level"))
    device.show("/Level", level)
    for alarm, beyond in (
        ("High", level > device.number("/Alarms/High/Active", 101.0)),
        ("Low", level < device.number("/Alarms/Low/Active", -1.0)),
    ):
        device.show(f"/Alarms/{alarm}/State", int(beyond and device.number(f"/Alarms/{alarm}/Enable") == 1.0))


def pump(estate: Estate, device: Device) -> None:
    """The pump that fills the fresh water's tank."""
    device.show("/State", int(estate.water.pumping))


def switch(estate: Estate, device: Device) -> None:
    """Outputs that follow what was written; what hangs on one takes power while it is on."""
    service = device.service
    for path in [path for path in service.values if path.endswith("/State") and path.startswith("/SwitchableOutput/")]:
        output = path.removesuffix("/State")
        on = service.number(path) != 0.0
        part = service.number(f"{output}/Dimming", 100.0) / 100.0 if on else 0.0
        device.all(
            {
                f"{output}/Current": 1.8 * part,
                f"{output}/Status": _ON if on else 0,
                f"{output}/Voltage": 12.6 * part,
            }
        )
        if service.kind == "acload":
            device.show("/Ac/L1/Power", 1180.0 + estate.random.gauss(0.0, 6.0) if on else 1.2)


def digital(estate: Estate, device: Device) -> None:
    """A contact that opens and closes, as its type says."""
    sort = int(device.number("/Type"))
    closed = device.number("/InputState") != 0.0
    if sort != _SMOKE and estate.random.random() < device.passed / 400.0:
        closed = not closed
        device.show("/Count", device.number("/Count") + int(closed))
    device.show("/InputState", int(closed))
    shown = closed != (device.number("/Settings/InvertTranslation") == 1.0)
    state = _INPUTS[sort][int(shown)]
    device.show("/State", state)
    device.show("/Alarm", 2 if shown and device.number("/Settings/AlarmSetting") == 1.0 else 0)


DRIVERS = {
    "generator": generator,
    "genset": genset,
    "tank": tank,
    "pump": pump,
    "switch": switch,
    "digital": digital,
}
