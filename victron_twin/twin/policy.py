"""What the cloud may do: the mode, the default allow-list of the catalogue, and the owner's patterns and limits."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from victron_twin.catalog.commands import Command

from .flat import Path, dotted, within

#: Writes a minute to one point that is kept in flash, unless configured.
RATE = 6


@dataclass(frozen=True, slots=True)
class Limit:
    """``victron-vebus.currentLimit=0..10``: what a number may be at least and at most, in the field's unit.

    Either side may be missing, and the field may have ``*``.
    """

    pattern: str
    least: float | None
    most: float | None

    @classmethod
    def read(cls, text: str) -> Limit:
        """Raises ValueError with a reason."""
        pattern, equals, span = (part.strip() for part in text.partition("="))
        low, dots, high = span.partition("..")
        if not pattern or not equals or not dots or not (low + high).strip():
            raise ValueError(f"{text} must read FIELD=LEAST..MOST, of which one may be missing")
        least, most = _number(text, low), _number(text, high)
        if least is not None and most is not None and least > most:
            raise ValueError(f"{text} allows nothing: {least:g} is above {most:g}")
        if "." not in pattern and "*" not in pattern:
            raise ValueError(f"{text} must name a field, as victron-vebus.currentLimit")
        return cls(pattern, least, most)

    def __str__(self) -> str:
        low, high = ("" if side is None else f"{side:g}" for side in (self.least, self.most))
        return f"{self.pattern}={low}..{high}"

    def covers(self, names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, self.pattern) for name in names)


@dataclass(frozen=True, slots=True)
class Policy:
    """``mode`` is ``off``, ``allow-list`` or ``all``; patterns read ``victron-vebus.mode=Off``, with ``*``, and a
    boolean's ``true``.

    ``deny`` counts in every mode; ``allow`` adds to the default allow-list; ``limits`` bound what is allowed, and
    allow nothing. ``rate`` is how many times a minute one point that is kept in flash is written at most. ``stopped``
    is the emergency off: somebody switched commands off by hand.
    """

    mode: str = "allow-list"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    rate: int = RATE
    raw: tuple[str, ...] = ()
    enforce: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def off(self) -> str:
        """Why nothing at all may be done, an empty text where something may."""
        if self.stopped:
            return "commands are off (by hand)"
        return "commands.mode is off" if self.mode == "off" else ""

    def refuses(self, names: Collection[str], value: Any, command: Command, shown: Mapping[Path, Any]) -> str:
        """Why a desire must not be executed, or an empty text.

        ``names`` are those of the field, the first as it is written: see :func:`names_of`. ``shown`` is what is
        reported of its device by the paths of the fields.
        """
        if self.off:
            return self.off
        text = json.dumps(value) if isinstance(value, bool) else str(value)
        texts = [f"{name}={text}" for name in names]
        denied = _match(texts, self.deny)
        if denied:
            return f"commands.deny forbids it: {denied}"
        if self.mode == "all" or _match(texts, self.allow):
            return ""
        for guard in command.guards:
            if guard.covers(text) and not (guard.field and shown.get(tuple(guard.field.split("."))) in guard.unless):
                why = f" unless {guard.field} is {' or '.join(guard.unless)}" if guard.field else ""
                return f"not in the default allow-list{why}: add {texts[0]} to commands.allow"
        return ""

    def refuses_raw(self, service: str, path: str) -> str:
        """Why a path that no table has must not be written, or an empty text."""
        return "" if any(fnmatchcase(service + path, pattern) for pattern in self.raw) else "is not in commands.raw"

    def enforces(self, names: Collection[str]) -> bool:
        """Whether a field is written again when somebody moves it."""
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.enforce)

    def bounds(self, names: Collection[str]) -> tuple[Limit, ...]:
        """The limits that count for a field by any of its names."""
        return tuple(limit for limit in self.limits if limit.covers(names))


def names_of(shadow: str, path: Path, entry: str = "") -> tuple[str, ...]:
    """What patterns may call a field: without its device, as it is addressed, and under ``devices.<entry>``.

    The last counts for the primary too, which is addressed at the top: a rule for one device holds whatever it is.
    """
    name = within(path)
    device = (f"{shadow}.devices.{entry}.{dotted(name)}",) if entry else ()
    return tuple(dict.fromkeys((f"{shadow}.{dotted(name)}", f"{shadow}.{dotted(path)}", *device)))


def _match(texts: Iterable[str], patterns: Iterable[str]) -> str:
    """The first pattern that fits one of the texts; one without a value is meant for every value."""
    texts = tuple(texts)
    for pattern in patterns:
        whole = pattern if "=" in pattern else f"{pattern}=*"
        if any(fnmatchcase(text, whole) for text in texts):
            return pattern
    return ""


def _number(text: str, side: str) -> float | None:
    if not side.strip():
        return None
    try:
        number = float(side)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text}: {side.strip()} is no number")
    return number
