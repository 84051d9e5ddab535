"""The pieces that the page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from victron_twin.catalog import Catalog
from victron_twin.catalog.model import Field
from victron_twin.health import Health
from victron_twin.shadows.parts import Source
from victron_twin.twin.flat import Path, dotted, nest, within

#: Fields of this priority stand at the top of their table; the rest can be unfolded.
FIRST = 9


class Pieces:
    """Called, it gives everything by name, in the order in which a page that has just opened needs it.

    ``health`` is the report; ``fields/<thing>/<shadow>`` what is said of a shadow's fields (it rarely changes), and
    ``shadow/<thing>/<shadow>`` the shadow as the twin says it now, with its version and why it cannot be written.
    """

    def __init__(self, catalog: Catalog, health: Health, sources: Mapping[str, Source]) -> None:
        self._health = health
        self._sources = sources
        self._titles = {name: kind.title for name, kind in catalog.shadows.items()}
        rows = [row for name in catalog.shadows for row in catalog.fields(name)]
        self._order = {(row.shadow, row.name): number for number, row in enumerate(rows)}

    def __call__(self) -> dict[str, Any]:
        sync = self._health.sync
        known = {(shadow.thing, shadow.name): shadow for shadow in sync.shadows()}
        now = sync.clock.seconds()
        pieces: dict[str, Any] = {"health": self._health.report()}
        for thing, source in self._sources.items():
            sheets = source.sheets(now)
            for order, name in enumerate(self._titles):
                if name not in sheets:
                    continue
                sheet, shadow = sheets[name], known.get((thing, name))
                pieces[f"fields/{thing}/{name}"] = {
                    "thing": thing,
                    "name": name,
                    "title": self._titles[name],
                    "order": order,
                    "fields": self._fields(sheet.fields),
                }
                pieces[f"shadow/{thing}/{name}"] = {
                    "thing": thing,
                    "name": name,
                    "version": shadow.ledger.version if shadow is not None else 0,
                    "problem": shadow.problem if shadow is not None else "",
                    "reported": nest(sheet.values),
                }
        return pieces

    def _fields(self, rows: Mapping[Path, Field]) -> dict[str, dict[str, Any]]:
        """By name and in the catalogue's order; those of all devices of the shadow as one."""
        by_name = {dotted(within(path)): row for path, row in rows.items()}

        def place(name: str) -> tuple[int, str]:
            row = by_name[name]
            return self._order[row.shadow, row.name], name

        return {
            name: {
                "title": by_name[name].title,
                "unit": by_name[name].unit,
                "first": by_name[name].priority >= FIRST,
            }
            for name in sorted(by_name, key=place)
        }
