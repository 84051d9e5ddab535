"""How Shadow Manager puts the JSON of shadows together: not as the cloud does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from victron_twin.twin.shadow import same

Object = dict[str, Any]
Path = tuple[str, ...]


def nothing(value: Any) -> bool:
    """Null, an empty object and an absent key are one."""
    return value is None or value == {}


def merged(held: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    """``held`` after a patch. What is nothing in the patch removes, also an empty object does.

    A null for a key that is not held leaves no trace: that is how nulls get lost where patches are merged.
    """
    result = dict(held)
    for key, new in patch.items():
        old = result.get(key)
        if nothing(new):
            if not nothing(old):
                del result[key]
        elif isinstance(new, dict) and (nothing(old) or isinstance(old, dict)):
            result[key] = merged(old or {}, new)
            if nothing(old) and not result[key]:
                result.pop(key)
        else:
            result[key] = new
    return result


def reconciled(local: Any, cloud: Any, synced: Any, cloud_wins: bool) -> Any:
    """What both sides come to who have parted since they were last in sync: what has changed on one side, else as one
    of them has it. None is what is not there."""
    if all(isinstance(side, dict) for side in (local, cloud, synced)):
        result = {}
        for key in local | cloud:
            value = reconciled(local.get(key), cloud.get(key), synced.get(key), cloud_wins)
            if value is not None:
                result[key] = value
        return result
    local_moved, cloud_moved = (not _equal(side, synced) for side in (local, cloud))
    return cloud if cloud_moved and (cloud_wins or not local_moved) else local


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """The patch that makes one the other, with nulls for what goes."""
    patch: Object = dict.fromkeys(before.keys() - after.keys())
    for key, new in after.items():
        old = before.get(key)
        if isinstance(new, dict) and isinstance(old, dict) and new:
            inner = difference(old, new)
            if inner:
                patch[key] = inner
        elif not _equal(old, new):
            patch[key] = new
    return patch


def leaves(section: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf with its path; an array is one, and an empty object is."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def found(section: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    return section


def _equal(one: Any, other: Any) -> bool:
    return one is other if one is None or other is None else same(one, other)
