"""A section of a shadow as a flat map from the path of each leaf, and back.

``{"pv": {"power": 153.1}}`` is ``{("pv", "power"): 153.1}``. Documents are compared, chosen and cut in this form,
and nested only where they leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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


def overlaid(section: Mapping[str, Any], flat: Mapping[Path, Any]) -> dict[str, Any]:
    """A section with these leaves set, whatever stood in their way; None removes."""
    made = dict(section)
    for path, value in flat.items():
        key, *rest = path
        if rest:
            inner = made.get(key)
            made[key] = overlaid(inner if isinstance(inner, Mapping) else {}, {tuple(rest): value})
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def plain(value: Any) -> Any:
    """What others have written into a document, as every writer of JSON takes it.

    A whole number of more than 64 bits is a float, half a surrogate pair ``?``; a key with one is left out.
    """
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items() if key.isascii() or key == plain(key)}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if type(value) is int and not -(2**63) <= value < 2**64:
        try:
            return float(value)
        except OverflowError:
            return "a number of more than 308 digits"
    return value


def within(path: Path) -> Path:
    """A field's path in its device: without ``devices.<instance>`` before it."""
    return path[2:] if path[0] == "devices" else path


def dotted(path: Iterable[str]) -> str:
    """``devices.280.pv.power``."""
    return ".".join(path)
