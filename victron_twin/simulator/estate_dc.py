"""Drivers of the large site's DC devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from victron_twin.simulator import drivers
from victron_twin.simulator.bus import Value
from victron_twin.simulator.device import Device
from victron_twin.simulator.power import ABSORPTION, BULK, FLOAT, Mppt

if TYPE_CHECKING:
    from victron_twin.simulator.estate import Estate

#: Of each battery: its part of the bank, and by how much its voltage is measured higher.
_BANKS = {"battery/0": (2.0 / 3.0, 0.0), "battery/512": (1.0 / 3.0, 0.03), "battery/277": (1.0, 0.0)}
_BOAT = "battery/277"
#: The mode in which a battery's contactor is open, and the states that it shows.
_OPENED, _RUNNING, _STANDBY = 252, 9, 14
#: What each tracker has of a charger's power.
_PARTS = {1: (1.0,), 2: (0.58, 0.42), 4: (0.31, 0.27, 0.24, 0.18)}
#: A battery's cells; the last differs by so much from the first, V.
_CELLS, _SPREAD = 16, 0.012


def bank(estate: Estate, device: Device) -> None:
    """A battery or a shunt: it tells its part of the bank, and of its cells if it knows them."""
    key = device.service.key
    it = estate.boat if key == _BOAT else estate.plant.battery
    part, off = _BANKS[key]
    volts = it.voltage + off + estate.random.gauss(0.0, 0.004)
    amps = it.current * part
    average = (it.average or 0.0) * part
    capacity = it.capacity * part
    to_go: Value = None
    if average < -0.05:
        to_go = min(864_000.0, 60.0 * round(it.soc * capacity / -average * 60.0))
    consumed = (it.soc - 1.0) * capacity
    full = it.soc > 0.97
    device.all(
        {
            "/Alarms/LowSoc": 2 if it.soc < 0.05 else 0,
            "/Balancer/Status": 2 if full else 1,
            "/Balancing": int(full),
            "/BusVoltage": volts,
            "/ConsumedAmphours": consumed,
            "/Dc/0/Current": amps,
            "/Dc/0/Power": volts * amps,
            "/Dc/0/Voltage": volts,
            "/History/ChargedEnergy": it.charged * part,
            "/History/DischargedEnergy": it.discharged * part,
            "/History/DeepestDischarge": -it.deepest * part,
            "/History/LastDischarge": consumed,
            "/History/MaximumVoltage": it.highest,
            "/History/MinimumVoltage": it.lowest,
            "/History/TimeSinceLastFullCharge": int(it.since_full / 60.0) * 60,
            "/History/TotalAhDrawn": -it.drawn * part,
            "/Info/ChargeMode": "Float" if full else "Bulk",
            "/Soc": it.soc * 100.0,
            "/State": _STANDBY if device.number("/Mode") == _OPENED else _RUNNING,
            "/TimeToGo": to_go,
        }
    )
    if key != _BOAT:
        _cells(device, volts, estate.air)


def _cells(device: Device, volts: float, air: float) -> None:
    cells = [volts / _CELLS + _SPREAD * (place / _CELLS - 0.5) for place in range(_CELLS)]
    device.all({f"/Voltages/Cell{place}": cell for place, cell in enumerate(cells, 1)})
    device.all(
        {
            "/Dc/0/Temperature": air + 1.0,
            "/System/MaxCellTemperature": air + 1.8,
            "/System/MaxCellVoltage": cells[-1],
            "/System/MinCellTemperature": air + 0.2,
            "/System/MinCellVoltage": cells[0],
            "/Voltages/Diff": cells[-1] - cells[0],
        }
    )


def mppt(estate: Estate, device: Device) -> None:
    """A solar charger, with one tracker or several."""
    it = estate.mppts[device.service.key]
    drivers.solarcharger(device.service, it, estate.plant, estate.random, estate.air)
    _trackers(device, it)


def _trackers(device: Device, it: Mppt) -> None:
    parts = _PARTS[int(device.number("/NrOfTrackers", 1.0))]
    for tracker, part in enumerate(parts):
        device.all(
            {
                f"/Pv/{tracker}/MppOperationMode": device.service["/MppOperationMode"],
                f"/Pv/{tracker}/P": it.pv_power * part,
                f"/Pv/{tracker}/V": it.pv_voltage * (1.0 - 0.04 * tracker),
            }
        )
        for number, day in enumerate(it.days):
            at = f"/History/Daily/{number}/Pv/{tracker}"
            device.all(
                {
                    f"{at}/MaxPower": day.peak * part,
                    f"{at}/MaxVoltage": day.highest_pv * (1.0 - 0.04 * tracker),
                    f"{at}/Yield": day.produced * part,
                }
            )


def charger(estate: Estate, device: Device) -> None:
    """A charger of the boat's battery, whatever feeds it."""
    it = estate.chargers[device.service.key]
    volts = estate.boat.voltage + 0.02
    working = it.on and it.powered
    stage = BULK if volts < 13.9 else ABSORPTION if it.current > 2.0 else FLOAT
    fed = {"dcdc": estate.plant.battery.voltage, "alternator": 14.3 if estate.engine.running else 12.62}
    device.all(
        {
            "/Dc/0/Current": it.current,
            "/Dc/0/Power": it.current * volts,
            "/Dc/0/Voltage": volts,
            "/Dc/In/V": fed.get(device.service.kind),
            "/DeviceOffReason": (0 if it.on else 4) | (0 if it.powered else 1),
            "/State": stage if working else 0,
        }
    )


def wakespeed(estate: Estate, device: Device) -> None:
    """An alternator's regulator on the boat's engine."""
    running = estate.engine.running
    amps = 62.0 + estate.random.gauss(0.0, 1.5) if running else 0.0
    speed = 1450.0 + estate.random.gauss(0.0, 12.0) if running else 0.0
    warm = device.number("/Dc/0/Temperature")
    device.all(
        {
            "/Dc/0/Current": amps,
            "/Dc/0/Power": amps * estate.plant.battery.voltage,
            "/Dc/0/Temperature": warm + ((84.0 if running else 24.0) - warm) * min(1.0, device.passed / 400.0),
            "/Engine/Speed": speed,
            "/FieldDrive": 58 if running else 0,
            "/Speed": speed * 2.6,
            "/State": 252 if running else 0,
        }
    )


def motordrive(estate: Estate, device: Device) -> None:
    """An electric motor that runs now and then."""
    running = estate.sailing.running
    rpm = 1180.0 + estate.random.gauss(0.0, 15.0) if running else 0.0
    warm = device.number("/Motor/Temperature")
    device.all(
        {
            "/Dc/0/Current": 38.0 + estate.random.gauss(0.0, 0.8) if running else 0.0,
            "/Motor/Direction": 2 if running else 0,
            "/Motor/RPM": rpm,
            "/Motor/Temperature": warm + ((61.0 if running else 26.0) - warm) * min(1.0, device.passed / 300.0),
            "/Motor/Torque": 16 if running else 0,
        }
    )


DRIVERS = {
    "bank": bank,
    "mppt": mppt,
    "charger": charger,
    "wakespeed": wakespeed,
    "motordrive": motordrive,
}
