"""What is desired of a shadow, in the words of everything that deals with it: orders, verdicts, what is over, and what
the planner looks up."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from victron_twin.catalog.commands import Class

from .flat import Path
from .holds import Hold
from .policy import Policy
from .shadow import same
from .twin import Twin
from .writes import Write

#: An action may not be asked for further ahead, in s.
FURTHEST = 86_400.0
#: Actions wait while our clock is further from the GX's, in s.
SKEW = 60.0


class Status(str, Enum):
    """What became of a desire, as ``reported.commands`` tells it."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"
    UNCONFIRMED = "unconfirmed"
    EXPIRED = "expired"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Order:
    """A desire to be executed: these writes, in this order. ``target`` is what the field will show, ``hold`` what is
    left to be done later."""

    path: Path
    asked: Any
    kind: Class
    writes: tuple[Write, ...]
    target: Any
    id: str = ""
    expires: float = 0.0
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a desire without a write. A pending one is not settled."""

    path: Path
    asked: Any
    status: Status
    reason: str = ""
    id: str = ""
    hold: Hold | None = None  #: what is left to be done later of an applied one


@dataclass(frozen=True, slots=True)
class Ending:
    """A hold that is over: what it has to write back, and what is told of it; None where a newer desire tells."""

    path: Path
    hold: Hold
    writes: tuple[Write, ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """``clear`` are leaves that no field takes: removed from desired after their verdicts are acknowledged."""

    orders: tuple[Order, ...]
    verdicts: tuple[Verdict, ...]
    clear: tuple[Path, ...]
    endings: tuple[Ending, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the planner looks up.

    ``settled`` holds what was last settled for each path (two values while it is not known whether the second was
    acknowledged), ``reported`` the shadow's stored section. ``ids`` holds for each id of an action what was asked with
    it, and whether it is known to be done. What is ``pending`` is decided whatever it is now, and so are held setpoints
    whose next write is ``due``. ``live`` tells whether the GX is there, ``offset`` is our clock minus the GX's in s,
    None while that is not known. ``adrift`` says why nobody may be heard who would take a setpoint back.
    """

    twin: Twin
    policy: Policy
    settled: Settled
    reported: Mapping[str, Any]
    ids: Mapping[str, tuple[Any, bool]]
    pending: Collection[Path]
    live: bool
    offset: float | None
    now: float
    spent: Callable[[Write], bool] = lambda _: False  #: whether a write would wear its point too fast by now
    holds: Mapping[Path, Hold] = field(default_factory=dict)
    due: Collection[Path] = ()
    adrift: str = ""


#: What was last settled for the path of a desire.
Settled = Mapping[Path, tuple[Any, ...]]


def is_new(path: Path, asked: Any, settled: Settled, reported: Mapping[str, Any]) -> bool:
    """Differs from what was last settled, or without a record from what is stored as reported."""
    if path in settled:
        return not any(same(asked, value) for value in settled[path])
    return not same(asked, at(reported, path))


def at(section: Mapping[str, Any], path: Path) -> Any:
    """What stands at a path of a section, None where nothing does."""
    found: Any = section
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def shorten(asked: Any) -> Any:
    """A scalar as it is, anything else as JSON text cut at 80 characters."""
    if asked is None or isinstance(asked, str | int | float | bool):
        return asked if not isinstance(asked, str) else asked[:80]
    return json.dumps(asked, separators=(",", ":"))[:80]


def is_dated(asked: Any) -> bool:
    """Whether that is an object with all that an action or a setpoint needs."""
    return isinstance(asked, Mapping) and {"value", "id", "expires"} <= asked.keys()


def moment(text: Any) -> float | None:
    """Epoch seconds of an ISO 8601 time with its zone, None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return None if read.tzinfo is None else read.astimezone(timezone.utc).timestamp()
