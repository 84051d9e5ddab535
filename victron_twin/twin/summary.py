"""victron-twin: one flat shadow that tells which site is ill."""

from __future__ import annotations

from collections.abc import Mapping

from victron_twin.catalog import Catalog

from .readings import LONGEST_TEXT, Unreadable, Value, fit
from .sheet import Sheet

SHADOW = "victron-twin"


def summary(catalog: Catalog, facts: Mapping[str, object]) -> Sheet:
    """The sheet of victron-twin out of what the services know, by the names of the catalogue's rows.

    It is not changed any more. A fact that is None, or of a type that its row does not have, is left out; a long text
    is cut.
    """
    sheet = Sheet(followed=True)
    for row in catalog.fields(SHADOW):
        fact = facts.get(row.name)
        if isinstance(fact, str) and len(fact) > LONGEST_TEXT:
            fact = fact[: LONGEST_TEXT - 3] + "..."
        try:
            value: Value = fit(fact, row, catalog)
        except Unreadable:
            continue
        if value is not None:
            path = tuple(row.name.split("."))
            sheet.values[path] = value
            sheet.fields[path] = row
    return sheet
