"""What the tests of the deployment share: the two components, and scripts that are in no package."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Policy:
    """One of a recipe's ``accessControl``."""

    service: str
    id: str
    operations: list[str]
    resources: list[str]


@dataclass(frozen=True)
class Component:
    """A recipe and its gdk-config.json."""

    folder: Path
    lite: bool

    @property
    def recipe(self) -> Mapping[str, Any]:
        content: Mapping[str, Any] = yaml.safe_load((self.folder / "recipe.yaml").read_text())
        return content

    @property
    def name(self) -> str:
        return str(self.recipe["ComponentName"])

    @property
    def gdk(self) -> Mapping[str, Any]:
        content: Mapping[str, Any] = json.loads((self.folder / "gdk-config.json").read_text())
        return content

    @property
    def defaults(self) -> Mapping[str, Any]:
        content: Mapping[str, Any] = self.recipe["ComponentConfiguration"]["DefaultConfiguration"]
        return content

    @property
    def control(self) -> Mapping[str, Mapping[str, Any]]:
        content: Mapping[str, Mapping[str, Any]] = self.defaults["accessControl"]
        return content

    def policies(self) -> Iterator[Policy]:
        for service, policies in self.control.items():
            for name, policy in policies.items():
                yield Policy(service, name, policy["operations"], policy["resources"])


JAVA, LITE = Component(ROOT, lite=False), Component(DEPLOY / "lite", lite=True)
COMPONENTS = [JAVA, LITE]


def script(name: str) -> dict[str, Any]:
    """The names in one of ``deploy``'s scripts."""
    return runpy.run_path(str(DEPLOY / name))
