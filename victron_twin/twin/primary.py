"""Which device of a service stands at the top of its shadow.

Configured; else what the GX names now; else the remembered one, also while it is away; else the lowest instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
