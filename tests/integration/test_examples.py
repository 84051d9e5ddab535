"""The examples of docs/commands.md, run as they stand there against the demo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.integration.test_aws_clients import AWS
from tests.mosquitto import HOST
from tests.service import Service, wait_until

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(sh|python) (setting|action)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PREPARED = re.search(r"^```sh\n(export .*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("demo"), "--demo") as service:
        service.wait_until_healthy()
        yield service


def shadow(demo: Service, desired: Mapping[str, Any] | None = None) -> Any:
    """The state of the shadow; possibly after something is desired of it."""
    url = f"{demo.url}/things/victron-twin/shadow?name=victron-vebus"
    if desired is not None:
        urlopen(url, json.dumps({"state": {"desired": desired}}).encode(), timeout=10).close()
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)["state"]


def reported(demo: Service) -> Any:
    return shadow(demo)["reported"]


def outcome(demo: Service, field: str) -> dict[str, Any]:
    found: dict[str, Any] = reported(demo).get("commands", {}).get(field, {})
    return found


def run(language: str, text: str, demo: Service, folder: Path) -> str:
    """What an example says; the page's own lines for the demo say where it is."""
    assert PREPARED is not None
    exports = PREPARED[1].replace("http://127.0.0.1:8480", demo.url)
    (folder / "example.py").write_text(text)
    script = exports + (text if language == "sh" else f'"{sys.executable}" example.py')
    environment: Mapping[str, str] = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder),
        "VICTRON_TWIN_HTTP": f"tcp:{demo.port}:interface={HOST}",
    }
    done = subprocess.run(
        ["sh", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_client_shows_both() -> None:
    assert [(language, kind) for language, kind, _ in EXAMPLES] == [
        (language, kind) for kind in ("setting", "action") for language in ("sh", "python", "sh")
    ]
    assert [text.split("aws iot-data")[0] == text for language, _, text in EXAMPLES] == [False, True, True] * 2


@pytest.mark.skipif(AWS is None, reason="needs the AWS CLI: pip install awscli")
@pytest.mark.parametrize(
    ("language", "text"), [pytest.param(lang, text, id=lang) for lang, kind, text in EXAMPLES if kind == "setting"]
)
def test_a_setting(language: str, text: str, demo: Service, tmp_path: Path) -> None:
    shadow(demo, {"mode": "On"})
    wait_until(lambda: reported(demo)["mode"] == "On" and "delta" not in shadow(demo), "the mode that it was before")
    said = run(language, text, demo, tmp_path)
    wait_until(lambda: reported(demo)["mode"] == "Charger Only", "the mode that is desired")
    wait_until(lambda: outcome(demo, "mode").get("value") == "Charger Only", "what became of it")
    assert outcome(demo, "mode")["status"] == "applied"
    assert ("Charger Only" if language == "python" or "aws" in text else "mode: applied") in said
    assert language == "sh" or "'status': 'applied'" in said


@pytest.mark.skipif(AWS is None, reason="needs the AWS CLI: pip install awscli")
@pytest.mark.parametrize(
    ("language", "text"), [pytest.param(lang, text, id=lang) for lang, kind, text in EXAMPLES if kind == "action"]
)
def test_an_action(language: str, text: str, demo: Service, tmp_path: Path) -> None:
    before = outcome(demo, "redetectSystem").get("id")
    run(language, text, demo, tmp_path)
    wait_until(lambda: outcome(demo, "redetectSystem").get("id") != before, "what became of this action")
    assert outcome(demo, "redetectSystem")["status"] == "sent"
