"""What a desire leaves to be done later: a setpoint is written again and again and let go of at its end, a guarded
setting goes back unless it is confirmed, an enforced one is written again when somebody moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from .shadow import same
from .writes import Write


class Keep(str, Enum):
    """Why there is something left to do."""

    SETPOINT = "setpoint"
    GUARDED = "guarded"
    ENFORCED = "enforced"


@dataclass(frozen=True, slots=True)
class Hold:
    """One field of one device, held as it was ``asked``.

    ``back`` is written at its end, if anything is. ``until`` is epoch seconds, 0 for no end. A setpoint ``lapses``
    within so many s unless it is written again. ``shown`` is what the
    field of a setting shows while it is held, ``was`` what a guarded one showed before. ``told`` says that the desire
    is settled. ``ended`` and ``outcome`` are the reason and the status while its end is still to be told of.
    """

    keep: Keep
    asked: Any
    device: tuple[str, str]
    shown: Any = None
    back: tuple[Write, ...] = ()
    until: float = 0.0
    lapses: float = 0.0
    was: Any = None
    id: str = ""
    told: bool = False
    ended: str = ""
    outcome: str = ""

    def is_asked(self, asked: Any) -> bool:
        """Whether this is the very desire."""
        return same(self.asked, asked)


def to_json(hold: Hold) -> dict[str, Any]:
    """As it is kept on the disk."""
    return {**asdict(hold), "keep": hold.keep.value, "back": [[*w.key, w.path, w.raw] for w in hold.back]}


def from_json(kept: Mapping[str, Any]) -> Hold:
    back = tuple(Write((service, instance), path, raw) for service, instance, path, raw in kept["back"])
    return Hold(**{**kept, "keep": Keep(kept["keep"]), "device": tuple(kept["device"]), "back": back})
