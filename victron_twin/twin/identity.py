"""Knowing a device again that comes back under another instance.

A serial number identifies a device; where there is none, product, connection and the name that its owner gave it do
together. gps, Ruuvi sensors and tanks on NMEA 2000 have no serial number. What is not unique is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

from .devices import Device
from .readings import Value

#: How long a device that arrived is looked at, in s.
WATCH = 120.0

Identity = tuple[Value, ...]
Key = tuple[str, str]


def identity(device: Device) -> Identity | None:
    """What tells a device from others of its service; None where it is not known, or says too little."""
    serial = _shown(device, "serial")
    if serial:
        return (serial,)
    rest = tuple(_shown(device, name) for name in ("productId", "connection", "customName"))
    return rest if all(value not in (None, "") for value in rest) else None


def _shown(device: Device, name: str) -> Value:
    live = device.fields.get((name,))
    if live is not None and live.shown is not None:
        return live.shown
    return device.restored.get((name,))


class Arrivals:
    """The devices that came onto the bus lately, looked at for a while: who one is comes in many messages, and that
    another is gone is known only after a full publish."""

    def __init__(self) -> None:
        self._since: dict[Key, float] = {}

    def add(self, key: Key, now: float) -> None:
        self._since[key] = now

    def moved(self, devices: Mapping[Key, Device], now: float) -> list[tuple[Key, Key]]:
        """``(old, new)`` of those that were here before under another instance.

        Where more than one device of the service has the identity, gone or here, none of them is taken for another.
        """
        if not self._since:
            return []
        found = []
        gone = {key[0] for key, device in devices.items() if not device.connected}
        for new, since in list(self._since.items()):
            if now - since > WATCH or new not in devices:
                del self._since[new]
                continue
            if new[0] not in gone:
                continue
            who = identity(devices[new])
            if who is None:
                continue
            same = [key for key, d in devices.items() if key[0] == new[0] and key != new and identity(d) == who]
            if len(same) == 1 and not devices[same[0]].connected:
                del self._since[new]
                found.append((same[0], new))
        return found
