"""What every D-Bus path means: data tables, their loader, the generated schemas.

Tables (CSV, UTF-8): ``shadows.csv``, ``placeholders.csv``, ``products.csv``, ``enums/*.csv``, ``error_ids.csv``, one
``fields/<service>.csv`` a service, whose columns are those of :class:`~victron_twin.catalog.model.Field`, then
``commands.csv`` for what may be written, and ``ignored.csv`` for what is left out. A new device or point is a row, not
code: docs/adding-a-device.md.
"""

from .catalog import Binding, Catalog, Match
from .loader import load
from .model import CatalogError, Field, Kind, ShadowKind, Source

__all__ = ["Binding", "Catalog", "CatalogError", "Field", "Kind", "Match", "ShadowKind", "Source", "load"]
