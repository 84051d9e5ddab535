"""The state folder: one process at a time, and one clear error where it cannot be used."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from victron_twin.state import StateError, StateFolder

NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[None]:
    """The rest runs as a user to whom permissions apply."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state"
    state = StateFolder.claim(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert (path / "lock").read_text() == f"{os.getpid()}\n"
    assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600
    assert sorted(p.name for p in path.iterdir()) == ["lock"]
    state.release()


def test_held_until_released(tmp_path: Path) -> None:
    state = StateFolder.claim(tmp_path)
    with pytest.raises(
        StateError, match=rf"{tmp_path} is already in use by another victron-twin \(pid {os.getpid()}\)"
    ):
        StateFolder.claim(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state.release()
    state.release()
    StateFolder.claim(tmp_path).release()


@pytest.mark.integration
def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, time\nfrom victron_twin.state import StateFolder\n"
        "state = StateFolder.claim(pathlib.Path(sys.argv[1]))\nprint('mine', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "mine\n"
            with pytest.raises(StateError, match=rf"\(pid {child.pid}\)"):
                StateFolder.claim(tmp_path)
        finally:
            child.send_signal(signal.SIGKILL)
    StateFolder.claim(tmp_path).release()


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    path.chmod(0o555)
    with (
        without_privileges(),
        pytest.raises(StateError, match=r"cannot be written to \(Permission denied\): set state_dir"),
    ):
        StateFolder.claim(path)


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(StateError, match=f"state_dir {path} cannot be written to"):
            StateFolder.claim(path)


def test_an_error_lets_the_lock_go(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    state = StateFolder.claim(tmp_path)
    with pytest.raises(StateError):
        StateFolder.claim(tmp_path)
    state.release()
    assert set(os.listdir("/proc/self/fd")) == before
