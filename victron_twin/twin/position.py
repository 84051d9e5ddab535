"""What is shown of a position: a parked van's receiver jitters, and not everybody is to know where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .flat import Flat, Path
from .readings import Value, is_number

LATITUDE: Path = ("latitude",)
LONGITUDE: Path = ("longitude",)

#: The earth's mean radius in metres.
RADIUS = 6_371_000.0


@dataclass(frozen=True, slots=True)
class Privacy:
    """``distance``: metres that a position moves before another is shown. ``decimals``: of degrees; None: all."""

    distance: float = 20.0
    decimals: int | None = None


def metres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The distance on the ground between two points of (latitude, longitude) in degrees."""
    (lat1, lon1), (lat2, lon2) = one, other
    a, b = math.radians(lat1), math.radians(lat2)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 2 * RADIUS * math.asin(min(1.0, math.sqrt(h)))


EXACT = Privacy()


class Position:
    """The point of one receiver that is shown; both coordinates change together."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._kept: tuple[float, float] | None = None

    def restore(self, latitude: object, longitude: object) -> None:
        """What an earlier run has shown stands until it is left."""
        if self._kept is None and is_number(latitude) and is_number(longitude):
            self._kept = float(latitude), float(longitude)

    def shown(self, latitude: Value, longitude: Value) -> tuple[Value, Value]:
        """What to show for a point; nothing for half of one."""
        if not is_number(latitude) or not is_number(longitude):
            return None, None
        here = float(latitude), float(longitude)
        if self._kept is None or metres(self._kept, here) >= self._privacy.distance:
            self._kept = here
        lat, lon = self._kept
        decimals = self._privacy.decimals
        return (lat, lon) if decimals is None else (round(lat, decimals) + 0.0, round(lon, decimals) + 0.0)


class Positions:
    """The positions of a GX's receivers, by instance."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._of: dict[str, Position] = {}

    def of(self, instance: str) -> Position:
        return self._of.setdefault(instance, Position(self._privacy))

    def moved(self, old: str, new: str) -> None:
        """A receiver has another instance now."""
        if old in self._of:
            self._of[new] = self._of.pop(old)

    def hide(self, values: Flat, place: Path, instance: str) -> None:
        """Put what is to be shown in place of what is known of a receiver."""
        latitude, longitude = place + LATITUDE, place + LONGITUDE
        point = self.of(instance).shown(values.pop(latitude, None), values.pop(longitude, None))
        for path, degrees in zip((latitude, longitude), point, strict=True):
            if degrees is not None:
                values[path] = degrees
