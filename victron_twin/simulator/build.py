"""The van put together: which devices it has, and what they have been through."""

from __future__ import annotations

from random import Random

from victron_twin.simulator import systemcalc, van
from victron_twin.simulator.bus import Bus, Service, expanded
from victron_twin.simulator.power import ABSORPTION, BULK, FLOAT, Battery, Day, Mppt, Multi, Power
from victron_twin.simulator.settings import settings


def power(random: Random) -> Power:
    """A 280 Ah battery, 640 W of solar on two chargers, and a MultiPlus without shore power."""
    mppts = [
        Mppt(440.0, 30.0, 18.9, _history(random, 31, 440.0), 31, total=1234.56, user=412.07),
        Mppt(200.0, 15.0, 37.2, _history(random, 2, 200.0), 2, total=0.31, user=0.31),
    ]
    return Power(Battery(), mppts, Multi())


def bus(portal_id: str, firmware: str) -> Bus:
    """The services on the van's bus."""
    values, ranges = settings()
    tables = [
        Service("system", 0, "com.victronenergy.system", expanded(systemcalc.system(portal_id))),
        Service("settings", 0, "com.victronenergy.settings", values, ranges),
        Service("platform", 0, "com.victronenergy.platform", expanded(van.platform(portal_id, firmware))),
        Service("hub4", 0, "com.victronenergy.hub4", expanded(van.HUB4)),
        Service("gps", 0, "com.victronenergy.gps.ve_ttyACM0", expanded(van.GPS)),
    ]
    tty = "com.victronenergy.battery.ttyS6"
    tables.append(Service("battery", 512, tty, expanded(van.battery(512, tty))))
    tty = "com.victronenergy.solarcharger.ttyS5"
    first = van.solarcharger(279, 0xA056, "SmartSolar Charger MPPT 100/30", "HQ2037ABCDE", tty, 30.0, 0x809E5B6, 31)
    tables.append(Service("solarcharger", 279, tty, expanded(first)))
    tty = "com.victronenergy.solarcharger.ttyUSB1"
    second = van.solarcharger(280, 0xA075, "SmartSolar Charger MPPT 75/15 rev2", "HQ2244FGHIJ", tty, 15.0, 0x809E5B6, 2)
    tables.append(Service("solarcharger", 280, tty, expanded(second)))
    tables.append(Service("vebus", 276, "com.victronenergy.vebus.ttyS4", expanded(van.vebus(276))))
    return Bus(tables)


def _history(random: Random, days: int, watts: float) -> list[Day]:
    history = []
    for age in range(days):
        produced = watts / 1000.0 * random.uniform(1.5, 5.5) if age else 0.02
        peak = watts * random.uniform(0.55, 0.86) if age else watts * 0.1
        times = {BULK: 25_000.0 * random.uniform(0.5, 1.0), ABSORPTION: 3_600.0, FLOAT: random.uniform(0.0, 7_200.0)}
        history.append(
            Day(
                number=days - 1 - age + 400,
                produced=produced,
                peak=peak,
                highest_pv=21.6 if watts > 300.0 else 42.8,
                highest_current=peak / 13.4,
                lowest=random.uniform(12.7, 13.0),
                highest=random.uniform(13.9, 14.3),
                times=times if age else {BULK: 3_000.0, ABSORPTION: 0.0, FLOAT: 0.0},
            )
        )
    return history
