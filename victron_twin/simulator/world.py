"""What lies behind a site's bus: the sun, the electricity and the people. Time and chance come in as arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random
from typing import ClassVar

from victron_twin.simulator import sun, systemcalc
from victron_twin.simulator.bus import Bus, Service, Value


class World(ABC):
    """The common part: where and when it is, and the GX's own turn.

    :ivar time: epoch seconds.
    :ivar turns: by device (``battery/512``), what puts on the bus what the device measures; in the order of the turns:
        who is measured stands before what is worked out from it.
    """

    #: Degrees north and east.
    LATITUDE: ClassVar[float]
    LONGITUDE: ClassVar[float]

    def __init__(self, bus: Bus, random: Random, *, time: float, hour: float | None) -> None:
        """``hour`` is the local solar hour at ``time`` (12 is noon), two hours after sunrise where None."""
        self.bus = bus
        self.time = time
        self.turns: dict[str, Callable[[], None]] = {}
        self._started = time
        self._hour = sun.sunrise(self.LATITUDE, sun.day_of_year(time)) + 2.0 if hour is None else hour
        self._clouds = sun.Clouds(Random(random.random()))
        self._timers: dict[str, float] = {}
        self._counted = time

    @property
    def hour(self) -> float:
        """The local solar hour."""
        return (self._hour + (self.time - self._started) / 3600.0) % 24.0

    @property
    def uptime(self) -> float:
        """Seconds since the devices were switched on: a day before the world began."""
        return self.time - self._started + sun.DAY

    @property
    def air(self) -> float:
        """The air's temperature, degrees Celsius."""
        return 18.0 + 5.0 * (1.0 - abs(self.hour - 15.0) / 12.0)

    def advance(self, seconds: float) -> None:
        """Let a time pass, at most some ten seconds at once; nothing is put on the bus."""
        self.time += seconds
        light = sun.clear_sky(sun.elevation(self.LATITUDE, sun.day_of_year(self.time), self.hour))
        self.step(seconds, light * self._clouds.step(seconds))

    @abstractmethod
    def step(self, seconds: float, light: float) -> None:
        """Let a time pass under a light of so many watts per square metre."""

    @abstractmethod
    def act(self, service: Service, path: str, value: Value) -> None:
        """Do what a write to an action asks for."""

    @abstractmethod
    def wrote(self, service: Service, path: str) -> None:
        """Follow what was written, where another device has to: at once, not at its next turn."""

    @abstractmethod
    def connect(self, mains: bool) -> None:
        """Connect shore power or the grid, or take it away."""

    def work_out(self) -> None:
        """The turn of the GX itself, ``system/0``."""
        systemcalc.refresh(self.bus)
        life = self.bus["settings/0"]
        if life.number("/Settings/CGwacs/BatteryLife/State") == 1.0:  # restarted: the GX goes on to self-consumption
            life.put("/Settings/CGwacs/BatteryLife/State", 2)
        self._count()

    def _count(self) -> None:
        """Keep the GX's timers: how long on which source, told each ten seconds."""
        system = self.bus["system/0"]
        source, state = system.get("/Ac/ActiveIn/Source"), system.number("/SystemState/State")
        if source in (1, 3):
            on = "OnGrid"
        elif source == 2:
            on = "OnGenerator"
        else:
            on = "OnInverter" if state else "Off"
        timer = f"/Timers/Time{on}"
        self._timers[timer] = self._timers.get(timer, 0.0) + self.time - self._counted
        self._counted = self.time
        system.update({path: int(seconds / 10.0) * 10 for path, seconds in self._timers.items()})
