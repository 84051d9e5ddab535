"""What stands about in a large site and has a life of its own: an engine, generators, a car, water, warmth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True)
class Appliance:
    """Something used now and then, on a phase; ``uses`` in an hour at night, in the morning, by day, in the evening."""

    name: str
    phase: int
    watts: float
    seconds: tuple[float, float]
    uses: tuple[float, float, float, float]


APPLIANCES = (
    Appliance("kettle", 0, 2000.0, (120.0, 240.0), (0.0, 1.0, 0.3, 0.4)),
    Appliance("oven", 1, 2300.0, (900.0, 2400.0), (0.0, 0.1, 0.15, 0.3)),
    Appliance("washing machine", 2, 1900.0, (600.0, 1800.0), (0.0, 0.2, 0.3, 0.1)),
    Appliance("pool pump", 2, 900.0, (3600.0, 7200.0), (0.0, 0.2, 0.4, 0.1)),
)
_BASE = (330.0, 460.0, 280.0)


@dataclass
class House:
    """The people's loads on the three phases."""

    random: Random
    running: dict[str, float] = field(default_factory=dict)

    def step(self, seconds: float, hour: float) -> list[float]:
        """Move on; the watts on each phase."""
        part = 0 if hour < 6.0 else 1 if hour < 10.0 else 2 if hour < 18.0 else 3
        loads = [base * (0.6, 1.1, 1.0, 1.4)[part] + self.random.gauss(0.0, 6.0) for base in _BASE]
        for appliance in APPLIANCES:
            left = self.running.get(appliance.name, 0.0) - seconds
            if left <= 0.0 and self.random.random() < appliance.uses[part] * seconds / 3600.0:
                left = self.random.uniform(*appliance.seconds)
            self.running[appliance.name] = left
            if left > 0.0:
                loads[appliance.phase] += appliance.watts * self.random.uniform(0.99, 1.01)
        return loads


@dataclass
class Spell:
    """Something that is on for a while, then off for a while: times in seconds, from and to."""

    random: Random
    off: tuple[float, float]
    on: tuple[float, float]
    running: bool = False
    left: float = 600.0

    def step(self, seconds: float) -> None:
        """Move on."""
        self.left -= seconds
        if self.left <= 0.0:
            self.running = not self.running
            self.left = self.random.uniform(*(self.on if self.running else self.off))


@dataclass
class Genset:
    """A generator's engine; ``status`` is as on the bus: 0 standby, 1 to 7 starting, 8 running, 9 stopping."""

    wanted: bool = False
    status: int = 0
    warmth: float = 0.0  #: from 0 to 1
    starts: int = 0
    left: float = 0.0  #: seconds until the next status

    STANDBY, FIRST, RUNNING, STOPPING = 0, 1, 8, 9

    @property
    def running(self) -> bool:
        return self.status == self.RUNNING

    def step(self, seconds: float) -> None:
        """Move on."""
        self.left -= seconds
        if self.status == self.STANDBY:
            if self.wanted:
                self.status, self.left, self.starts = self.FIRST, 0.8, self.starts + 1
        elif not self.wanted and self.status != self.STOPPING:
            self.status, self.left = self.STOPPING, 5.0
        elif self.left <= 0.0 and self.status == self.STOPPING:
            self.status = self.STANDBY
        elif self.left <= 0.0 and self.status < self.RUNNING:
            self.status, self.left = self.status + 1, 0.8
        to = 1.0 if self.running else 0.0
        self.warmth += (to - self.warmth) * (1.0 - math.exp(-seconds / 240.0))


@dataclass
class Charger:
    """A charger of the 12 V bank: A."""

    rated: float
    on: bool = True
    powered: bool = True
    limit: float = math.inf
    current: float = 0.0

    def give(self, wanted: float) -> float:
        """Give what is wanted as far as it can; the rest that is still wanted."""
        most = min(self.rated, self.limit) if self.on and self.powered else 0.0
        self.current = max(0.0, min(most, wanted))
        return wanted - self.current


@dataclass
class Car:
    """An electric car at its charger: kWh and seconds of this session; ``away`` counts down while it is not there."""

    energy: float = 4.0
    time: float = 1320.0
    away: float = 0.0
    current: float = 0.0
    status: int = 2

    BATTERY = 38.0
    DISCONNECTED, CHARGING, CHARGED, WAITING_FOR_SUN, WAITING_FOR_START = 0, 2, 3, 4, 6

    def step(self, seconds: float, started: bool, wanted: float, least: float, auto: bool) -> float:
        """Charge with a current (A on three phases) if the cable is in; the watts on each phase."""
        self.away = max(0.0, self.away - seconds)
        full = self.energy >= self.BATTERY
        self.current = 0.0
        if self.away > 0.0:
            self.status = self.DISCONNECTED
        elif full:
            self.status = self.CHARGED
            self.energy, self.time, self.away = 0.0, 0.0, 4.0 * 3600.0
        elif not started:
            self.status = self.WAITING_FOR_START
        elif wanted < least:
            self.status = self.WAITING_FOR_SUN if auto else self.WAITING_FOR_START
        else:
            self.status, self.current = self.CHARGING, wanted
            self.energy += 3 * wanted * 230.0 * seconds / 3.6e6
            self.time += seconds
        return self.current * 230.0


@dataclass
class Boiler:
    """A heat pump with its tank: degrees Celsius and W."""

    temperature: float = 46.2
    target: float = 48.0
    heating: bool = True

    def step(self, seconds: float) -> float:
        """Heat or cool down; the watts it takes."""
        self.temperature += (0.35 if self.heating else -0.06) * seconds / 60.0
        if self.temperature > self.target + 2.0:
            self.heating = False
        elif self.temperature < self.target - 4.0:
            self.heating = True
        return 2400.0 if self.heating else 14.0


@dataclass
class Water:
    """The house's water: the part of the fresh and the waste tank that is full, and whether the pump runs."""

    random: Random
    fresh: float = 60.0
    waste: float = 40.0
    pumping: bool = False

    def step(self, seconds: float, hour: float, pump: bool | None, start: float, stop: float) -> None:
        """Use some, and have the pump follow its levels; ``pump`` None is automatic."""
        used = (9.0 if 6.0 <= hour < 23.0 else 0.8) * self.random.uniform(0.0, 2.0) * seconds / 3600.0
        if pump is None:
            self.pumping = self.fresh < start or (self.pumping and self.fresh < stop)
        else:
            self.pumping = pump
        self.fresh = max(0.0, min(100.0, self.fresh - used + (60.0 if self.pumping else 0.0) * seconds / 3600.0))
        self.waste = self.waste + used * 0.9 if self.waste < 94.0 else 4.0
