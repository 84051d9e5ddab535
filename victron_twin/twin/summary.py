"""victron-twin: one flat shadow that tells which site is ill."""

from __future__ import annotations

from collections.abc import Mapping

from victron_twin.catalog import Catalog

from .readings import Unreadable, Value, fit
from .twin import Sheet

SHADOW = "victron-twin"


def summary(catalog: Catalog, facts: Mapping[str, object]) -> Sheet:
    """The sheet of victron-twin out of what the services know, by the names of the catalogue's rows.

    A fact that is None, or of a type that its row does not have, is left out.
    """
    sheet = Sheet()
    for row in catalog.fields(SHADOW):
        try:
            value: Value = fit(facts.get(row.name), row, catalog)
        except Unreadable:
            continue
        if value is not None:
            path = tuple(row.name.split("."))
            sheet.values[path] = value
            sheet.fields[path] = row
    return sheet
