"""Which holds are over, and why: what they write back, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .desires import SKEW, Ending, Known, Status, Verdict, at, is_new
from .devices import Device
from .flat import Path, within
from .holds import Hold, Keep
from .readings import Value
from .shadow import same


@dataclass(frozen=True, slots=True)
class _Over:
    """Why a hold is over; without a ``reason`` nobody need be told. ``back``: its way back is to be written."""

    reason: str = ""
    status: Status = Status.EXPIRED
    back: bool = False


def endings(desired: Mapping[str, Any], devices: Mapping[Path, Device | None], known: Known) -> Iterator[Ending]:
    """The holds that are over; ``devices`` are what the desires are aimed at now."""
    for path, hold in known.holds.items():
        asked = at(desired, path)
        newer = asked is not None and not hold.is_asked(asked) and is_new(path, asked, known.settled, known.reported)
        device = devices.get(path)
        moved = device is not None and (device.service, device.instance) != hold.device
        over = _over(path, hold, asked, newer, moved, known)
        if over is not None:
            verdict = Verdict(path, hold.asked, over.status, over.reason, hold.id)
            told = bool(over.reason) and not newer
            yield Ending(path, hold, hold.back if over.back else (), verdict if told else None)


def _over(path: Path, hold: Hold, asked: Any, newer: bool, moved: bool, known: Known) -> _Over | None:
    if hold.ended:
        return _Over(hold.ended, Status(hold.outcome))
    if hold.keep is Keep.SETPOINT:
        return _setpoint(hold, asked, moved, known)
    if newer:
        return None  # what becomes of that decides
    if hold.keep is Keep.GUARDED:
        return _guarded(path, hold, asked, known)
    return _Over() if moved or not hold.is_asked(asked) else None


def _setpoint(hold: Hold, asked: Any, moved: bool, known: Known) -> _Over | None:
    if not hold.is_asked(asked):
        return _Over("it is no longer desired: let go of", back=True)
    if known.now >= hold.until:
        return _Over("its time is over: let go of", back=True)
    if known.policy.off:
        return _Over(f"{known.policy.off}: let go of", Status.REJECTED, back=True)
    if moved:
        return _Over("the primary has changed: let go of", Status.REJECTED, back=True)
    if known.adrift:
        return _Over(f"{known.adrift}: let go of", back=True)
    if known.live and known.offset is not None and abs(known.offset) > SKEW:
        return _Over("our clock and the GX's are apart: let go of", back=True)
    return None


def _guarded(path: Path, hold: Hold, asked: Any, known: Known) -> _Over | None:
    if not hold.told and hold.is_asked(asked):
        return None  # it is still being brought about
    if known.policy.off:
        return _Over(f"{known.policy.off}: it does not go back", Status.APPLIED)
    shown = _shown(path, hold, known)
    if shown is None:
        return None
    reason = f"not confirmed in time: back to {hold.was}"
    late = known.now >= hold.until
    if hold.shown is None and not late:
        return None  # it was not confirmed, and may still come
    if same(shown, hold.was):
        return _Over(reason if late else "")
    if hold.shown is not None and not same(shown, hold.shown):
        return _Over()  # somebody else has moved it
    return _Over(reason, back=True) if late else None


def _shown(path: Path, hold: Hold, known: Known) -> Value:
    """What the field of a device shows that is there, else None."""
    device = known.twin.devices.get(hold.device)
    if device is None or not (known.live and device.connected):
        return None
    live = device.fields.get(within(path))
    return live.shown if live is not None else None
