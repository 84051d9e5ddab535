"""tools/coverage.py: what the lists have and the catalogue does not, and codes that mean something else there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .catalog.test_loader import GOOD, folder

ROOT = Path(__file__).parent.parent
STATE = {**GOOD, "field": "state", "path": "/State", "kind": "enum", "enum": "switch", "decimals": ""}
RELAY = {**STATE, "field": "relays.{relay}.state", "path": "/Relay/{relay}/State"}
ACTIVE = {**GOOD, "field": "active", "path": "/Active", "kind": "boolean", "decimals": ""}
ATTRIBUTES = """\
com.victronenergy.tank,/Level,d,%,3004,uint16,10,R
com.victronenergy.tank,RESERVED,d,,3005,reserved[1],1,R
com.victronenergy.tank,/State,i,0=Off;1=On,3006,uint16,1,R
com.victronenergy.tank,/Settings/Shape,s,,3007,string[8],1,R
"""


class Lists:
    """A catalogue of a tank, and the two lists that it is held against."""

    def __init__(self, where: Path) -> None:
        ignored = "service,path,reason\ntank,/Settings/*,an installer's business\n"
        self.catalog = folder(where, GOOD, STATE, RELAY, ACTIVE, **{"ignored.csv": ignored})
        self.attributes, self.services = where / "attributes.csv", where / "services.json"
        self.explained = where / "explained.csv"
        self.give(ATTRIBUTES)
        self.explain()

    def give(self, attributes: str, *palette: Mapping[str, object]) -> None:
        self.attributes.write_text(attributes)
        self.services.write_text(json.dumps({"tanks": {"help": {"both": ""}, "tank": palette, "communityTag": "tank"}}))

    def explain(self, *rows: str) -> None:
        self.explained.write_text("\n".join(["service,path,code,ours,theirs,why", *rows]) + "\n")

    def compare(self, *more: str) -> tuple[int, list[str]]:
        options = ["--catalog", str(self.catalog), "--explained", str(self.explained), *more]
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools" / "coverage.py"), str(self.attributes), str(self.services), *options],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    return Lists(tmp_path)


def told(lines: list[str], word: str) -> list[str]:
    return [line for line in lines if line.startswith(f"{word}: ")]


def test_all_is_mapped_or_ignored(lists: Lists) -> None:
    status, lines = lists.compare()
    assert status == 0
    [tank] = [line.split() for line in lines if line.startswith("tank ")]
    assert tank == ["tank", "2", "1", "0", "2/2", "100.0", "%"]
    assert lines[-1] == "0 missing, 0 differences not explained, 0 explained"


def test_what_is_missing_is_named(lists: Lists) -> None:
    lists.give(ATTRIBUTES + "com.victronenergy.tank,/Colour,s,,1,string[8],1,R\n", {"path": "/Depth", "type": "float"})
    status, lines = lists.compare()
    assert status == 1
    assert told(lines, "missing") == ["missing: tank/Colour", "missing: tank/Depth"]
    assert lists.compare("--only", "vebus")[0] == 0


def test_paths_with_the_palettes_own_placeholders(lists: Lists) -> None:
    """They are held against any path they can mean; some stand for several and never arrive."""
    palette = [{"path": p, "type": "float"} for p in ("/Relay/{index}/State", "/Settings/{any}", "/Alarms/{alarm}")]
    lists.give(ATTRIBUTES, *palette)
    status, lines = lists.compare()
    assert status == 0
    assert "never arrive: tank/Alarms/{alarm}" in lines


def test_a_code_that_means_something_else(lists: Lists) -> None:
    enum = {"0": "Closed", "1": "#1 - ON", "2-3": "Broken"}
    lists.give(ATTRIBUTES, {"path": "/State", "type": "enum", "enum": enum})
    status, lines = lists.compare()
    assert status == 1
    assert told(lines, "differs") == [
        "differs: tank/State 0: ours 'Off', theirs 'Closed'",
        "differs: tank/State 2: ours '', theirs 'Broken'",
        "differs: tank/State 3: ours '', theirs 'Broken'",
    ]

    lists.explain("tank,/State,0,Off,Closed,a valve", "*,*,*,,broken,never seen", "tank,/State,1,On,Open,a valve")
    status, lines = lists.compare()
    assert status == 0
    assert lines[-1] == "0 missing, 0 differences not explained, 3 explained"
    assert told(lines, "note") == ["note: explained.csv explains what does not differ: tank,/State,1,On,Open,a valve"]


def test_codes_of_what_is_no_enum_here(lists: Lists) -> None:
    lists.give(
        ATTRIBUTES,
        {"path": "/Active", "type": "enum", "enum": {"0": "False", "1": "Yes"}},
        {"path": "/Level", "type": "enum", "enum": {"-1": "No level"}},
    )
    status, lines = lists.compare()
    assert status == 1
    assert told(lines, "differs") == [
        "differs: tank/Active 1: ours 'true', theirs 'Yes'",
        "differs: tank/Level -1: ours '(number)', theirs 'No level'",
    ]
