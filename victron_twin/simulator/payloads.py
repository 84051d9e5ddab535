"""What clients of a GX say: the payloads of writes and keepalives."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from victron_twin.simulator.bus import Value


@dataclass(frozen=True)
class Keepalive:
    """What a keepalive asks for: no republish, and what to say at the end of one."""

    suppress: bool = False
    echo: Any = None


def keepalive(payload: bytes) -> Keepalive:
    """``{"keepalive-options":[{"full-publish-completed-echo":"x"}]}``; what is not understood is as if empty."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return Keepalive()
    options = said.get("keepalive-options") if isinstance(said, dict) else None
    suppress, echo = False, None
    for option in options if isinstance(options, list) else ():
        if option == "suppress-republish":
            suppress = True
        elif isinstance(option, dict):
            echo = option.get("full-publish-completed-echo", echo)
    return Keepalive(suppress, echo)


def written(payload: bytes) -> Value:
    """The value that a W payload asks for, as it arrives on D-Bus. Raises ValueError for what does nothing."""

    def never(constant: str) -> None:
        raise ValueError(constant)

    try:
        said = json.loads(payload, parse_constant=never)
        if not isinstance(said, dict) or "value" not in said:
            raise ValueError("no value")
        return _on_dbus(said["value"])
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _on_dbus(value: Any) -> Value:
    if isinstance(value, str):
        return value.split("\0", 1)[0].encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("no number")
    if isinstance(value, int) and not isinstance(value, bool):
        return (value + 2**63) % 2**64 - 2**63  # what is above 64 bits wraps
    if isinstance(value, list):
        if len({type(item) for item in value}) > 1:
            raise ValueError("an array of several types")
        return [_on_dbus(item) for item in value] or None
    if value is None or isinstance(value, (bool, float)):
        return value
    raise ValueError("a dictionary")
