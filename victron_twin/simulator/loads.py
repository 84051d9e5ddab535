"""What the people in the van use: a fridge that cycles, light in the evening, work by day, coffee."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True)
class Appliance:
    """Something used now and then.

    ``uses`` are the expected uses in an hour, in each part of the day: night (0 to 6), morning (to 10), day (to 18),
    evening.
    """

    name: str
    watts: float
    seconds: tuple[float, float]
    uses: tuple[float, float, float, float]
    ac: bool


APPLIANCES = (
    Appliance("coffee machine", 1100.0, (70.0, 130.0), (0.0, 0.5, 0.12, 0.1), ac=True),
    Appliance("induction plate", 850.0, (240.0, 900.0), (0.0, 0.1, 0.08, 0.3), ac=True),
    Appliance("water pump", 70.0, (8.0, 45.0), (0.1, 3.0, 1.0, 3.0), ac=False),
    Appliance("roof fan", 30.0, (600.0, 3600.0), (0.1, 0.2, 0.5, 0.4), ac=False),
)


@dataclass
class Loads:
    """The consumers of the van; :meth:`step` tells what they draw."""

    random: Random
    fridge_on: bool = True
    fridge_left: float = 600.0
    running: dict[str, float] = field(default_factory=dict)

    def step(self, seconds: float, hour: float) -> tuple[float, float]:
        """Move on; the watts drawn from the battery's terminals and from the AC output."""
        self.fridge_left -= seconds
        if self.fridge_left <= 0.0:
            self.fridge_on = not self.fridge_on
            self.fridge_left = (
                self.random.uniform(700.0, 1300.0) if self.fridge_on else self.random.uniform(900.0, 2000.0)
            )
        dc = 21.0 + (48.0 if self.fridge_on else 0.0)
        ac = 14.0
        if 6.5 <= hour < 12.0:
            ac += 205.0 + self.random.gauss(0.0, 9.0)  # two people at work: laptops, a screen, a heated blanket
        elif 15.0 <= hour < 23.5:
            dc += 32.0
            ac += 60.0 + self.random.gauss(0.0, 3.0)
        part = 0 if hour < 6.0 else 1 if hour < 10.0 else 2 if hour < 18.0 else 3
        for appliance in APPLIANCES:
            left = self.running.get(appliance.name, 0.0) - seconds
            if left <= 0.0 and self.random.random() < appliance.uses[part] * seconds / 3600.0:
                left = self.random.uniform(*appliance.seconds)
            self.running[appliance.name] = left
            if left > 0.0:
                watts = appliance.watts * self.random.uniform(0.98, 1.02)
                ac, dc = (ac + watts, dc) if appliance.ac else (ac, dc + watts)
        return dc + self.random.gauss(0.0, 0.6), max(5.0, ac)
