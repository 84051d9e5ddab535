"""Shadow Manager's configuration: exactly the twin's shadows."""

from __future__ import annotations

import json
import re

from tests.support import CATALOG

from .parts import DEPLOY, script

FILE = DEPLOY / "shadow-manager.json"
SHADOWS = list(CATALOG.shadows)


def test_the_file_is_what_the_catalogue_says() -> None:
    content = json.dumps(script("shadow_manager.py")["configuration"](SHADOWS), indent=2) + "\n"
    assert FILE.read_text() == content, "run: python deploy/shadow_manager.py > deploy/shadow-manager.json"


def test_it_syncs_the_cores_own_shadows_at_once_and_no_classic_one() -> None:
    content = json.loads(FILE.read_text())
    assert content["strategy"] == {"type": "realTime"}
    assert content["synchronize"] == {
        "direction": "betweenDeviceAndCloud",
        "coreThing": {"classic": False, "namedShadows": SHADOWS},
    }
    assert len(set(SHADOWS)) == len(SHADOWS) == 18
    assert all(re.fullmatch(r"[a-zA-Z0-9:_-]{1,64}", shadow) for shadow in SHADOWS)


def test_the_things_of_further_gx_are_listed_by_name() -> None:
    things = ["van-7-c0619ab2d3e4", "trailer"]
    synchronize = script("shadow_manager.py")["configuration"](SHADOWS, things)["synchronize"]
    assert synchronize["shadowDocumentsMap"] == dict.fromkeys(things, synchronize["coreThing"])
