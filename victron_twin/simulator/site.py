"""A small van with a GX, as a pure model: time and chance come in as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from victron_twin.simulator import build, drivers, sun, systemcalc
from victron_twin.simulator.bus import Bus, Range, Service, Value
from victron_twin.simulator.loads import Loads
from victron_twin.simulator.power import ABSORPTION, FLOAT, Power
from victron_twin.simulator.writes import ALIASES, Refused, check, rule, setting

BATTERY, SOLAR, SECOND_SOLAR, VEBUS = "battery/512", "solarcharger/279", "solarcharger/280", "vebus/276"

#: The longest time that the electricity is taken as constant, seconds.
_STRIDE = 10.0
#: Where the van is parked: the Atlantic coast of Andalusia.
_LATITUDE, _LONGITUDE = 36.0143, -5.6044


@dataclass(frozen=True)
class Action:
    """Something that a write made happen, once: ``Action(1.7e9, "vebus/276/RedetectSystem", 1)``."""

    at: float
    topic: str
    value: Value


class Site:
    """The van: its bus, and the electricity behind it.

    :meth:`advance` lets time pass, :meth:`refresh` has one device put what it measures on the bus, and
    :meth:`take_changes` names the topics that were signalled since. Topics are without ``N/<portal id>/``.

    :ivar time: epoch seconds, the site's own (it may run faster than the world's).
    :ivar actions: the actions that writes made happen, oldest first.
    :ivar campsite: whether the people plug in where they find shore power when the battery gets low, and leave full.
    """

    def __init__(self, bus: Bus, power: Power, random: Random, *, time: float, hour: float) -> None:
        self.bus = bus
        self.power = power
        self.time = time
        self.actions: list[Action] = []
        self.campsite = True
        self._random = random
        self._camping = False
        self._started = time
        self._hour = hour
        self._clouds = sun.Clouds(Random(random.random()))
        self._loads = Loads(Random(random.random()))
        self._lapses: dict[str, float] = {}
        self._timers: dict[str, float] = {}
        self._counted = time
        self._gps = drivers.Gps(_LATITUDE, _LONGITUDE, Random(random.random()))
        # in the order of their turns: who is measured before what is worked out from it
        self._turns = {
            BATTERY: lambda: drivers.battery(bus[BATTERY], power, random, self._air),
            SOLAR: lambda: drivers.solarcharger(bus[SOLAR], power.mppts[0], power, random, self._air),
            SECOND_SOLAR: lambda: drivers.solarcharger(bus[SECOND_SOLAR], power.mppts[1], power, random, self._air),
            VEBUS: lambda: drivers.vebus(bus[VEBUS], power, random, self._air, self.time - self._started + 86_400.0),
            "gps/0": lambda: self._gps.refresh(bus["gps/0"], self.time),
            "system/0": self._work_out,
        }
        self.advance(time + 1.0)
        for device in self.devices:
            self.refresh(device)
        self.take_changes()

    @classmethod
    def van(
        cls,
        random: Random,
        *,
        time: float,
        hour: float | None = None,
        portal_id: str = "c0619ab2d3e4",
        firmware: str = "v3.70",
    ) -> Site:
        """A van with a 280 Ah battery, 640 W of solar on two chargers, and a MultiPlus; no shore power.

        ``time`` is epoch seconds; ``hour`` the local solar hour then (12 is noon), two hours after sunrise unless
        given: daylight, and more is used than the sun gives. The sun's year is that of ``time``.
        """
        if hour is None:
            hour = sun.sunrise(_LATITUDE, sun.day_of_year(time)) + 2.0
        return cls(build.bus(portal_id, firmware), build.power(random), random, time=time, hour=hour)

    @property
    def portal_id(self) -> str:
        """``system/0/Serial``."""
        return str(self.bus["system/0"].values["/Serial"])

    @property
    def devices(self) -> tuple[str, ...]:
        """Who measures something, in the order in which they should be refreshed: ``("battery/512", ...)``."""
        return tuple(self._turns)

    @property
    def hour(self) -> float:
        """The local solar hour."""
        return (self._hour + (self.time - self._started) / 3600.0) % 24.0

    @property
    def ranges(self) -> dict[str, Range]:
        """What the site publishes as ``min`` and ``max``, by topic."""
        return {service.key + path: limits for service in self.bus for path, limits in service.ranges.items()}

    @property
    def _air(self) -> float:
        return 18.0 + 5.0 * (1.0 - abs(self.hour - 15.0) / 12.0)

    def advance(self, to: float) -> None:
        """Let time pass until ``to``, epoch seconds; nothing is put on the bus."""
        while self.time < to:
            seconds = min(_STRIDE, to - self.time)
            self.time += seconds
            self._control()
            light = sun.clear_sky(sun.elevation(_LATITUDE, sun.day_of_year(self.time), self.hour))
            dc, ac = self._loads.step(seconds, self.hour)
            self.power.step(seconds, light * self._clouds.step(seconds), dc, ac)

    def refresh(self, device: str) -> None:
        """Have a device put what it measures on the bus."""
        self._turns[device]()

    def take_changes(self) -> list[str]:
        """The topics that were signalled since the last call, oldest first."""
        return self.bus.take_changes()

    def value(self, topic: str) -> Value:
        """The value at ``battery/512/Dc/0/Voltage``. Raises KeyError where there is none."""
        found = self.bus.find(topic)
        if found is None:
            raise KeyError(topic)
        return found[0][found[1]]

    def values(self) -> Mapping[str, Value]:
        """All that stands on the bus, by topic."""
        return self.bus.values()

    # what people and the world do

    def plug_in(self) -> None:
        """Connect shore power."""
        self.power.multi.shore = True

    def unplug(self) -> None:
        """Take shore power away."""
        self.power.multi.shore = False

    def panel(self, topic: str, value: Value) -> None:
        """Set a value as a person at the GX's own panel, or another process, does: nothing is checked."""
        service, path = self._at(topic)
        self._put(service, path, value)

    def force(self, topic: str, value: Value) -> None:
        """Show a value whatever the device measures, until :meth:`release`."""
        service, path = self._at(topic)
        service.forced[path] = value
        service.changed.append(path)

    def release(self, topic: str) -> None:
        """Show what the device measures again."""
        service, path = self._at(topic)
        if path in service.forced:
            del service.forced[path]
            service.changed.append(path)

    def add_setting(self, path: str, value: Value, limits: Range | None = None) -> None:
        """A setting that was not there before: ``add_setting("/Settings/New", 1, (0, 5))``."""
        service = self.bus["settings/0"]
        if limits is not None:
            service.ranges[path] = limits
        service.put(path, value)

    def remove(self, device: str) -> list[str]:
        """Take a device off the bus; the topics that are gone."""
        service = self.bus[device]
        if not service.present:
            return []
        service.present = False
        service.changed.clear()
        self._mapping(service, None)
        return [service.key + path for path in service.values]

    def restore(self, device: str) -> None:
        """Bring a device back; each of its topics is signalled."""
        service = self.bus[device]
        if not service.present:
            service.present = True
            service.changed = list(service.values)
            self._mapping(service, service.name)

    def write(self, topic: str, value: Value) -> bool:
        """Write as a client of the GX does; whether it was taken. What is refused changes nothing."""
        found = self.bus.find(topic)
        if found is None:
            return False
        service, path = found
        try:
            if service.kind == "settings":
                self._put(service, path, setting(service.values[path], value, service.ranges.get(path)))
                return True
            it = rule(service, path)
            if it is None:
                return False
            value = check(self.bus, service, path, value, it)
        except Refused:
            return False
        if it.action:
            self._act(service, path, value)
        else:
            self._put(service, path, value)
        if it.lapses is not None:
            self._lapses[topic] = self.time + it.lapses
        return True

    def _at(self, topic: str) -> tuple[Service, str]:
        found = self.bus.find(topic)
        if found is None:
            raise KeyError(topic)
        return found

    def _put(self, service: Service, path: str, value: Value) -> None:
        service.put(path, value)
        alias = ALIASES.get(service.kind + path)
        if alias is not None:
            service.put(alias, value)

    def _act(self, service: Service, path: str, value: Value) -> None:
        self.actions.append(Action(self.time, service.key + path, value))
        if service.kind + path == "vebus/SystemReset":
            self.power.multi.outage = 5.0
        elif service.kind + path == "vebus/VebusSetChargeState" and self.power.multi.mains:
            self.power.set_stage(FLOAT if value == 3 else ABSORPTION)

    def _mapping(self, service: Service, name: str | None) -> None:
        self.bus["system/0"].put(f"/ServiceMapping/com_victronenergy_{service.kind}_{service.instance}", name)

    def _control(self) -> None:
        """Have the devices follow what was set on the bus."""
        vebus, owner = self.bus[VEBUS], self.bus["settings/0"]
        multi, power = self.power.multi, self.power
        if self.campsite and (power.battery.soc < 0.25 or (self._camping and power.battery.soc > 0.97)):
            self._camping = multi.shore = power.battery.soc < 0.25
        multi.mode = int(vebus.number("/Mode", 3.0))
        multi.input_limit = vebus.number("/Ac/In/1/CurrentLimit", 16.0)
        multi.ignore_input = vebus.number("/Ac/Control/IgnoreAcIn1") == 1.0
        dvcc = owner.number("/Settings/Services/Bol") % 2 == 1
        amps = owner.number("/Settings/SystemSetup/MaxChargeCurrent", -1.0)
        volts = owner.number("/Settings/SystemSetup/MaxChargeVoltage")
        power.charge_limit = amps if dvcc and amps >= 0.0 else None
        power.voltage_limit = volts if dvcc and volts > 0.0 else None
        dark = self.bus["system/0"].number("/Pv/Disable") == 1.0
        for key, mppt in zip((SOLAR, SECOND_SOLAR), power.mppts, strict=True):
            mppt.on = self.bus[key].number("/Mode", 1.0) == 1.0 and not dark
            mppt.limit = self.bus[key].number("/Settings/ChargeCurrentLimit", mppt.rated)

    def _work_out(self) -> None:
        systemcalc.refresh(self.bus)
        self._count()
        life = self.bus["settings/0"]
        if life.number("/Settings/CGwacs/BatteryLife/State") == 1.0:  # restarted: the GX goes on to self-consumption
            life.put("/Settings/CGwacs/BatteryLife/State", 2)
        for topic in [topic for topic, at in self._lapses.items() if at <= self.time]:
            del self._lapses[topic]
            found = self.bus.find(topic)
            if found is not None:
                found[0].put(found[1], None)

    def _count(self) -> None:
        """Keep the GX's timers: how long on which source, told each ten seconds."""
        multi = self.power.multi
        source = self.bus["settings/0"]["/Settings/SystemSetup/AcInput1"]
        on = "OnGenerator" if source == 2 else "OnGrid"
        timer = f"/Timers/Time{on if multi.mains else 'OnInverter' if multi.inverting else 'Off'}"
        self._timers[timer] = self._timers.get(timer, 0.0) + self.time - self._counted
        self._counted = self.time
        self.bus["system/0"].update({path: int(seconds / 10.0) * 10 for path, seconds in self._timers.items()})
