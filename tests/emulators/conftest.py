"""What the tests of the emulators share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.asynchronous import wait

from .world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    wait(Deferred.fromCoroutine(world.stop()))
