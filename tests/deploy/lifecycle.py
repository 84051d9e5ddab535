"""A core device's folders with the component in them, and what a nucleus does with its recipe."""

from __future__ import annotations

import platform
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

#: What recipes call this machine.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "aarch64"}.get(platform.machine(), "")


class Installation:
    """What ``deploy/build.sh`` made, unpacked below ``root`` as a nucleus unpacks it; ``work`` is the work folder."""

    def __init__(self, root: Path, build: Path) -> None:
        recipe: Mapping[str, Any] = yaml.safe_load((build / "recipes" / "recipe.yaml").read_text())
        self.name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        (manifest,) = [each for each in recipe["Manifests"] if each["Platform"]["architecture"] == ARCHITECTURE]
        self._lifecycle: Mapping[str, Any] = manifest["Lifecycle"]
        self.decompressed = root / "packages" / "artifacts-unarchived" / self.name / version
        for artifact in manifest["Artifacts"]:
            archive = build / "artifacts" / self.name / version / artifact["Uri"].rpartition("/")[2]
            with zipfile.ZipFile(archive) as content:
                content.extractall(self.decompressed / archive.stem)
        self.work = root / "work" / self.name
        self.work.mkdir(parents=True)

    def install(self, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        step = self._lifecycle["install"]
        return subprocess.run(
            self._command("install"),
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=step["Timeout"],
            check=False,
        )

    def forget(self) -> None:
        """As after the installation: nothing of what an earlier run left."""
        for path in self.work.iterdir():
            if path.name != "venv":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, environment: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
        with output.open("wb") as log:
            return subprocess.Popen(
                self._command("run"),
                cwd=self.work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _command(self, step: str) -> list[str]:
        """A nucleus gives the script to a shell, its variables filled in."""
        script = str(self._lifecycle[step]["Script"])
        return ["sh", "-c", script.replace("{artifacts:decompressedPath}", str(self.decompressed))]
