"""A large site put together: a house, a barn and a boat with one of every kind of device that a GX knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random

from victron_twin.simulator import drivers, estate_ac, estate_dc, estate_things, rules, systemtable, tables, van
from victron_twin.simulator.build import history, owners_limits
from victron_twin.simulator.bus import Bus, Service, Value, expanded
from victron_twin.simulator.device import Device
from victron_twin.simulator.plant import GENERATOR, GRID, Plant
from victron_twin.simulator.power import ABSORPTION, FLOAT, Battery, Mppt
from victron_twin.simulator.settings import settings
from victron_twin.simulator.things import Boiler, Car, Charger, Genset, House, Spell, Water
from victron_twin.simulator.world import World

#: What a driver of a device is: it shows what the device measures in the estate.
Driver = Callable[["Estate", Device], None]

#: Drivers by the name that ``devices.csv`` has.
_DRIVERS: dict[str, Driver] = {**estate_ac.DRIVERS, **estate_dc.DRIVERS, **estate_things.DRIVERS}
#: The shortest time that is worth a step of the electricity, seconds.
_STEP = 0.5
#: How often the GX works out its own values, seconds.
_EVERY = 2.0

#: Of each solar charger: watts of its panels, their voltage, and the days of its history.
_PANELS = {
    "solarcharger/279": (2900.0, 142.0, 31),
    "solarcharger/280": (1300.0, 96.0, 2),
    "solarcharger/282": (2400.0, 138.0, 2),
    "solarcharger/288": (5600.0, 318.0, 3),
    "solarcharger/289": (2200.0, 264.0, 2),
}
#: What else gives current to the 48 V battery, and what takes it.
_GIVERS = ("alternator/10", "dcsource/293", "fuelcell/5", "dcgenset/1", "multi/4", "inverter/278")
_TAKERS = (("dcsystem/295", "/Dc/0/Current"), ("motordrive/6", "/Dc/0/Current"), ("dcdc/290", "/Dc/In/I"))
#: Of the PV inverter at the AC output, and the one before the input: watts under full light.
_PV_INVERTERS = {"pvinverter/20": 7400.0, "pvinverter/21": 4600.0}


class Estate(World):
    """In the Camargue, with a jetty. The devices are those of ``devices/devices.csv``."""

    LATITUDE, LONGITUDE = 43.5663, 4.1887

    def __init__(self, random: Random, *, time: float, hour: float | None, portal_id: str, firmware: str) -> None:
        kinds = tables.devices()
        super().__init__(
            Bus([*_own(portal_id, firmware), *(kind.service for kind in kinds)]), random, time=time, hour=hour
        )
        self.random = random
        self.light = 0.0
        self.volts, self.hertz = [230.0, 230.0, 230.0], 50.0
        self.plant = _plant(random)
        self.mppts = dict(zip(_PANELS, self.plant.mppts, strict=True))
        self.barn = Mppt(3400.0, 60.0, 212.0, history(random, 2, 3400.0, 240.0, 4), 2, total=940.2, user=940.2)
        self.boat = Battery(capacity=220.0, soc=0.82, resistance=0.006, drawn=6110.8, cycles=18)
        self.house = House(Random(random.random()))
        self.engine = Spell(Random(random.random()), off=(4000.0, 9000.0), on=(900.0, 2400.0), left=1500.0)
        self.sailing = Spell(Random(random.random()), off=(2400.0, 6000.0), on=(300.0, 900.0), left=900.0)
        self.chargers = {"alternator/291": Charger(50.0), "dcdc/290": Charger(30.0), "charger/292": Charger(50.0)}
        self.gensets = {"genset/0": Genset(starts=318), "dcgenset/1": Genset(starts=121)}
        self.car, self.boiler, self.water = Car(), Boiler(), Water(Random(random.random()))
        self.diesel = 71.25
        self.suns = dict.fromkeys(_PV_INVERTERS, 0.0)
        self._late = 0.0
        self._worked_out = time
        own = tables.Kind(self.bus["platform/0"], {row.path: row for row in tables.rows("platform")}, "", 5.0)
        devices = [Device(kind, self, random) for kind in (*kinds, own)]
        for kind, device in zip(kinds, devices, strict=False):
            if kind.driver:
                device.drive(partial(_DRIVERS[kind.driver], self))
        gps = drivers.Gps(self.LATITUDE, self.LONGITUDE, Random(random.random()))
        self.turns = {device.service.key: device.refresh for device in devices}
        self.turns |= {"gps/0": lambda: gps.refresh(self.bus["gps/0"], self.time), "system/0": self.work_out}
        self.advance(_STEP)
        for _ in range(2):  # what a device takes from another stands there the second time
            for device in devices:
                device.measure()
            super().work_out()

    def connect(self, mains: bool) -> None:
        """Have the grid there, or not."""
        self.plant.quattros.there[GRID] = mains

    def act(self, service: Service, path: str, value: Value) -> None:
        """Do what shows elsewhere than in the path itself."""
        said = service.kind + path
        if said == "vebus/SystemReset":
            self.plant.quattros.outage = 5.0
        elif said == "vebus/VebusSetChargeState" and self.plant.quattros.source is not None:
            self.plant.set_stage(FLOAT if value == 3 else ABSORPTION)
        elif said == "generator/ServiceCounterReset":
            service.put("/ServiceCounter", service["/ServiceInterval"])
        elif said.endswith("genset/EnableRemoteStartMode"):
            service.put("/RemoteStartModeEnabled", 1)
        elif said == "platform/Notifications/AcknowledgeAll":
            service.update({"/Notifications/0/Acknowledged": 1, "/Notifications/NumberOfUnAcknowledgedWarnings": 0})

    def wrote(self, service: Service, path: str) -> None:
        """Keep together what is one thing in two services."""
        said = service.key + path
        for number in (0, 1):
            generator, setting = self.bus[f"generator/{number}"], f"/Settings/Generator{number}/AutoStartEnabled"
            if said == f"settings/0{setting}":
                generator.put("/AutoStartEnabled", service[path])
            elif said == f"generator/{number}/AutoStartEnabled":
                self.bus["settings/0"].put(setting, service[path])
        if said == "acsystem/0/Mode":
            self.bus["multi/4"].put("/Mode", service[path])

    def work_out(self) -> None:
        """The turn of the GX itself, each two seconds."""
        if self.time - self._worked_out >= _EVERY:
            self._worked_out = self.time
            super().work_out()

    def step(self, seconds: float, light: float) -> None:
        """Have the devices follow what was set on the bus, and the electricity flow."""
        self._late += seconds
        if self._late < _STEP:
            return
        seconds, self._late = self._late, 0.0
        self.light = light
        self.volts = [self.random.gauss(volts, 0.35) for volts in (229.4, 230.8, 231.6)]
        self.hertz = self.random.gauss(50.0, 0.012)
        self.engine.step(seconds)
        self.sailing.step(seconds)
        for genset in self.gensets.values():
            genset.step(seconds)
        self._control()
        self._loads(seconds)
        self._boat(seconds)
        volts = self.plant.battery.voltage
        self.barn.light(seconds, light)
        self.barn.deliver(seconds, self.barn.available * Mppt.EFFICIENCY / volts, volts, self.plant.stage)
        self.plant.step(seconds, light)

    def _control(self) -> None:
        """Take over what was set on the bus."""
        plant, bus = self.plant, self.bus
        quattros, vebus, owner = plant.quattros, bus["vebus/276"], bus["settings/0"]
        quattros.mode = int(vebus.number("/Mode", 3.0))
        quattros.there[GENERATOR] = self.gensets["genset/0"].running and bus["genset/0"].present
        for number in (GRID, GENERATOR):
            quattros.limits[number] = vebus.number(f"/Ac/In/{number + 1}/CurrentLimit", 50.0)
            quattros.ignored[number] = vebus.number(f"/Ac/Control/IgnoreAcIn{number + 1}") == 1.0
        plant.charge_limit, plant.voltage_limit = owners_limits(owner)
        plant.floor = owner.number("/Settings/CGwacs/BatteryLife/MinimumSocLimit", 10.0) / 100.0
        most = owner.number("/Settings/CGwacs/MaxDischargePower", -1.0)
        plant.discharge_power = most if most >= 0.0 else math.inf
        plant.setpoint = self._setpoint()
        dark = bus["system/0"].number("/Pv/Disable") == 1.0
        for key, mppt in self.mppts.items():
            mppt.on = bus[key].present and bus[key].number("/Mode", 1.0) == 1.0 and not dark
            mppt.limit = bus[key].number("/Settings/ChargeCurrentLimit", mppt.rated)
        self.barn.on = bus["multi/4"].number("/Mode", 3.0) != 4.0 and not dark
        for key, charger in self.chargers.items():
            charger.on = bus[key].number("/Mode", 1.0) == 1.0
            charger.limit = bus[key].number("/Settings/ChargeCurrentLimit", charger.rated)

    def _setpoint(self) -> float:
        """What is wanted from the grid, by whoever says it most urgently."""
        owner = self.bus["settings/0"]
        if owner.number("/Settings/CGwacs/Hub4Mode") == 3.0:
            return sum(self.bus["vebus/276"].number(f"/Hub4/L{phase}/AcPowerSetpoint") for phase in (1, 2, 3))
        return self.bus["hub4/0"].number("/Overrides/Setpoint", owner.number("/Settings/CGwacs/AcPowerSetPoint", 50.0))

    def _loads(self, seconds: float) -> None:
        """What is used and what PV inverters give, on both sides of the inverter/chargers."""
        plant, bus = self.plant, self.bus
        house = self.house.step(seconds, self.hour)
        pump = self.boiler.step(seconds) / 3.0
        heater = bus["acload/33"].number("/Ac/Power")
        plant.output_loads = [load + pump + (heater if phase == 0 else 0.0) for phase, load in enumerate(house)]
        workshop = [bus["acload/31"].number(f"/Ac/L{phase}/Power") for phase in (1, 2, 3)]
        car = self._car(seconds)
        plant.input_loads = [load + car for load in workshop]
        curtailed = bus["hub4/0"].number("/Pv/Disable") == 1.0
        powered = (plant.quattros.powered, plant.quattros.there[GRID])
        for (key, watts), on in zip(_PV_INVERTERS.items(), powered, strict=True):
            limit = bus[key].number("/Ac/PowerLimit", watts) if on and not curtailed else 0.0
            self.suns[key] = min(limit, watts * self.light / 1000.0)
        plant.output_suns, plant.input_suns = ([self.suns[key] / 3.0] * 3 for key in _PV_INVERTERS)
        settings_ = bus["settings/0"]
        mode = settings_.number("/Settings/Pump0/Mode")
        start, stop = (settings_.number(f"/Settings/Pump0/{which}Value") for which in ("Start", "Stop"))
        self.water.step(seconds, self.hour, None if mode == 0.0 else mode == 1.0, start, stop)
        self.diesel -= sum(genset.running for genset in self.gensets.values()) * 2.4 * seconds / 3600.0

    def _car(self, seconds: float) -> float:
        charger = self.bus["evcharger/40"]
        auto = charger.number("/Mode") == 1.0
        wanted = min(charger.number("/SetCurrent"), charger.number("/MaxCurrent", 32.0))
        if auto:
            wanted = min(charger.number("/MaxCurrent", 32.0), float(int(sum(self.suns.values()) * 0.6 / 690.0)))
        there = self.plant.quattros.there[GRID]
        started = there and charger.number("/StartStop") == 1.0
        return self.car.step(seconds, started, wanted, charger.number("/MinCurrent", 6.0), auto)

    def _boat(self, seconds: float) -> None:
        """The 12 V battery: who charges it comes first, then who draws."""
        boat, load = self.boat, self.bus["dcload/294"].number("/Dc/0/Current") + 1.2
        self.chargers["alternator/291"].powered = self.engine.running
        self.chargers["charger/292"].powered = self.plant.quattros.powered
        wanted = load + min(60.0, max(0.0, (14.2 - boat.rest) / 0.03))
        rest = wanted
        for charger in self.chargers.values():
            rest = charger.give(rest)
        boat.step(seconds, wanted - rest - load)
        giving = sum(self.bus[key].number("/Dc/0/Current") for key in _GIVERS)
        taking = sum(self.bus[key].number(path) for key, path in _TAKERS)
        self.plant.extra = giving - taking


def _plant(random: Random) -> Plant:
    battery = Battery(
        capacity=900.0,
        series=4,
        resistance=0.006,
        soc=0.72,
        voltage=52.6,
        charged=3616.6,
        discharged=3430.1,
        drawn=62_300.0,
        cycles=63,
        deepest=617.0,
        lowest=48.02,
        highest=56.92,
    )
    rated = (100.0, 70.0, 100.0, 200.0, 100.0)
    mppts = [
        Mppt(
            watts, amps, volts, history(random, days, watts, volts * 1.15, 4), days, total=watts * 1.4, user=watts * 0.9
        )
        for (watts, volts, days), amps in zip(_PANELS.values(), rated, strict=True)
    ]
    return Plant(battery, mppts, absorption=56.8, float_=54.0, network_mode=5)


def _own(portal_id: str, firmware: str) -> list[Service]:
    """The services of the GX itself."""
    values, ranges = settings()
    for row in tables.rows("settings"):
        values[row.path] = row.value
        if row.takes:
            ranges[row.path] = tables.limits(row.takes)
    platform = expanded(van.platform(portal_id, firmware))
    taking = rules.of_kind("platform")
    for row in tables.rows("platform"):
        platform[row.path] = row.value
        if row.takes:
            taking[row.path] = tables.rule(row.takes)
    gps = {**expanded(van.GPS), "/ProductId": 0xA163, "/ProductName": "NMEA-0183 GPS", "/MagneticVariation": 1.9}
    system = Service("system", 0, "com.victronenergy.system", expanded(systemtable.system(portal_id)))
    hub4 = Service("hub4", 0, "com.victronenergy.hub4", expanded(van.HUB4))
    for service in (system, hub4):
        service.rules = rules.of_kind(service.kind)
    return [
        system,
        Service("settings", 0, "com.victronenergy.settings", values, ranges),
        Service("platform", 0, "com.victronenergy.platform", platform, rules=taking),
        hub4,
        Service("gps", 0, "com.victronenergy.gps.ve_ttyACM0", gps),
    ]
