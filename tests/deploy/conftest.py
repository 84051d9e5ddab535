"""The bundle that the integration tests share: it takes a network and half a minute."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .lifecycle import ARCHITECTURE
from .parts import JAVA, script


def need(condition: object, what: str) -> None:
    """Skip with a reason where something is missing; in CI that is a failure instead."""
    if not condition:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {what}")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``greengrass-build`` of this checkout, for this architecture and Python alone; made once for all workers."""
    need(find_spec("uv"), "uv: pip install uv")
    need(ARCHITECTURE, "x86-64 or aarch64")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "component"
    folder.mkdir(exist_ok=True)
    target = folder / "greengrass-build"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            for name in ("gdk-config.json", "recipe.yaml"):
                shutil.copy(JAVA.folder / name, folder)
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            script("build.py")["build"](folder, [ARCHITECTURE], [version])
            (folder / "built").touch()
    return target
