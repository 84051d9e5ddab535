"""The round trip of a command with Debian's mosquitto as the GX's broker, TLS and password."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from tests.asynchronous import asynchronous
from tests.integration.test_outages import World, eventually
from tests.support import needs

pytestmark = [pytest.mark.integration, needs("mosquitto", "mosquitto_passwd")]


def desire(world: World, shadow: str, desired: dict[str, Any]) -> None:
    token = (world.folder / "state" / "token").read_text().strip()
    request = urllib.request.Request(
        f"{world.service.url}/things/victron-twin/shadow?name={shadow}",
        json.dumps({"state": {"desired": desired}}).encode(),
        {"Authorization": f"Bearer {token}"},
    )
    urllib.request.urlopen(request, timeout=5).close()


@asynchronous
async def test_a_setting_goes_there_and_back(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        await eventually(lambda: world.reported("victron-solarcharger").get("mode") == "On", "the shadow", 60)
        for mode, raw in (("Off", 4), ("On", 1)):
            await deferToThread(desire, world, "victron-solarcharger", {"mode": mode})

            def settled(mode: str = mode) -> bool:
                reported = world.reported("victron-solarcharger")
                told = reported.get("commands", {}).get("mode", {})
                return bool(reported["mode"] == mode and (told.get("status"), told.get("value")) == ("applied", mode))

            await eventually(settled, f"mode {mode}", 10)
            assert world.gx.value("solarcharger/279/Mode") == raw
        assert [(topic, value) for _, topic, value in world.gx.writes] == [
            ("solarcharger/279/Mode", 4),
            ("solarcharger/279/Mode", 1),
        ]
