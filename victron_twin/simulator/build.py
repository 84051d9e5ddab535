"""The van put together: which devices it has, what they have been through, and who lives in it."""

from __future__ import annotations

from random import Random

from victron_twin.simulator import drivers, rules, systemtable, van
from victron_twin.simulator.bus import Bus, Service, Value, expanded
from victron_twin.simulator.loads import Loads
from victron_twin.simulator.power import ABSORPTION, BULK, FLOAT, Battery, Day, Mppt, Power
from victron_twin.simulator.settings import settings
from victron_twin.simulator.world import World

BATTERY, SOLAR, SECOND_SOLAR, VEBUS = "battery/512", "solarcharger/279", "solarcharger/280", "vebus/276"


class Van(World):
    """A van parked at the Atlantic coast of Andalusia.

    :ivar campsite: whether the people plug in where they find shore power when the battery gets low, and leave full.
    """

    LATITUDE, LONGITUDE = 36.0143, -5.6044

    def __init__(self, random: Random, *, time: float, hour: float | None, portal_id: str, firmware: str) -> None:
        power = self.power = _power(random)
        bus = _bus(portal_id, firmware)
        super().__init__(bus, random, time=time, hour=hour)
        self.campsite = True
        self._camping = False
        self._loads = Loads(Random(random.random()))
        gps = drivers.Gps(self.LATITUDE, self.LONGITUDE, Random(random.random()))
        self.turns = {
            BATTERY: lambda: drivers.battery(bus[BATTERY], power, random, self.air),
            SOLAR: lambda: drivers.solarcharger(bus[SOLAR], power.mppts[0], power, random, self.air),
            SECOND_SOLAR: lambda: drivers.solarcharger(bus[SECOND_SOLAR], power.mppts[1], power, random, self.air),
            VEBUS: lambda: drivers.vebus(bus[VEBUS], power, random, self.air, self.uptime),
            "gps/0": lambda: gps.refresh(bus["gps/0"], self.time),
            "system/0": self.work_out,
        }

    def connect(self, mains: bool) -> None:
        """Plug in at a campsite, or leave."""
        self.power.multi.shore = mains

    def wrote(self, service: Service, path: str) -> None:
        """Nothing here is one thing in two services."""

    def act(self, service: Service, path: str, value: Value) -> None:
        """Reset the inverter, or set its charge stage."""
        multi = self.power.multi
        if service.kind + path == "vebus/SystemReset":
            multi.outage = 5.0
        elif service.kind + path == "vebus/VebusSetChargeState" and multi.mains:
            self.power.set_stage(FLOAT if value == 3 else ABSORPTION)

    def step(self, seconds: float, light: float) -> None:
        """Have the devices follow what was set on the bus, and the electricity flow."""
        self._control()
        dc, ac = self._loads.step(seconds, self.hour)
        self.power.step(seconds, light, dc, ac)

    def _control(self) -> None:
        vebus, owner = self.bus[VEBUS], self.bus["settings/0"]
        multi, power = self.power.multi, self.power
        if self.campsite and (power.battery.soc < 0.25 or (self._camping and power.battery.soc > 0.97)):
            self._camping = multi.shore = power.battery.soc < 0.25
        multi.mode = int(vebus.number("/Mode", 3.0))
        multi.input_limit = vebus.number("/Ac/In/1/CurrentLimit", 16.0)
        multi.ignore_input = vebus.number("/Ac/Control/IgnoreAcIn1") == 1.0
        power.charge_limit, power.voltage_limit = owners_limits(owner)
        dark = self.bus["system/0"].number("/Pv/Disable") == 1.0
        for key, mppt in zip((SOLAR, SECOND_SOLAR), power.mppts, strict=True):
            mppt.on = self.bus[key].number("/Mode", 1.0) == 1.0 and not dark
            mppt.limit = self.bus[key].number("/Settings/ChargeCurrentLimit", mppt.rated)


def owners_limits(settings: Service) -> tuple[float | None, float | None]:
    """The owner's limits of charge current (A) and voltage (V), where DVCC is on and there are any."""
    dvcc = settings.number("/Settings/Services/Bol") % 2 == 1
    amps = settings.number("/Settings/SystemSetup/MaxChargeCurrent", -1.0)
    volts = settings.number("/Settings/SystemSetup/MaxChargeVoltage")
    return amps if dvcc and amps >= 0.0 else None, volts if dvcc and volts > 0.0 else None


def _power(random: Random) -> Power:
    """A 280 Ah battery, 640 W of solar on two chargers, and a MultiPlus without shore power."""
    mppts = [
        Mppt(440.0, 30.0, 18.9, history(random, 31, 440.0, 21.6), 31, total=1234.56, user=412.07),
        Mppt(200.0, 15.0, 37.2, history(random, 2, 200.0, 42.8), 2, total=0.31, user=0.31),
    ]
    return Power(Battery(), mppts)


def _bus(portal_id: str, firmware: str) -> Bus:
    """The services on the van's bus."""
    values, ranges = settings()
    tables = [
        Service("system", 0, "com.victronenergy.system", expanded(systemtable.system(portal_id))),
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
    for service in tables:
        service.rules = rules.of_kind(service.kind)
    return Bus(tables)


def history(random: Random, days: int, watts: float, panel: float, series: int = 1) -> list[Day]:
    """The days that a solar charger has been through, today first.

    ``watts`` is what its panels give, ``panel`` their open voltage, ``series`` the battery's voltage by 12 V.
    """
    past = []
    for age in range(days):
        produced = watts / 1000.0 * random.uniform(1.5, 5.5) if age else 0.02
        peak = watts * random.uniform(0.55, 0.86) if age else watts * 0.1
        times = {BULK: 25_000.0 * random.uniform(0.5, 1.0), ABSORPTION: 3_600.0, FLOAT: random.uniform(0.0, 7_200.0)}
        past.append(
            Day(
                number=days - 1 - age + 400,
                produced=produced,
                peak=peak,
                highest_pv=panel,
                highest_current=peak / 13.4 / series,
                lowest=random.uniform(12.7, 13.0) * series,
                highest=random.uniform(13.9, 14.3) * series,
                times=times if age else {BULK: 3_000.0, ABSORPTION: 0.0, FLOAT: 0.0},
            )
        )
    return past
