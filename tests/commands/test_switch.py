"""The emergency off, as the state folder has it."""

from __future__ import annotations

from pathlib import Path

from victron_twin.commands.switch import Switch


def test_it_is_off_until_it_is_switched_on(tmp_path: Path) -> None:
    path = tmp_path / "commands.off"
    assert not Switch(path).off
    assert Switch(path).turn(True, "a test") == ""
    again = Switch(path)
    assert again.off
    assert again.turn(False, "a test") == ""
    assert again.turn(False, "a test") == ""
    assert not Switch(path).off


def test_off_counts_where_it_cannot_be_written_down_and_that_is_said(tmp_path: Path) -> None:
    switch = Switch(tmp_path / "nothing" / "commands.off")
    assert "only until a restart" in switch.turn(True, "a test")
    assert switch.off


def test_on_does_not_count_where_the_file_cannot_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "commands.off"
    path.mkdir()
    switch = Switch(path)
    assert switch.off
    assert "still off" in switch.turn(False, "a test")
    assert switch.off
