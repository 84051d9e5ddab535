"""The file of pinned certificates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from victron_twin.gx.errors import PinStoreError
from victron_twin.gx.pins import Pins

A, B = "a" * 64, "b" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pins.json"


def test_remembers_one_for_each_host_and_port(file: Path) -> None:
    pins = Pins(file)
    assert pins.get("venus.local", 8883) is None
    pins.remember("venus.local", 8883, A)
    pins.remember("fe80::1", 8883, B)
    again = Pins(file)
    assert again.get("Venus.local", 8883) == A
    assert again.get("FE80::1", 8883) == B
    assert again.get("venus.local", 8884) is None


def test_is_a_file_to_be_read_and_edited_by_its_owner_alone(file: Path) -> None:
    Pins(file).remember("venus.local", 8883, A)
    Pins(file).remember("::1", 8883, B)
    assert json.loads(file.read_text()) == {"venus.local:8883": A, "[::1]:8883": B}
    assert len(file.read_text().splitlines()) == 4
    assert file.stat().st_mode & 0o777 == 0o600


def test_line_that_was_removed_counts_at_once(file: Path) -> None:
    pins = Pins(file)
    pins.remember("venus.local", 8883, A)
    file.write_text("{}")
    assert pins.get("venus.local", 8883) is None


@pytest.mark.parametrize("content", ["", "rubbish", "[]", '{"venus.local:8883": "abc"}', '{"other:1": 7}', "\0\xff"])
def test_file_that_makes_no_sense_trusts_nobody(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(PinStoreError, match=str(file)):
        Pins(file).get("venus.local", 8883)
    with pytest.raises(PinStoreError, match="anew"):
        Pins(file).remember("venus.local", 8883, A)
    assert file.read_text() == content


def test_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(PinStoreError, match="cannot be written"):
        Pins(tmp_path / "missing" / "pins.json").remember("venus.local", 8883, A)


def test_read_only_remembers_until_the_end_of_the_run(file: Path) -> None:
    Pins(file).remember("venus.local", 8883, A)
    pins = Pins(file, read_only=True)
    pins.remember("other", 8883, B)
    assert pins.get("venus.local", 8883) == A
    assert pins.get("other", 8883) == B
    assert Pins(file).get("other", 8883) is None


def test_may_be_in_memory(file: Path) -> None:
    pins = Pins(None)
    pins.remember("venus.local", 8883, A)
    assert pins.get("venus.local", 8883) == A
    assert pins.where == "memory"
