"""The component's whole life as its recipe has it: built, installed without a network, run under a nucleus, ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.emulators.process import NucleusProcess
from tests.mosquitto import HOST, free_port
from tests.program import Program
from tests.service import end, wait_until

from .lifecycle import Installation
from .parts import COMPONENTS, ROOT, Component

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PASSWORD = "gx-5c1e-password"
#: What a component finds: nothing of what is configured on this machine, no way out, and a Python.
BARE = {
    "PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


@pytest.fixture(scope="module")
def installation(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    installation = Installation(tmp_path_factory.mktemp("core"), build)
    done = installation.install(BARE)
    assert done.returncode == 0, done.stdout + done.stderr
    return installation


@pytest.fixture
def gx(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A simulated GX; what the component's configuration says of it."""
    port = free_port()
    options = ("--port", str(port), "--password", PASSWORD, "--folder", str(tmp_path / "gx"))
    with Program(tmp_path / "simulate.log", "simulate", *options) as program:
        program.wait_for("listens")
        yield {"host": HOST, "port": str(port), "password": PASSWORD}


def test_a_bundle_has_everything_for_its_target(build: Path) -> None:
    (archive,) = build.glob("artifacts/*/*/*.zip")
    names = zipfile.ZipFile(archive).namelist()
    assert {"install.sh", "python.sh", "pythons"} < set(names)
    wheels = {Path(name).name.partition("-")[0].lower() for name in names if name.endswith(".whl")}
    assert {"victron_twin", "twisted", "awsiotsdk", "awscrt", "cryptography"} < wheels
    assert not {"pytest", "boto3", "aws_cdk_lib"} & wheels


def test_a_python_that_the_bundle_has_nothing_for_is_named(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "pythons").write_text("3.99\n")
    for file in ("deploy/install.sh", "scripts/python.sh"):
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        ["sh", "../install.sh"],
        cwd=tmp_path / "work",
        env=BARE,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.endswith("is the newest Python here that was found; this bundle is for Python 3.99\n")


@pytest.mark.parametrize("component", COMPONENTS, ids=["java", "lite"])
def test_under_a_nucleus_that_allows_what_the_recipe_does(
    component: Component, installation: Installation, gx: dict[str, Any], tmp_path: Path
) -> None:
    """Both install and run alike, as the tests of the recipes say: the one installation serves for both."""
    installation.forget()
    port, log = free_port(), tmp_path / "component.log"
    configuration = tmp_path / "configuration.json"
    # Scalars can come as texts.
    allowed = {"allow": "victron-vebus.mode=Charger Only"}
    merge = {"gx": gx, "http": f"tcp:{port}:interface={HOST}", "commands": allowed}
    configuration.write_text(json.dumps({**component.defaults, **merge}))
    arguments = ["--configuration", str(configuration), "--recipe", str(component.folder / "recipe.yaml")]
    side, backend = ("cloud", "greengrass-mqtt") if component.lite else ("local", "greengrass")
    if component.lite:
        arguments.append("--lite")
    with NucleusProcess(tmp_path / "ipc.socket", *arguments) as nucleus:

        def document(shadow: str) -> Any:
            return nucleus.asked(f"show {shadow}")[side]

        def versions() -> dict[str, int]:
            return {shadow: document(shadow)["version"] for shadow in nucleus.asked("shadows")}

        def filled() -> bool:
            assert process.poll() is None, log.read_text()
            return {"victron-battery", "victron-vebus"} <= set(nucleus.asked("shadows"))

        def received() -> int:
            """When the last value came from the GX, in ms."""
            with urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
                return int(json.load(answer)["lastDataReceived"])

        process = installation.run({**BARE, **nucleus.environment}, log)
        try:
            wait_until(filled, "shadows")
            assert f"the backend is {backend} (" in log.read_text()
            assert nucleus.asked("states") == ["RUNNING"]
            nucleus.ask('desire victron-vebus {"mode": "Charger Only"}')
            wait_until(
                lambda: document("victron-vebus")["state"]["reported"]["mode"] == "Charger Only", "the desired mode"
            )

            # From now on changes would wait for long, so that some do when the end comes.
            nucleus.ask('configure {"cadence": {"critical": "600", "normal": "600", "slow": "600", "batch": "600"}}')
            wait_until(lambda: "taken over" in log.read_text(), "the new cadence")
            before, then = versions(), received()
            wait_until(lambda: received() >= then + 5000, "values of some seconds")
            process.terminate()
            assert process.wait(5) == 0
            assert sum(versions().values()) > sum(before.values())
        finally:
            end(process)
        wait_until(lambda: nucleus.asked("status")["settled"], "all is synchronized")
        assert nucleus.asked("status")["lost"] == []
        for shadow in nucleus.asked("shadows"):
            shown = nucleus.asked(f"show {shadow}")
            assert shown["cloud"]["state"]["reported"] == shown[side]["state"]["reported"]
    said = log.read_text()
    assert "Traceback" not in said
    complaints = [line for line in said.splitlines() if line.split()[1] in ("warn", "error", "critical")]
    # Nucleus lite has no updates that could be put off.
    assert not [line for line in complaints if not (component.lite and "cannot be put off" in line)]
