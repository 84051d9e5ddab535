"""Drivers of the large site's AC devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from victron_twin.simulator.device import Device
from victron_twin.simulator.drivers import history
from victron_twin.simulator.plant import GENERATOR, GRID
from victron_twin.simulator.power import ABSORPTION, BULK, FLOAT, ON

if TYPE_CHECKING:
    from victron_twin.simulator.estate import Estate

_PHASES = (1, 2, 3)
_STAGE_LEDS = {BULK: "Bulk", ABSORPTION: "Absorption", FLOAT: "Float"}
_INVERTING, _EXTERNAL, _PASSTHROUGH = 9, 252, 8
#: One step of an inverter's energy counters, kWh.
_COUNT = 0.018204445
_RUNNING, _STANDBY, _THROTTLED = 7, 8, 12


def quattro(estate: Estate, device: Device) -> None:
    """Three inverter/chargers: inputs and outputs by phase, state, lamps."""
    it, plant = estate.plant.quattros, estate.plant
    connected = it.source is not None
    for at, watts, powered in (("/Ac/ActiveIn", it.input, connected), ("/Ac/Out", it.output, it.powered)):
        total = 0.0
        for phase, volts, power in zip(_PHASES, estate.volts, watts, strict=True):
            amps = power / volts / 0.97 if powered else 0.0
            device.all(
                {
                    f"{at}/L{phase}/F": estate.hertz if powered else 0.0,
                    f"{at}/L{phase}/I": amps,
                    f"{at}/L{phase}/P": power,
                    f"{at}/L{phase}/S": abs(volts * amps),
                    f"{at}/L{phase}/V": volts if powered else 0.0,
                }
            )
            total += power
        device.all({f"{at}/P": total, f"{at}/S": abs(total) / 0.97})
    ess = connected and it.source == GRID and it.mode == ON
    stage = plant.stage if it.dc > 0.0 else _PASSTHROUGH
    state = _EXTERNAL if ess else stage if connected else _INVERTING if it.inverting else 0
    lit = {_STAGE_LEDS[plant.stage]} if connected and it.dc > 0.0 else set()
    lit |= {"Mains"} if connected else {"Inverter"} if it.inverting else set()
    lit |= {"LowBattery"} if it.low_battery else set()
    device.all({f"/Leds/{led}": int(led in lit) for led in (*_STAGE_LEDS.values(), "Mains", "Inverter", "LowBattery")})
    device.all({f"/Energy/{path}": int(kwh / _COUNT) * _COUNT for path, kwh in it.energy.items()})
    for unit in range(3):
        device.all(
            {
                f"/Devices/{unit}/Ac/In/P": it.input[unit],
                f"/Devices/{unit}/Ac/Inverter/P": it.output[unit] - it.input[unit],
                f"/Devices/{unit}/Ac/Out/P": it.output[unit],
                f"/Devices/{unit}/ExtendStatus/MainsPllLocked": int(connected),
                f"/Devices/{unit}/UpTime": int(estate.uptime / 60.0) * 60,
            }
        )
    if estate.bus["settings/0"].number("/Settings/CGwacs/Hub4Mode") != 3.0:  # the GX's own control
        device.all({f"/Hub4/L{phase}/AcPowerSetpoint": plant.setpoint / 3.0 for phase in _PHASES})
    active = it.source if it.source is not None else 240
    device.all(
        {
            "/Ac/ActiveIn/ActiveInput": active,
            "/Ac/ActiveIn/Connected": int(connected),
            "/Ac/ActiveIn/CurrentLimit": it.limits[it.source or GRID],
            "/Ac/State/AcIn1Available": int(it.there[GRID]),
            "/Ac/State/AcIn2Available": int(it.there[GENERATOR]),
            "/Ac/State/IgnoreAcIn1": int(it.ignored[GRID]),
            "/Ac/State/IgnoreAcIn2": int(it.ignored[GENERATOR]),
            "/Alarms/GridLost": 0 if it.there[GRID] else 2,
            "/Alarms/LowBattery": 2 if it.low_battery else 0,
            "/Dc/0/Current": it.dc / plant.battery.voltage,
            "/Dc/0/Power": it.dc,
            "/Dc/0/Temperature": it.temperature,
            "/Dc/0/Voltage": plant.battery.voltage + estate.random.gauss(0.0, 0.008),
            "/Soc": plant.battery.soc * 100.0,
            "/State": state,
            "/VebusChargeState": plant.stage - 2,
            "/VebusMainState": 9 if connected else 4 if it.inverting else 0,
        }
    )


def grid(estate: Estate, device: Device) -> None:
    """The meter at the grid."""
    there = estate.plant.quattros.there[GRID]
    for phase, volts, watts in zip(_PHASES, estate.volts, estate.plant.grid, strict=True):
        device.all({f"/Ac/L{phase}/Voltage": volts if there else 0.0, f"/Ac/L{phase}/Power": watts})


def pvinverter(estate: Estate, device: Device) -> None:
    """A PV inverter on three phases."""
    watts = estate.suns[device.service.key]
    for phase, volts in zip(_PHASES, estate.volts, strict=True):
        device.all({f"/Ac/L{phase}/Voltage": volts, f"/Ac/L{phase}/Power": watts / 3.0})
        before = device.number(f"/Ac/L{phase}/Energy/Forward")
        device.show(f"/Ac/L{phase}/Energy/Forward", before + watts / 3.0 * device.passed / 3.6e6)
    limited = device.number("/Ac/PowerLimit") < device.number("/Ac/MaxPower")
    device.show("/StatusCode", _STANDBY if watts < 5.0 else _THROTTLED if limited else _RUNNING)


def evcharger(estate: Estate, device: Device) -> None:
    """A charging station: what the car takes, and its session."""
    car = estate.car
    for phase, volts in zip(_PHASES, estate.volts, strict=True):
        device.show(f"/Ac/L{phase}/Power", car.current * volts)
    device.all(
        {
            "/ChargingTime": car.time,
            "/Current": car.current,
            "/Session/Cost": car.energy * 0.28,
            "/Session/Energy": car.energy,
            "/Session/SavedCost": car.energy * 0.1,
            "/Session/Time": car.time,
            "/Status": car.status,
        }
    )


def heatpump(estate: Estate, device: Device) -> None:
    """A heat pump and its tank."""
    boiler = estate.boiler
    watts = 2400.0 + estate.random.gauss(0.0, 25.0) if boiler.heating else 14.0
    device.all({"/Ac/Power": watts, "/State": 3 if boiler.heating else 0, "/Temperature": boiler.temperature})


def phoenix(estate: Estate, device: Device) -> None:
    """A small inverter with a steady load."""
    on = device.number("/Mode") != 4.0
    device.all(
        {
            "/Ac/Out/L1/F": 50.0 if on else 0.0,
            "/Ac/Out/L1/P": 148.0 + estate.random.gauss(0.0, 8.0) if on else 0.0,
            "/Ac/Out/L1/V": 230.02 + estate.random.gauss(0.0, 0.1) if on else 0.0,
            "/DeviceOffReason": 0 if on else 4,
            "/State": _INVERTING if on else 0,
        }
    )


def multi(estate: Estate, device: Device) -> None:
    """A Multi RS: its trackers, its own load, the rest to the battery."""
    sun, volts = estate.barn, estate.plant.battery.voltage
    on = device.number("/Mode") != 4.0
    used = 412.0 + estate.random.gauss(0.0, 25.0) if on else 0.0
    pv = sun.pv_power if on else 0.0
    for tracker, part in enumerate((0.56, 0.44)):
        device.all(
            {
                f"/Pv/{tracker}/P": pv * part,
                f"/Pv/{tracker}/V": sun.pv_voltage * (1.0 - 0.03 * tracker),
                f"/Pv/{tracker}/MppOperationMode": 2 if pv > 0.0 else 0,
                f"/History/Daily/0/Pv/{tracker}/MaxPower": sun.days[0].peak * part,
                f"/History/Daily/0/Pv/{tracker}/MaxVoltage": sun.days[0].highest_pv,
                f"/History/Daily/0/Pv/{tracker}/Yield": sun.days[0].produced * part,
            }
        )
    device.all(
        {
            "/Ac/Out/L1/P": used,
            "/Dc/0/Power": pv * 0.968 - used / 0.95,
            "/Dc/0/Voltage": volts,
            "/DeviceOffReason": 0 if on else 4,
            "/Energy/SolarToBattery": 640.2 + max(0.0, sun.total - 940.2) * 0.6,
            "/Energy/SolarToAcOut": 301.7 + max(0.0, sun.total - 940.2) * 0.4,
            "/MppOperationMode": 2 if pv > 0.0 else 0,
            "/State": _EXTERNAL if on else 0,
            "/Yield/Power": pv,
            "/Yield/System": sun.total,
            "/Yield/User": sun.user,
            **history(sun, len(sun.days)),
        }
    )


DRIVERS = {
    "quattro": quattro,
    "grid": grid,
    "pvinverter": pvinverter,
    "evcharger": evcharger,
    "heatpump": heatpump,
    "phoenix": phoenix,
    "multi": multi,
}
