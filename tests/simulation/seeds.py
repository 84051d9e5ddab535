"""How many seeds a simulation runs with; ``VICTRON_TWIN_SEEDS`` says otherwise."""

from __future__ import annotations

import os

_WANTED = os.environ.get("VICTRON_TWIN_SEEDS")
FAST = 8


def few(count: int = FAST) -> range:
    """Those of the fast tests."""
    return range(min(count, int(_WANTED)) if _WANTED else count)


def more(count: int) -> range:
    """Those that are run once, on the newest Python."""
    return range(FAST, int(_WANTED) if _WANTED else count)
