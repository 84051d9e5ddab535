"""The service as a component: the real process with the SDK's real client, against the emulated nucleus."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.process import NucleusProcess
from tests.mosquitto import HOST, free_port
from tests.service import Service, end, wait_until

pytest.importorskip("awsiot")
pytestmark = pytest.mark.integration

RECIPE = Path(__file__).parents[2] / "recipe.yaml"
THE_SIX = {"system", "battery", "solarcharger", "vebus", "gps", "settings"}
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gx-AbCdEf"


@pytest.fixture
def nucleus(tmp_path: Path) -> Iterator[NucleusProcess]:
    with NucleusProcess(tmp_path / "nucleus.sock", "--recipe", str(RECIPE)) as process:
        yield process


def component(folder: Path, nucleus: NucleusProcess, *options: str, **environment: str) -> Service:
    return Service(folder, *options, environment={**nucleus.environment, **environment})


def reported(nucleus: NucleusProcess, shadow: str, side: str = "cloud") -> dict[str, Any]:
    document = nucleus.asked(f"show {shadow}")[side] or {}
    return dict(document.get("state", {}).get("reported", {}))


def filled(nucleus: NucleusProcess) -> bool:
    return {f"victron-{name}" for name in (*THE_SIX, "twin")} <= set(nucleus.asked("shadows"))


def told(nucleus: NucleusProcess, field: str, shadow: str = "victron-vebus") -> str:
    return str(reported(nucleus, shadow).get("commands", {}).get(field, {}).get("status", ""))


def test_its_life_with_shadow_manager(nucleus: NucleusProcess, tmp_path: Path) -> None:
    with component(tmp_path, nucleus, "--demo") as service:
        service.wait_until_healthy()
        assert service.get("/health")[1]["backend"] == "greengrass"
        assert "the backend is greengrass (run under Greengrass)" in service.log.read_text()
        wait_until(lambda: filled(nucleus), "shadows in the cloud")
        assert nucleus.asked("states") == ["RUNNING"]
        wait_until(lambda: service.get("/health")[1]["lastCloudSync"], "the time of the last sync")

        nucleus.ask('desire victron-vebus {"mode": "Charger Only"}')
        wait_until(lambda: told(nucleus, "mode") == "applied", "the command applied")
        assert reported(nucleus, "victron-vebus")["mode"] == "Charger Only"

        restarted_with_the_same_token(nucleus, service, tmp_path)
        status = nucleus.asked("status")
        assert (status["lost"], status["ratesExceeded"], status["oversized"]) == ([], 0, [])
        assert service.end() == 0


def restarted_with_the_same_token(nucleus: NucleusProcess, service: Service, folder: Path) -> None:
    """Shadows and cloud begin empty, as after a reinstallation: all is written again, without a restart of ours."""
    end(nucleus.process)
    nucleus.__enter__()
    wait_until(lambda: filled(nucleus), "shadows again")
    wait_until(lambda: reported(nucleus, "victron-vebus").get("mode") == "Charger Only", "the mode again")
    assert service.process.poll() is None


def test_a_token_that_is_refused_ends_it(nucleus: NucleusProcess, tmp_path: Path) -> None:
    with component(tmp_path, nucleus, "--demo") as service:
        service.wait_until_healthy()
        nucleus.ask("token another")
        nucleus.ask("drop")
        assert service.process.wait(60) != 0
        assert "token" in service.log.read_text().splitlines()[-1] or "refused" in service.log.read_text()


def test_a_configuration_that_changes(nucleus: NucleusProcess, tmp_path: Path) -> None:
    with component(tmp_path, nucleus, "--demo") as service:
        service.wait_until_healthy()
        log = service.log.read_text

        nucleus.ask('configure {"log_level": "debug", "cadence": {"normal": 2}}')
        wait_until(lambda: "taken over" in log(), "taken over")
        nucleus.ask('configure {"cadence": {"normal": "often"}}')
        wait_until(lambda: "The new configuration is refused, the one before stays: cadence.normal" in log(), "refused")

        nucleus.ask('configure {"cadence": null, "exclude": "gps/*"}')
        wait_until(lambda: "core, web, manhole begins anew" in log(), "begun anew")
        service.wait_until_healthy()
        assert nucleus.asked("states")[-1] == "RUNNING"
        assert service.end() == 0


def test_one_that_cannot_be_used_ends_it_at_the_start(nucleus: NucleusProcess, tmp_path: Path) -> None:
    nucleus.ask('configure {"backend": "cloud"}')
    with component(tmp_path, nucleus, "--demo") as service:
        assert service.process.wait(30) == 1
        assert "backend: 'cloud'" in service.log.read_text().splitlines()[-1]
    assert nucleus.asked("states") == ["ERRORED"]


def test_without_shadow_manager_it_takes_the_proxy(tmp_path: Path) -> None:
    with (
        NucleusProcess(tmp_path / "nucleus.sock", "--lite") as nucleus,
        component(tmp_path, nucleus, "--demo") as service,
    ):
        service.wait_until_healthy()
        assert service.get("/health")[1]["backend"] == "greengrass-mqtt"
        wait_until(lambda: filled(nucleus), "shadows in the cloud")
        for name in THE_SIX:
            section = reported(nucleus, f"victron-{name}")
            assert len(json.dumps(section, separators=(",", ":"), ensure_ascii=False).encode()) <= 1200
        nucleus.ask('desire victron-vebus {"mode": "Charger Only"}')
        wait_until(lambda: told(nucleus, "mode") == "applied", "the command applied")
        nucleus.ask("deaf")
        nucleus.ask("drop")
        nucleus.ask('desire victron-vebus {"mode": "On"}')
        wait_until(lambda: reported(nucleus, "victron-vebus")["mode"] == "On", "the command heard after all")
        assert nucleus.asked("status")["oversized"] == []
        assert service.end() == 0


@pytest.mark.parametrize("lite", [False, True])
def test_the_audit_log_at_a_topic(tmp_path: Path, lite: bool) -> None:
    with NucleusProcess(tmp_path / "nucleus.sock", *(["--lite"] if lite else [])) as nucleus:
        nucleus.ask('configure {"audit": {"topic": "fleet/{thing}/audit"}}')
        with component(tmp_path, nucleus, "--demo") as service:
            service.wait_until_healthy()
            wait_until(lambda: filled(nucleus), "shadows in the cloud")
            nucleus.ask('desire victron-vebus {"mode": "Charger Only"}')
            wait_until(lambda: nucleus.asked("messages"), "the steps at the topic")
            nucleus.ask("offline")
            nucleus.ask("drop")
            nucleus.ask("online")
            wait_until(lambda: told(nucleus, "mode") == "applied", "the command applied")
            nucleus.ask('desire victron-vebus {"mode": "On"}')
            wait_until(lambda: len(nucleus.asked("messages")) >= 2, "the next steps at the topic")
            assert service.end() == 0
        lines = []
        for topic, payload in nucleus.asked("messages"):
            assert topic == "fleet/victron-twin/audit"
            lines += json.loads(payload)["lines"]
        (file,) = (tmp_path / "state" / "demo" / "audit").glob("*.jsonl")
        stored = [json.loads(line) for line in file.read_text().splitlines()]
        assert lines == stored[: len(lines)]
        assert {"received", "written", "confirmed", "settled"} <= {line.get("step") for line in lines}
        mark = json.loads((tmp_path / "state" / "demo" / "audit.published").read_text())
        assert mark == {"line": lines[-1]["line"], "hash": lines[-1]["hash"]}


def test_the_password_is_a_secret_that_changes(tmp_path: Path) -> None:
    with NucleusProcess(tmp_path / "nucleus.sock") as nucleus:
        with_a_secret(nucleus, tmp_path)


def with_a_secret(nucleus: NucleusProcess, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "gx").mkdir()

    def gx(password: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "victron_twin.cli", "simulate", "--port", str(port), "--password", password],
            cwd=tmp_path / "gx",
            stdout=subprocess.DEVNULL,
        )

    nucleus.ask(f"secret {ARN} first")
    nucleus.ask(f'configure {{"gx": {{"host": "{HOST}", "port": "{port}", "password_secret": "{ARN}"}}}}')
    simulated = gx("first")
    try:
        with component(tmp_path, nucleus, VICTRON_TRUST="insecure") as service:
            service.wait_until_healthy()
            end(simulated)
            nucleus.ask(f"secret {ARN} second")
            simulated = gx("second")
            wait_until(lambda: service.get("/health")[0] == 503, "the GX is missed")
            wait_until(lambda: service.get("/health")[0] == 200, "logged in with the new one", 120)
            assert "second" not in service.log.read_text()
    finally:
        end(simulated)


def test_a_deployment_waits_for_nothing_where_no_command_is_under_way(nucleus: NucleusProcess, tmp_path: Path) -> None:
    with component(tmp_path, nucleus, "--demo") as service:
        service.wait_until_healthy()
        nucleus.ask("update one")
        wait_until(lambda: nucleus.asked("status")["deferred"] or nucleus.asked("status")["updated"], "answered")
        with urllib.request.urlopen(f"{service.url}/metrics") as answer:
            assert answer.status == 200
