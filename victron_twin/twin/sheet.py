"""One shadow's reported section, as the twin says it now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from victron_twin.catalog.model import Cadence, Field

from .flat import Flat, Path

#: The twin's own leaves and how soon a change of them is worth a write; None: never by itself.
OWN: Mapping[str, Cadence | None] = {
    "connected": Cadence.CRITICAL,
    "since": Cadence.CRITICAL,
    "deviceInstance": Cadence.CRITICAL,
    "source": Cadence.CRITICAL,
    "missing": Cadence.NORMAL,
    "lastUpdate": None,
}


@dataclass(slots=True, eq=False)
class Sheet:
    """The leaves, and the catalogue's row of each that is not the twin's own.

    A sheet that is ``followed`` keeps its leaves for as long as it lives, and only their values change, by :meth:`set`:
    who has seen it before looks at what changed since. Of any other all has to be looked at.
    """

    values: Flat = field(default_factory=dict)
    fields: dict[Path, Field] = field(default_factory=dict)
    followed: bool = False
    revision: int = 0
    _stamps: dict[Path, int] = field(default_factory=dict)  # by the age of the last change, oldest first

    def set(self, path: Path, value: Any) -> None:
        """Another value for a leaf that is there."""
        self.values[path] = value
        self.revision += 1
        self._stamps.pop(path, None)
        self._stamps[path] = self.revision

    def changed_since(self, revision: int) -> Iterator[Path]:
        """The leaves that were set after a revision."""
        for path, at in reversed(self._stamps.items()):
            if at <= revision:
                return
            yield path
