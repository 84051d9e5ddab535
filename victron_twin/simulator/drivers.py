"""What the drivers of the van's devices put on the bus: measured values, in the resolution and type of the device."""

from __future__ import annotations

import math
from random import Random

from victron_twin.simulator.bus import Service, Value, float32
from victron_twin.simulator.power import ABSORPTION, BULK, FLOAT, Charging, Mppt, Power

#: Part of the measurements that is sent although it is the same as before.
_AGAIN = 0.28
#: One step of an inverter's energy counters, kWh.
_COUNT = 0.018204445
_LED_OF_STAGE = {BULK: "Bulk", ABSORPTION: "Absorption", FLOAT: "Float"}


def rounded(value: float, step: float) -> float:
    """The nearest multiple of a device's resolution, as float32."""
    return float32(round(value / step) * step)


class Meter:
    """Sends measurements of a service, some of them again without a change, as devices do."""

    def __init__(self, service: Service, random: Random) -> None:
        self._service = service
        self._random = random

    def __call__(self, path: str, value: Value) -> None:
        """Put a value on the bus."""
        self._service.put(path, value, again=self._random.random() < _AGAIN)


def battery(service: Service, power: Power, random: Random, air: float) -> None:
    """A BMV: 10 mV, 0.1 A, minutes to go."""
    it, measure = power.battery, Meter(service, random)
    volts, amps = rounded(it.voltage + random.gauss(0.0, 0.004), 0.01), rounded(it.current, 0.1)
    measure("/Dc/0/Voltage", volts)
    measure("/Dc/0/Current", amps)
    measure("/Dc/0/Power", float32(volts * amps))
    average = it.average or 0.0
    to_go: Value = None
    if average < -0.05:
        to_go = float(min(864_000, 60 * round(it.soc * it.capacity / -average * 60.0)))
    service.update(
        {
            "/TimeToGo": to_go,
            "/Dc/0/Temperature": rounded(air + 1.5, 0.1),
            "/Soc": rounded(it.soc * 100.0, 0.1),
            "/ConsumedAmphours": rounded(0.0 - it.consumed, 0.1),
            "/Alarms/LowSoc": 2 if it.soc < 0.05 else 0,
            "/Alarms/LowVoltage": 2 if it.voltage < 11.0 else 0,
            "/History/ChargeCycles": it.cycles,
            "/History/ChargedEnergy": rounded(it.charged, 0.01),
            "/History/DischargedEnergy": rounded(it.discharged, 0.01),
            "/History/DeepestDischarge": rounded(-it.deepest, 0.1),
            "/History/LastDischarge": rounded(0.0 - it.consumed, 1.0),
            "/History/TotalAhDrawn": rounded(-it.drawn, 0.1),
            "/History/MaximumVoltage": rounded(it.highest, 0.01),
            "/History/MinimumVoltage": rounded(it.lowest, 0.01),
            "/History/TimeSinceLastFullCharge": int(it.since_full / 60.0) * 60,
        }
    )


def solarcharger(service: Service, mppt: Mppt, power: Charging, random: Random, air: float) -> None:
    """A SmartSolar charger: 10 mV, 0.1 A, 10 Wh; with several trackers it has no voltage of all its panels."""
    measure = Meter(service, random)
    volts = power.battery.voltage + 0.004 * mppt.current
    measure("/Dc/0/Voltage", rounded(volts + random.gauss(0.0, 0.005), 0.01))
    measure("/Dc/0/Current", rounded(mppt.current, 0.1))
    if "/Pv/V" in service.values:
        measure("/Pv/V", rounded(mppt.pv_voltage + random.gauss(0.0, 0.02), 0.01))
    measure("/Yield/Power", rounded(mppt.current * volts / mppt.EFFICIENCY, 0.01))
    tracking = 0 if not mppt.awake else 2 if mppt.pv_power >= mppt.available * 0.97 else 1
    shared = power.charge_limit
    service.update(
        {
            "/State": power.state if mppt.awake else 0,
            "/DeviceOffReason": (0 if mppt.on else 4) | (0 if mppt.available > 1.0 else 1),
            "/MppOperationMode": tracking,
            "/Yield/System": rounded(mppt.total, 0.01),
            "/Yield/User": rounded(mppt.user, 0.01),
            "/Link/NetworkMode": power.network_mode,
            "/Link/VoltageSense": rounded(power.battery.voltage, 0.01),
            "/Link/TemperatureSense": rounded(air + 1.5, 0.1),
            "/Link/BatteryCurrent": rounded(power.battery.current, 0.1),
            "/Link/ChargeCurrent": None if shared is None else float32(min(shared, mppt.rated)),
            "/Link/ChargeVoltage": None if power.voltage_limit is None else float32(power.target),
        }
    )
    whole = service.get("/History/Daily/0/Nr") != mppt.days[0].number  # a new day: all move on
    service.update(history(mppt, len(mppt.days) if whole else 1))


def history(mppt: Mppt, days: int) -> dict[str, Value]:
    """What a solar charger tells of its last days, today being one of them, and of all its life."""
    told: dict[str, Value] = {
        "/History/Overall/MaxBatteryVoltage": rounded(max(day.highest for day in mppt.days), 0.01),
        "/History/Overall/MaxPvVoltage": rounded(max(day.highest_pv for day in mppt.days), 0.01),
        "/History/Overall/MinBatteryVoltage": rounded(min(day.lowest for day in mppt.days), 0.01),
    }
    for number, day in enumerate(mppt.days[:days]):
        at = f"/History/Daily/{number}"
        told |= {
            f"{at}/MaxBatteryCurrent": rounded(day.highest_current, 0.1),
            f"{at}/MaxBatteryVoltage": rounded(day.highest, 0.01),
            f"{at}/MaxPower": float(round(day.peak)),
            f"{at}/MaxPvVoltage": rounded(day.highest_pv, 0.01),
            f"{at}/MinBatteryVoltage": rounded(day.lowest, 0.01),
            f"{at}/Nr": day.number,
            f"{at}/TimeInAbsorption": float(int(day.times[ABSORPTION] / 60.0)),
            f"{at}/TimeInBulk": float(int(day.times[BULK] / 60.0)),
            f"{at}/TimeInFloat": float(int(day.times[FLOAT] / 60.0)),
            f"{at}/Yield": rounded(day.produced, 0.01),
        }
    return told


def vebus(service: Service, power: Power, random: Random, air: float, uptime: float) -> None:
    """A MultiPlus: whole watts, state, lamps."""
    it, measure = power.multi, Meter(service, random)
    powered = it.mains or it.inverting
    mains_volts = random.gauss(229.0, 0.25) if it.mains else 0.0
    mains_hertz = random.gauss(50.0, 0.012) if it.mains else 0.0
    out_volts = mains_volts if it.mains else random.gauss(230.0, 0.05) if it.inverting else 0.0
    out_hertz = mains_hertz if it.mains else 50.0255126953 if it.inverting else 0.0
    _phase(measure, "/Ac/Out", it.output_power, out_volts, out_hertz)
    _phase(measure, "/Ac/ActiveIn", it.input_power, mains_volts, mains_hertz)
    measure("/Dc/0/Voltage", rounded(power.battery.voltage + random.gauss(0.0, 0.008), 0.01))
    measure("/Dc/0/Current", rounded(it.dc_power / power.battery.voltage, 0.1))
    measure("/Dc/0/Power", round(it.dc_power))
    charging = it.mains and power.stage in _LED_OF_STAGE
    state = (power.stage if charging else 8) if it.mains else 9 if it.inverting else 0
    limit = service["/Ac/In/1/CurrentLimit"]
    lit = {_LED_OF_STAGE[power.stage]} if charging else set()
    lit |= {"Mains"} if it.mains else {"Inverter"} if it.inverting else set()
    lit |= {"LowBattery"} if it.low_battery else set()
    service.update(
        {f"/Leds/{led}": int(led in lit) for led in ("Bulk", "Absorption", "Float", "Mains", "Inverter", "LowBattery")}
    )
    service.update({f"/Energy/{path}": float32(int(kwh / _COUNT) * _COUNT) for path, kwh in it.energy.items()})
    service.update(
        {
            "/Ac/ActiveIn/ActiveInput": 0 if it.mains else 240,
            "/Ac/ActiveIn/Connected": int(it.mains),
            "/Ac/ActiveIn/CurrentLimit": limit,
            "/Ac/State/AcIn1Available": int(it.shore),
            "/Ac/State/IgnoreAcIn1": int(it.ignore_input),
            "/Alarms/LowBattery": 2 if it.low_battery else 0,
            "/Alarms/L1/LowBattery": 2 if it.low_battery else 0,
            "/BatterySense/Voltage": rounded(power.battery.voltage, 0.01),
            "/BatterySense/Temperature": rounded(air + 1.5, 0.1),
            "/Dc/0/Temperature": rounded(it.temperature, 0.1),
            "/Devices/0/UpTime": int(uptime / 60.0) * 60,
            "/ExtraBatteryCurrent": rounded(sum(mppt.current for mppt in power.mppts), 0.1),
            "/Soc": rounded(power.battery.soc * 100.0, 0.5),
            "/State": state,
            "/VebusChargeState": power.stage - 2,
            "/VebusMainState": 9 if charging else 4 if powered else 0,
        }
    )


def _phase(measure: Meter, at: str, watts: float, volts: float, hertz: float) -> None:
    amps = watts / volts / 0.97 if volts else 0.0
    measure(f"{at}/L1/F", float32(hertz))
    measure(f"{at}/L1/I", rounded(amps, 0.01))
    measure(f"{at}/L1/P", round(watts))
    measure(f"{at}/L1/S", round(volts * amps))
    measure(f"{at}/L1/V", rounded(volts, 0.01))
    measure(f"{at}/P", round(watts))
    measure(f"{at}/S", round(volts * amps))


class Gps:
    """A receiver in a parked van: its position wanders some metres about the truth."""

    def __init__(self, latitude: float, longitude: float, random: Random) -> None:
        self.latitude, self.longitude = latitude, longitude
        self._random = random
        self._north = self._east = self._up = 0.0

    def refresh(self, service: Service, now: float) -> None:
        """Put a new fix on the bus; ``now`` is epoch seconds."""
        draw = self._random.gauss
        self._north = self._north * 0.98 + draw(0.0, 0.3)
        self._east = self._east * 0.98 + draw(0.0, 0.3)
        self._up = self._up * 0.98 + draw(0.0, 0.5)
        degree = 111_320.0
        east = degree * math.cos(math.radians(self.latitude))
        speed = abs(draw(0.0, 0.08))
        service.update(
            {
                "/Altitude": float32(round(41.0 + self._up, 1)),
                "/Course": float32(round(self._random.uniform(0.0, 360.0), 2)),
                "/NrOfSatellites": 10 + round(self._north / 2.0),
                "/Position/Latitude": float32(self.latitude + self._north / degree),
                "/Position/Longitude": float32(self.longitude + self._east / east),
                "/Speed": float32(round(speed, 3)),
                "/UtcTimestamp": int(now),
            }
        )
