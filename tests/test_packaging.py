"""What is shipped: the plugin, the packages and their data; and that documents agree with the code."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import victron_twin
from victron_twin.config import Config

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def listed(section: str, option: str) -> list[str]:
    return SETUP[section][option].split()


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestMetadata:
    def test_nothing_makes_twisted_a_package_of_ours(self) -> None:
        """With an ``__init__.py`` below ``twisted/`` all of Twisted would be hidden."""
        assert [path.name for path in (ROOT / "twisted").rglob("*.py")] == ["victron_twin_plugin.py"]

    def test_every_package_is_listed(self) -> None:
        found = {
            str(init.parent.relative_to(ROOT)).replace("/", ".") for init in ROOT.glob("victron_twin/**/__init__.py")
        }
        assert set(listed("options", "packages")) == found | {"twisted.plugins"}
        assert SETUP["options"]["package_dir"].split() == ["=", "."]

    def test_the_version_is_the_codes(self) -> None:
        assert importlib.metadata.version("victron-twin") == victron_twin.__version__

    def test_the_lowest_versions_are_the_ones_promised(self) -> None:
        lowest = (ROOT / "tests" / "lowest.txt").read_text().split()
        promised = {re.sub(r"\[.*\]", "", name).partition(">=")[::2] for name in listed("options", "install_requires")}
        for requirement in lowest:
            name, _, version = requirement.partition("==")
            (bound,) = [bound for promise, bound in promised if promise == name]
            assert version.startswith(bound.partition(",")[0])

    def test_the_demo_installs_neither_awss_sdk_nor_test_tools(self) -> None:
        assert not re.search("awsiotsdk|pytest|boto", SETUP["options"]["install_requires"])


class TestDocuments:
    @pytest.mark.parametrize("document", ["README.md", "docs/configuration.md"])
    def test_the_table_of_keys_is_current(self, document: str) -> None:
        script = runpy.run_path(str(ROOT / "scripts" / "config_tables.py"))
        text = (ROOT / document).read_text()
        assert script["written"](text, script["TABLES"][document]) == text, "run: python scripts/config_tables.py"

    def test_links_lead_somewhere(self) -> None:
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
            for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
                assert (document.parent / link).exists(), f"{document.name}: {link}"

    def test_the_example_file_is_one(self, tmp_path: Path) -> None:
        (example, several) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text(), re.DOTALL)
        (tmp_path / "gx-password").write_text("x")
        for number, content in enumerate((example, several)):
            file = tmp_path / f"{number}.toml"
            file.write_text(content)
            assert len(Config.load({"config": str(file)}, {}).gx) == number + 1


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that are shipped, in a folder where a build can leave its traces."""
    folder: Path = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in ("victron_twin", "twisted"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Path]:
    """Make a virtual environment with nothing but the project in it; what that needs comes from this one."""

    def make(*pip_arguments: str | Path) -> Path:
        folder = tmp_path / "venv"
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--no-deps", *pip_arguments, cwd=tmp_path)
        (site,) = folder.glob("lib/python*/site-packages")
        # A plain path: the .pth files there, which may install the project too, are not read.
        (site / "outer.pth").write_text(sysconfig.get_path("purelib"))
        return folder / "bin" / "python"

    return make


TWISTD = "from twisted.scripts.twistd import run; run()"


@pytest.mark.integration
class TestInstalled:
    def test_this_one_has_the_plugin(self) -> None:
        assert re.search(r"^ +victron-twin +A digital twin", run(sys.executable, "-c", TWISTD, "--help"), re.MULTILINE)

    def check(self, python: Path, home: Path, cwd: Path) -> None:
        where = run(python, "-c", "import victron_twin; print(victron_twin.__file__)", cwd=cwd)
        assert where.startswith(str(home))
        assert "victron-twin" in run(python, "-c", TWISTD, "--help", cwd=cwd)
        assert (
            run(python, "-c", TWISTD, "victron-twin", "--version", cwd=cwd).strip().endswith(victron_twin.__version__)
        )
        assert victron_twin.__version__ in run(python.parent / "victron-twin", "--version", cwd=cwd)

    def test_as_a_wheel(self, checkout: Path, environment: Callable[..., Path], tmp_path: Path) -> None:
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, checkout, cwd=tmp_path)
        (wheel,) = tmp_path.glob("*.whl")
        shipped = set(zipfile.ZipFile(wheel).namelist())
        written = {
            str(path.relative_to(checkout))
            for folder in ("victron_twin", "twisted")
            for path in (checkout / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert written - shipped == set()
        self.check(environment(wheel), tmp_path, tmp_path)

    def test_as_an_editable_install(self, checkout: Path, environment: Callable[..., Path], tmp_path: Path) -> None:
        self.check(environment("-e", checkout), checkout, tmp_path)
