"""Which device of a service stands at the top of its shadow.

Configured; else what the GX names now; else the remembered one, also while it is away; else the lowest instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .devices import Device

#: A device that the GX names anew becomes the primary when it is still named after this long, in s.
SETTLE = 10.0

#: The system's own view of the battery, which fills the top of victron-battery where no battery service does.
SYSTEM_BATTERY = ("systembattery", "0")

Key = tuple[str, str]

ACTIVE_BATTERY = "/ActiveBatteryService"
VEBUS = "/VebusService"
GPS = "/GpsService"
MAPPING = "/ServiceMapping/"
_PREFIX = "com.victronenergy."

#: Paths of system/0 that tell the primaries; ``/ServiceMapping/*`` beside them.
NAMING = frozenset({ACTIVE_BATTERY, VEBUS, GPS})


def is_naming(path: str) -> bool:
    """Whether a path of system/0 is one of those that tell the primaries."""
    return path in NAMING or path.startswith(MAPPING)


def named(service: str, system: Mapping[str, Any]) -> Key | None:
    """The device that the GX names as its primary of a service, None where it names none.

    ``system`` holds the values of system/0 by path, only those that were heard. For a battery the answer is
    SYSTEM_BATTERY where the GX measures the battery by another service, or by none.
    """
    if service == "battery":
        if ACTIVE_BATTERY not in system:
            return None
        kind, _, instance = str(system[ACTIVE_BATTERY] or "").removeprefix(_PREFIX).partition("/")
        return ("battery", instance) if kind == "battery" and instance else SYSTEM_BATTERY
    bus_name = system.get({"vebus": VEBUS, "gps": GPS}.get(service, ""))
    return None if not bus_name else resolve(service, str(bus_name), system)


def resolve(service: str, bus_name: str, system: Mapping[str, Any]) -> Key | None:
    """``com.victronenergy.gps.ve_ttyACM0`` by ``/ServiceMapping/com_victronenergy_gps_0``."""
    prefix = f"{MAPPING}com_victronenergy_{service}_"
    for path, value in system.items():
        if value == bus_name and path.startswith(prefix):
            return service, path.removeprefix(prefix)
    return None


def choose(configured: Key | None, named_now: Key | None, remembered: Key | None, present: Iterable[Key]) -> Key | None:
    """The primary; None where there is no device at all."""
    return configured or named_now or remembered or min(present, key=_order, default=None)


def _order(key: Key) -> tuple[int, int, str]:
    service, instance = key
    return (0, int(instance), service) if instance.isdigit() else (1, 0, instance)


class Chooser:
    """The primaries of one GX, by service: found anew when something has changed that they depend on.

    ``changed(service, old, new)`` tells of each change, for whoever stores and logs it.
    """

    def __init__(
        self,
        configured: Mapping[str, Key],
        remembered: Mapping[str, Key],
        changed: Callable[[str, Key | None, Key], None],
    ) -> None:
        self.now: dict[str, Key] = dict(remembered)
        self.undecided = False
        self._configured = configured
        self._remembered = dict(remembered)
        self._changed = changed
        self._named_since: dict[str, tuple[Key, float]] = {}

    def is_configured(self, key: Key) -> bool:
        return key in self._configured.values()

    def restore(self, service: str, key: Key) -> None:
        """What an earlier run has shown at the top."""
        self._remembered.setdefault(service, key)
        self.now.setdefault(service, key)

    def moved(self, old: Key, new: Key) -> None:
        """A device is another instance now."""
        for service, key in self.now.items():
            if key == old and self._configured.get(service) != old:
                self.now[service] = self._remembered[service] = new
                self._changed(service, old, new)
        self.undecided = True

    def find(self, services: Iterable[str], devices: Mapping[Key, Device], now: float) -> list[tuple[str, Key]]:
        """The services whose primary is another from now on. What the GX names anew has to be named for a while."""
        self.undecided = False
        system = devices.get(("system", "0"))
        values = {path: slot.value for path, slot in system.slots.items() if slot.raw} if system else {}
        found = []
        for service in services:
            old = self.now.get(service)
            known = [key for key, d in devices.items() if key[0] == service and d.since and d.fields]
            present = [key for key in known if devices[key].connected] or known
            new = choose(self._configured.get(service), named(service, values), self._remembered.get(service), present)
            if new is None or new == old:
                self._named_since.pop(service, None)
            elif old is None or new == self._configured.get(service) or self._settled(service, new, now):
                self._named_since.pop(service, None)
                self.now[service] = self._remembered[service] = new
                found.append((service, new))
                self._changed(service, old, new)
        return found

    def _settled(self, service: str, new: Key, now: float) -> bool:
        """Whether this one has been named for long enough."""
        named_now, since = self._named_since.setdefault(service, (new, now))
        if named_now != new:
            self._named_since[service] = new, now
        if named_now == new and now - since >= SETTLE:
            return True
        self.undecided = True
        return False
