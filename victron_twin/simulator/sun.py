"""The sun over the van, and the clouds that pass before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

DAY = 86_400.0
YEAR = 365.2425


def day_of_year(epoch: float) -> float:
    """Days since the first of January, near enough for the sun."""
    return (epoch / DAY) % YEAR


def declination(day: float) -> float:
    """The sun's declination in radians (Cooper's equation)."""
    return math.radians(23.45) * math.sin(2 * math.pi * (284 + day) / YEAR)


def elevation(latitude: float, day: float, hour: float) -> float:
    """The sine of the sun's elevation, negative at night; ``hour`` is local solar time (12 is noon)."""
    tilt, place = declination(day), math.radians(latitude)
    turned = math.radians(15.0 * (hour - 12.0))
    return math.sin(place) * math.sin(tilt) + math.cos(place) * math.cos(tilt) * math.cos(turned)


def sunrise(latitude: float, day: float) -> float:
    """The solar hour at which the sun comes up; 0 where it does not set, 12 where it does not rise."""
    product = -math.tan(math.radians(latitude)) * math.tan(declination(day))
    return 12.0 - math.degrees(math.acos(max(-1.0, min(1.0, product)))) / 15.0


def clear_sky(sine: float) -> float:
    """Watts per square metre on a flat roof under a clear sky (Haurwitz)."""
    return 1098.0 * sine * math.exp(-0.057 / sine) if sine > 0.0 else 0.0


@dataclass
class Clouds:
    """What part of the light comes through: a slow haze, and now and then a cloud of some minutes."""

    random: Random
    haze: float = 0.85
    shade: float = 1.0
    until: float = 0.0

    def step(self, seconds: float) -> float:
        """Move on; the part of the light, between 0 and 1."""
        pull = math.exp(-seconds / 1800.0)
        spread = 0.08 * math.sqrt(1.0 - pull * pull)
        self.haze = max(0.4, min(1.0, 0.88 + (self.haze - 0.88) * pull + self.random.gauss(0.0, spread)))
        self.until -= seconds
        if self.until <= 0.0:
            cloudy = self.shade == 1.0 and self.random.random() < 0.6
            self.shade = self.random.uniform(0.35, 0.85) if cloudy else 1.0
            self.until = self.random.uniform(40.0, 240.0) if cloudy else self.random.uniform(120.0, 900.0)
        flicker = 1.0 + self.random.gauss(0.0, 0.004)
        return max(0.0, min(1.0, self.haze * self.shade * flicker))
