"""A section of a shadow as a flat map from the path of each leaf, and back.

``{"pv": {"power": 153.1}}`` is ``{("pv", "power"): 153.1}``. Documents are compared, chosen and cut in this form,
and nested only where they leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Path = tuple[str, ...]
Flat = dict[Path, Any]


def flatten(section: Mapping[str, Any], above: Path = ()) -> Flat:
    """The leaves of a section. An empty object has none; a list is a leaf."""
    flat: Flat = {}
    for key, value in section.items():
        path = (*above, key)
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        else:
            flat[path] = value
    return flat


def nest(flat: Mapping[Path, Any]) -> dict[str, Any]:
    """The section whose leaves these are."""
    section: dict[str, Any] = {}
    for path, value in flat.items():
        inner = section
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return section


def size(flat: Mapping[Path, Any]) -> int:
    """Bytes of the section as compact JSON."""
    return len(orjson.dumps(nest(flat)))


def dotted(path: Iterable[str]) -> str:
    """``devices.280.pv.power``."""
    return ".".join(path)
