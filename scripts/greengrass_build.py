"""What ``gdk component build`` runs: the recipe, and a zip with every wheel that the component needs.

The wheels fit the architecture and the Python version of the machine that builds them, so build on one like the core
device. Only the standard library and pip are used.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build(target: Path, *pip_arguments: str) -> Path:
    """Fill ``target`` (GDK's greengrass-build) and say where the zip is."""
    ((name, component),) = json.loads((ROOT / "gdk-config.json").read_text())["component"].items()
    artifacts = target / "artifacts" / name / component["version"]
    recipes = target / "recipes"
    for folder in (artifacts, recipes):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "recipe.yaml", recipes)
    with tempfile.TemporaryDirectory() as bundle:
        wheels = Path(bundle, "wheels")
        command = [sys.executable, "-m", "pip", "wheel", "--wheel-dir", str(wheels), *pip_arguments]
        subprocess.run(command, cwd=ROOT, check=True)
        return Path(shutil.make_archive(str(artifacts / "victron-twin"), "zip", bundle))


if __name__ == "__main__":
    print(build(ROOT / "greengrass-build", ".[greengrass]"))
