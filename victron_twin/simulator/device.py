"""A device of the large site: its service on the bus, and how its values get there."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from victron_twin.simulator.bus import Service, Value, float32
from victron_twin.simulator.motion import Motion, Weather, motion
from victron_twin.simulator.tables import Kind


class Device:
    """One device. It measures when it is refreshed, but no sooner than its table says.

    :ivar passed: seconds since it measured last.
    """

    def __init__(self, kind: Kind, weather: Weather, random: Random) -> None:
        self.service: Service = kind.service
        self.passed = 0.0
        self._every = kind.every
        self._steps = {path: row.step for path, row in kind.rows.items()}
        self._weather = weather
        self._measured: float | None = None
        self._driver: Callable[[Device], None] | None = None
        # in the order of the table: what is made from another path stands behind it
        self._motions: list[tuple[str, Motion]] = [
            (path, motion(row.moves, self.service.key, self.service.values[path], weather, random))
            for path, row in kind.rows.items()
            if row.moves
        ]

    def drive(self, driver: Callable[[Device], None]) -> None:
        """Have a driver show what the device measures, before the motions of its table do."""
        self._driver = driver

    def refresh(self) -> None:
        """Measure, if it is time."""
        if self._measured is None or self._weather.time - self._measured >= self._every:
            self.measure()

    def measure(self) -> None:
        """Measure in any case."""
        now = self._weather.time
        self.passed = 0.0 if self._measured is None else now - self._measured
        self._measured = now
        if self._driver is not None:
            self._driver(self)
        for path, move in self._motions:
            self.show(path, move(self.service.number(path), self.passed))

    def show(self, path: str, value: Value) -> None:
        """Put a value on the bus in the type and resolution of the table; nothing where the device has no such path."""
        step = self._steps.get(path)
        if step is None:
            return
        if step and isinstance(value, (int, float)):
            value = round(value) if step == 1 else float32(round(value / step) * step)
        self.service.put(path, value)

    def all(self, values: dict[str, Value]) -> None:
        """Show several values."""
        for path, value in values.items():
            self.show(path, value)

    def number(self, path: str, default: float = 0.0) -> float:
        """What stands on the bus now, as a number."""
        return self.service.number(path, default)
