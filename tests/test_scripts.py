"""The scripts behind make: a Python that will do is found, and where there is none one sentence says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

GOOD = 'echo 3.{minor} "$0"'
OLD = 'echo 3.9 "$0"; exit 10'
BARE = 'echo 3.11 "$0"; exit 1'
#: A name that pyenv puts on PATH for a version that is not switched on.
SHIM = "echo 'pyenv: command not found' >&2; exit 127"


class Machine:
    """A machine that has nothing but a shell, a few of its tools and what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.home = folder / "bin", folder / "home"
        self.bin.mkdir()
        self.home.mkdir()
        for tool in ("id", "sh", "tr"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)

    def program(self, name: str, script: str, folder: str = "bin") -> str:
        path = self.bin.parent / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def python(self, minor: int, folder: str = "bin") -> str:
        return self.program(f"python3.{minor}", GOOD.format(minor=minor), folder)

    def find(self, which: str = "newest") -> subprocess.CompletedProcess[str]:
        environ = {"PATH": str(self.bin), "HOME": str(self.home)}
        command = ["sh", str(ROOT / "scripts" / "python.sh"), which]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)

    def complaint(self) -> str:
        """The one sentence that is said."""
        done = self.find()
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        return line


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


SUDO = "" if os.geteuid() == 0 else "sudo "


class TestFound:
    def test_newest_and_oldest(self, machine: Machine) -> None:
        found = {minor: machine.python(minor) for minor in (9, 10, 12, 13)}
        machine.program("python3", GOOD.format(minor=11))
        assert machine.find("newest").stdout.strip() == found[13]
        assert machine.find("oldest").stdout.strip() == found[10]

    def test_only_one(self, machine: Machine) -> None:
        found = machine.program("python3", GOOD.format(minor=14))
        assert machine.find("newest").stdout == machine.find("oldest").stdout == f"{found}\n"

    def test_what_does_not_run_is_passed_over(self, machine: Machine) -> None:
        machine.program("python3.13", SHIM)
        machine.program("python3.12", BARE)
        found = machine.python(11)
        assert machine.find().stdout.strip() == found

    def test_pyenvs_own_folders(self, machine: Machine) -> None:
        machine.program("python3.13", SHIM)
        found = machine.python(13, "home/.pyenv/versions/3.13.0/bin")
        assert machine.find().stdout.strip() == found

    def test_a_shim_of_one_that_is_switched_on(self, machine: Machine) -> None:
        machine.program("python3.13", "echo 3.13 /real/bin/python3.13")
        assert machine.find().stdout.strip() == "/real/bin/python3.13"
        assert machine.find("path").stdout.strip() == f"/real/bin:{machine.bin}"

    def test_a_path_with_each_of_them_first(self, machine: Machine) -> None:
        machine.program("python3.12", SHIM)
        places = [str(Path(machine.python(minor, f"home/.pyenv/versions/{minor}/bin")).parent) for minor in (10, 12)]
        assert machine.find("path").stdout.strip() == ":".join([*places, str(machine.bin)])

    def test_a_folder_with_a_blank(self, machine: Machine) -> None:
        found = machine.python(13, "home/.pyenv/versions/my 3.13/bin")
        assert machine.find().stdout.strip() == found


class TestMissing:
    def debian(self, machine: Machine, *packages: str) -> None:
        machine.program("apt-get", "exit 1")
        known = "|".join(packages) or "-"
        machine.program("apt-cache", f'case "$2" in {known}) exit 0;; *) exit 100;; esac')

    def test_debian_without_ensurepip(self, machine: Machine) -> None:
        self.debian(machine, "python3", "python3.11-venv")
        machine.program("python3", BARE)
        assert machine.complaint().endswith(f" this brings it: {SUDO}apt-get install python3.11-venv")

    def test_debian_with_an_old_python(self, machine: Machine) -> None:
        self.debian(machine, "python3", "python3.11-venv")
        machine.program("python3", OLD)
        complaint = machine.complaint()
        assert "3.10 or newer is needed and this machine has 3.9" in complaint
        assert complaint.endswith(f"{SUDO}apt-get install python3.11 python3.11-venv")

    def test_an_old_debian(self, machine: Machine) -> None:
        self.debian(machine, "python3", "python3.9-venv")
        machine.program("python3", OLD)
        assert machine.complaint().endswith("uv python install 3.13")

    def test_a_fresh_debian_knows_no_packages_yet(self, machine: Machine) -> None:
        self.debian(machine)
        expected = f"has none; this brings one: {SUDO}apt-get update && {SUDO}apt-get install python3 python3-venv"
        assert machine.complaint().endswith(expected)

    @pytest.mark.parametrize(
        ("manager", "command"), [("dnf", f"{SUDO}dnf install python3.12"), ("brew", "brew install python@3.13")]
    )
    def test_others(self, machine: Machine, manager: str, command: str) -> None:
        machine.program(manager, "exit 1")
        assert machine.complaint().endswith(command)

    def test_what_uv_installs_is_found(self, machine: Machine) -> None:
        assert f"{machine.home}/.local/bin/uv python install 3.13" in machine.complaint()
        found = machine.python(13, "home/.local/bin")
        assert machine.find().stdout.strip() == found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that needs nothing, with our scripts."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in ("setup.cfg", "pyproject.toml", "tests/lowest.txt"):
        (folder / name).touch()
    return folder


@pytest.mark.integration
class TestEnvironment:
    @pytest.fixture
    def make(self, project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
        def run(*pip_arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["sh", str(project / "scripts" / "venv.sh"), ".venv", "newest", *pip_arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

        return run

    def test_made_once_and_again_when_what_it_is_made_of_changes(
        self, project: Path, make: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        first = make("pip")
        assert (first.returncode, first.stderr) == (0, "")
        assert [line.split()[0] for line in first.stdout.splitlines()] == ["Making", "Installing"]
        again = make("pip")
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
        (project / "setup.cfg").write_text("[metadata]\n")
        assert make("pip").stdout == first.stdout

    def test_a_failure_shows_the_end_of_the_log_and_is_tried_again(
        self, project: Path, make: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        for _ in range(2):
            done = make("./absent")
            assert done.returncode == 1
            assert "absent" in done.stderr
            assert done.stderr.endswith("the whole log is in .cache/venv.log.\n")
            assert (project / ".cache" / "venv.log").exists()
