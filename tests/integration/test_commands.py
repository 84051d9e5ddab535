"""The round trip of a command with the AWS client unchanged: the real service, and a real GX simulator behind TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.program import Program
from tests.service import Service, wait_until

pytestmark = pytest.mark.integration

THING = "victron-twin"


class Cloud:
    """An application in the cloud, and what it sees."""

    def __init__(self, service: Service, state: Path) -> None:
        self.state = state
        self._service = service
        self._client = boto3.client(
            "iot-data",
            endpoint_url=service.url,
            region_name="eu-west-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def desire(self, shadow: str, desired: dict[str, Any]) -> None:
        payload = json.dumps({"state": {"desired": desired}, "clientToken": "app-1"})
        self._client.update_thing_shadow(thingName=THING, shadowName=shadow, payload=payload)

    def document(self, shadow: str) -> dict[str, Any]:
        answer = self._client.get_thing_shadow(thingName=THING, shadowName=shadow)
        document: dict[str, Any] = json.loads(answer["payload"].read())
        return document

    def settled(self, shadow: str, field: str, before: object = None) -> dict[str, Any] | None:
        """The result of a field once it is another than ``before`` and no delta is left."""
        state = self.document(shadow)["state"]
        result: dict[str, Any] = state["reported"].get("commands", {}).get(field, {})
        return (
            result if result and result != before and result["status"] != "pending" and "delta" not in state else None
        )

    def audit(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self._service.get("/api/commands")[1]
        return steps


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("demo")
    with Service(folder, "--demo") as service:
        service.wait_until_healthy()
        made = Cloud(service, folder / "state")
        wait_until(lambda: "mode" in made.document("victron-vebus")["state"]["reported"], "victron-vebus")
        yield made


def test_mode(cloud: Cloud) -> None:
    """One after the other: what is rejected leaves what was applied before."""
    for asked, status, shown in (
        ("Charger Only", "applied", "Charger Only"),
        (99, "rejected", "Charger Only"),
        (3, "applied", "On"),
    ):
        before = cloud.document("victron-vebus")["state"]["reported"].get("commands", {}).get("mode")
        cloud.desire("victron-vebus", {"mode": asked})

        def settled(before: object = before) -> dict[str, Any] | None:
            return cloud.settled("victron-vebus", "mode", before)

        result = wait_until(settled, "the status", 10)
        assert (result["status"], result["value"]) == (status, asked)
        assert bool(result["reason"]) is (status == "rejected")
        assert cloud.document("victron-vebus")["state"]["reported"]["mode"] == shown
        assert cloud.document("victron-vebus")["state"]["desired"]["mode"] == shown


def test_the_audit_log_has_every_step(cloud: Cloud) -> None:
    cloud.desire("victron-settings", {"ess": {"minimumSoc": 33}})
    wait_until(lambda: cloud.settled("victron-settings", "ess.minimumSoc"), "the status", 10)
    steps = [s for s in cloud.audit() if s["field"] == "ess.minimumSoc"]
    wait_until(lambda: cloud.audit()[0]["step"] == "settled", "the last line")
    assert [s["step"] for s in cloud.audit() if s["field"] == "ess.minimumSoc"] == [
        "settled", "confirmed", "written", "received",
    ]  # fmt: skip
    assert all(s["result"] for s in steps)
    assert steps[-1]["clientToken"] == "app-1"


def test_the_audit_log_is_verified_beside_the_service(cloud: Cloud, tmp_path: Path) -> None:
    wait_until(cloud.audit, "a step")
    with Program(tmp_path / "audit.log", "audit", "verify", "--state-dir", str(cloud.state), "--demo") as program:
        assert program.wait() == 0, program.output
    assert "fits" in program.output
