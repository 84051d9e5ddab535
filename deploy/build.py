"""Makes ``greengrass-build`` beside a ``gdk-config.json``: the recipe, and a zip for each architecture.

A zip holds ``install.sh`` and the wheels of everything that the component needs, for each Python that it supports, so
that a core device installs it without a network. Wheels for other machines than this one are only downloaded, never
built: what is not on the index as a wheel for one of them stops the build. ``uv`` finds out what each Python needs.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

DEPLOY = Path(__file__).resolve().parent
PROJECT = DEPLOY.parent

#: As recipes call them, and as wheels do. AWS's SDK has no wheels for 32-bit ARM.
ARCHITECTURES = {"amd64": "x86_64", "aarch64": "aarch64"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: The wheels are for glibc 2.28 or newer: Debian 10, RHEL 8, Ubuntu 20.04.
GLIBC_MINOR = 28
OLDEST_GLIBC_MINOR = 17  #: manylinux has no older ones that matter
#: What the project's own wheel is made of.
SOURCES = ("victron_twin", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def build(folder: Path, architectures: Iterable[str] = ARCHITECTURES, pythons: Iterable[str] = PYTHONS) -> Path:
    """Build what lies in the folder; gives its ``greengrass-build``. Raises CalledProcessError."""
    ((name, component),) = json.loads((folder / "gdk-config.json").read_text())["component"].items()
    version = component["version"]
    target = folder / "greengrass-build"
    shutil.rmtree(target, ignore_errors=True)
    recipes, artifacts = target / "recipes", target / "artifacts" / name / version
    recipes.mkdir(parents=True)
    artifacts.mkdir(parents=True)
    (recipes / "recipe.yaml").write_text(filled_in((folder / "recipe.yaml").read_text(), name, version))
    with TemporaryDirectory() as temporary:
        ours = own_wheel(Path(temporary))
        for architecture in architectures:
            content = Path(temporary, architecture)
            collect(content, ours, ARCHITECTURES[architecture], list(pythons))
            print(shutil.make_archive(str(artifacts / f"victron-twin-{architecture}"), "zip", content))
    return target


def filled_in(recipe: str, name: str, version: str) -> str:
    """The recipe under the name and version of the build's configuration, its policies too."""
    before = re.search(r"^ComponentName: (\S+)$", recipe, re.MULTILINE)
    if before is None:
        raise SystemExit("recipe.yaml has no line 'ComponentName: NAME'")
    # Not where the name goes on: another component's may begin with it.
    recipe = re.sub(rf"(?<![\w.-]){re.escape(before[1])}(?![\w.-])", name, recipe)
    return re.sub(r"^ComponentVersion: .*$", f'ComponentVersion: "{version}"', recipe, count=1, flags=re.MULTILINE)


def own_wheel(temporary: Path) -> Path:
    """The project's wheel, built from a copy: what an earlier build left beside the sources would get into it."""
    sources = temporary / "sources"
    sources.mkdir()
    for name in SOURCES:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, sources / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        else:
            shutil.copy(source, sources)
    run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", temporary, sources)
    (wheel,) = temporary.glob("*.whl")
    return wheel


def collect(content: Path, ours: Path, architecture: str, pythons: list[str]) -> None:
    """Fill the folder that a zip is made of."""
    content.mkdir()
    shutil.copy(DEPLOY / "install.sh", content)
    shutil.copy(PROJECT / "scripts" / "python.sh", content)
    (content / "pythons").write_text(", ".join(pythons) + "\n")
    minors = range(GLIBC_MINOR, OLDEST_GLIBC_MINOR - 1, -1)
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in minors] + [f"manylinux2014_{architecture}"]
    for python in pythons:
        needed = content.parent / f"{architecture}-{python}.txt"
        needed.write_text(
            run(
                *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"),
                *("--python-version", python, "--python-platform", f"{architecture}-manylinux_2_{GLIBC_MINOR}", "-"),
                stdin=f"victron-twin[greengrass] @ {ours.as_uri()}\n",
            )
        )
        run(
            *("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"),
            *("--implementation", "cp", "--python-version", python),
            *(argument for platform in platforms for argument in ("--platform", platform)),
            *("--dest", content / "wheels", "--requirement", needed),
        )


def run(module: str, *arguments: str | Path, stdin: str = "") -> str:
    """What a module of this Python prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the component whose gdk-config.json lies in this folder.")
    parser.add_argument("--architecture", action="append", choices=ARCHITECTURES, help="only for this, or these")
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only for this, or these")
    options = parser.parse_args()
    try:
        build(Path.cwd(), options.architecture or ARCHITECTURES, options.python or PYTHONS)
    except subprocess.CalledProcessError as error:
        print(f"the build has failed at {' '.join(map(str, error.cmd[2:4]))}: see above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
