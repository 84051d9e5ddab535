"""Small things that tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from victron_twin.catalog import load
from victron_twin.twin.flat import Path, nest

#: The package's own catalogue, which takes a while to read: once for all tests of a process.
CATALOG = load()


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip with a reason where a program is missing; in CI that is a failure instead."""
    missing = [p for p in programs if shutil.which(p) is None]
    if missing and os.environ.get("CI"):
        raise RuntimeError(f"CI must have {', '.join(missing)}")
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: apt-get install them")


def size(flat: Mapping[Path, Any]) -> int:
    """Bytes of a section of these leaves as compact JSON."""
    return len(orjson.dumps(nest(flat)))
