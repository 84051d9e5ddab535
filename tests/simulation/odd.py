"""A van whose settings have what no table of the catalogue knows, and the configuration that lets it be written."""

from __future__ import annotations

from typing import Any

from victron_twin.simulator.bus import Value
from victron_twin.simulator.rules import Rule
from victron_twin.simulator.site import Site

VALUES: dict[str, Value] = {"Bound": 5, "Free": 5, "Text": "a", "Open": 1}

#: The van's settings that are shown and may be written, and what is never written whatever is configured.
CONFIG = """
raw = ["settings/Settings/Odd/*", "solarcharger/Link/*"]
[commands]
raw = ["settings/Settings/Odd/*", "solarcharger/Link/*"]
limits = ["victron-settings.raw.Settings/Odd/Free=0..10"]
"""


def odd_van(*args: Any, **more: Any) -> Site:
    """Its ``Bound`` is published as 0 to 20, ``Free`` and ``Open`` are numbers without bounds."""
    made = Site.van(*args, **more)
    settings = made.bus["settings/0"]
    for name, value in VALUES.items():
        settings.put(f"/Settings/Odd/{name}", value)
        settings.rules = {**settings.rules, f"/Settings/Odd/{name}": Rule(text=isinstance(value, str))}
    settings.ranges = {**settings.ranges, "/Settings/Odd/Bound": (0.0, 20.0)}
    return made
