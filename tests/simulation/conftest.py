"""A simulated process keeps its files in memory where the machine can: nothing here is about how fast a disk is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    if not MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="victron-twin-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
