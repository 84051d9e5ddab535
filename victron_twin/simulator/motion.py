"""How the values of the large site's devices move: the verbs of the column ``moves`` in their tables.

``about SPREAD [SECONDS]``
    wanders about where it began, by so much, and back within so many seconds.
``either SECONDS A B ...``
    one of these values, another one every so many seconds on average.
``counts SECONDS``
    one more every so many seconds on average.
``sun WATTS``
    with the light, so much under 1,000 W per square metre.
``day LOW HIGH``
    a temperature between the coldest hour and the warmest.
``clock``
    the epoch's seconds.
``sum PATHS``, ``product FACTORS``, ``ratio A B [FACTOR]``, ``same A``
    what other paths say; a factor may be a number, and a path may be one of another device (``grid/30/Ac/Power``).
``energy A``, ``drawn A``, ``charge A``
    kWh of the watts of a path where they are positive, where they are negative; Ah of its amperes.
``runs A``
    seconds in which a path is not 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Protocol

from victron_twin.simulator.bus import Bus, Value, expand

#: The value that a path has now, the last one being given and so many seconds having passed.
Motion = Callable[[float, float], Value]
_HOURS = 3600.0


class Weather(Protocol):
    """What motions need to know of the world."""

    bus: Bus
    time: float
    light: float

    @property
    def hour(self) -> float: ...


def motion(said: str, device: str, start: Value, weather: Weather, random: Random) -> Motion:
    """The motion that a table says, of a value of a device (``grid/30``) that began with ``start``."""
    verb, *words = said.split()
    return _VERBS[verb](words, _Source(device, weather), start if isinstance(start, (int, float)) else 0.0, random)


class _Source:
    """Where a motion finds the values of other paths."""

    def __init__(self, device: str, weather: Weather) -> None:
        self.device = device
        self.weather = weather

    def value(self, path: str) -> Value:
        """``/Ac/Power`` of the device itself, or ``grid/30/Ac/Power``; None where there is none now."""
        found = self.weather.bus.find(self.device + path if path.startswith("/") else path)
        return None if found is None else found[0][found[1]]

    def number(self, word: str) -> float | None:
        """The same as a number, which may stand there itself."""
        try:
            return float(word)
        except ValueError:
            value = self.value(word)
            return value if isinstance(value, (int, float)) else None


def _about(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    spread = float(words[0])
    seconds = float(words[1]) if len(words) > 1 else 30.0
    off = random.gauss(0.0, spread)

    def move(last: float, passed: float) -> Value:
        nonlocal off
        pull = math.exp(-passed / seconds)
        off = off * pull + random.gauss(0.0, spread * math.sqrt(1.0 - pull * pull))
        return start + max(-2.5 * spread, min(2.5 * spread, off))

    return move


def _either(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    seconds, *choices = map(float, words)

    def move(last: float, passed: float) -> Value:
        return random.choice(choices) if random.random() < passed / seconds else last

    return move


def _counts(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    seconds = float(words[0])

    def move(last: float, passed: float) -> Value:
        return last + int(passed / seconds + random.random())

    return move


def _sun(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    full = float(words[0])
    return lambda last, passed: full * source.weather.light / 1000.0


def _day(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    low, high = map(float, words)
    return lambda last, passed: (
        low + (high - low) * (0.5 - 0.5 * math.cos((source.weather.hour - 3.0) / 12.0 * math.pi))
    )


def _clock(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    return lambda last, passed: int(source.weather.time)


def _total(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    paths = [path for word in words for path in expand(word)]

    def move(last: float, passed: float) -> Value:
        there = [value for value in map(source.number, paths) if value is not None]
        return sum(there) if there else None

    return move


def _product(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    def move(last: float, passed: float) -> Value:
        product = 1.0
        for word in words:
            factor = source.number(word)
            if factor is None:
                return None
            product *= factor
        return product

    return move


def _ratio(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    above, below = words[:2]
    factor = float(words[2]) if len(words) > 2 else 1.0

    def move(last: float, passed: float) -> Value:
        one, other = source.number(above), source.number(below)
        return None if one is None else one / other * factor if other else 0.0

    return move


def _same(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    return lambda last, passed: source.value(words[0])


def _integral(per: float, sign: float) -> Callable[[list[str], _Source, float, Random], Motion]:
    def integral(words: list[str], source: _Source, start: float, random: Random) -> Motion:
        total = start

        def move(last: float, passed: float) -> Value:
            nonlocal total
            total += max(0.0, sign * (source.number(words[0]) or 0.0)) * passed / per
            return total

        return move

    return integral


def _runs(words: list[str], source: _Source, start: float, random: Random) -> Motion:
    total = start

    def move(last: float, passed: float) -> Value:
        nonlocal total
        total += passed if source.number(words[0]) else 0.0
        return total

    return move


_VERBS: dict[str, Callable[[list[str], _Source, float, Random], Motion]] = {
    "about": _about,
    "either": _either,
    "counts": _counts,
    "sun": _sun,
    "day": _day,
    "clock": _clock,
    "sum": _total,
    "product": _product,
    "ratio": _ratio,
    "same": _same,
    "energy": _integral(1000.0 * _HOURS, 1.0),
    "drawn": _integral(1000.0 * _HOURS, -1.0),
    "charge": _integral(_HOURS, 1.0),
    "runs": _runs,
}
