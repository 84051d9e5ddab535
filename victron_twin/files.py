"""Small files of the state folder, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from .state import StateError


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a power cut leaves the old content or the new."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, an empty one where there is no file. Raises StateError for a corrupt one."""
    try:
        read = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read ({error}): move it away, it is made anew") from None
    if not isinstance(read, dict):
        raise StateError(f"{path} holds no JSON object: move it away, it is made anew")
    return read


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, readable for its owner alone."""
    write(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
