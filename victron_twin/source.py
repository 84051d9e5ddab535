"""The documents of one GX's thing: those of its twin, and victron-twin about the component itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from victron_twin.commands.service import CommandService
from victron_twin.twin.flat import Flat, Path
from victron_twin.twin.sheet import Sheet
from victron_twin.twin.summary import SHADOW, summary
from victron_twin.twin.twin import Twin

#: What victron-twin repeats of other shadows, by its own field.
REPEATED: Mapping[str, tuple[str, Path]] = {
    "siteName": ("victron-system", ("systemName",)),
    "gxModel": ("victron-system", ("model",)),
    "gxFirmware": ("victron-system", ("firmware",)),
    "soc": ("victron-battery", ("soc",)),
}


class SiteSource:
    """What :class:`~victron_twin.shadows.sync.ShadowSync` keeps for one thing (``thing``, once it is known).

    ``facts(thing)`` tells the rest of victron-twin, by its fields' names.
    """

    def __init__(self, twin: Twin, facts: Callable[[str], Mapping[str, Any]], commands: CommandService) -> None:
        self.twin = twin
        self.thing = ""
        self._facts = facts
        self._commands = commands
        self._told: dict[str, Any] = {}
        self._summary = summary(twin.catalog, {})

    def sheets(self, now: float) -> Mapping[str, Sheet]:
        sheets = self.twin.sheets(now)
        none: Flat = {}
        repeated = {
            name: (sheets[shadow].values if shadow in sheets else none).get(path)
            for name, (shadow, path) in REPEATED.items()
        }
        told = {**repeated, **self._facts(self.thing)}
        if told != self._told:
            self._told, self._summary = told, summary(self.twin.catalog, told)
        sheets[SHADOW] = self._summary
        return self._commands.over(self.thing, sheets)

    def restore(self, shadow: str, reported: Mapping[str, Any]) -> None:
        if shadow != SHADOW:
            self.twin.restore(shadow, reported)
        self._commands.restore(self.thing, shadow, reported)
