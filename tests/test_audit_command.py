"""``victron-twin audit``: what it says, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.test_audit import LARGE, step
from victron_twin import cli
from victron_twin.commands.audit import Audit, Kept, listed


def written(folder: Path, count: int, kept: Kept = LARGE) -> Audit:
    log = Audit(folder, kept)
    log.open()
    for number in range(count):
        log.append(
            step(number, 1_782_000_000.0 + number)
            | {"thing": "van", "shadow": "victron-vebus", "result": "new", "reason": "it is so" * (number % 2)}
        )
    return log


def test_a_log_that_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 3)
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'audit'} fits: 3 steps, lines 1 to 4, in 1 file"
    noted = last.split()[-1]
    assert last == f"The last line is 4, its hash {noted}"
    assert cli.main(["audit", "verify", "--folder", str(tmp_path / "audit"), "--noted", noted]) == 0
    assert cli.main(["audit", "verify", "--folder", str(tmp_path / "audit"), "--noted", "1" * 64]) == 1
    assert "1" * 64 in capsys.readouterr().out


def test_a_log_whose_beginning_was_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 100, Kept(20_000, 1e9))
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"lines {int(listed(tmp_path / 'audit')[0].stem)} to " in said
    assert "what was before is no longer kept" in said


def test_a_log_that_was_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 3)
    (path,) = listed(tmp_path / "audit")
    path.write_bytes(path.read_bytes().replace(b"it is so", b"it is no"))
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 1
    assert f"{path.name}, line 3: it was changed" in capsys.readouterr().out


def test_a_last_line_that_was_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 3)
    with listed(tmp_path / "audit")[0].open("ab") as stream:
        stream.write(b'{"at":')
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 0
    assert "6 bytes after the last line" in capsys.readouterr().out


def test_nothing_to_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 1
    assert f"{tmp_path / 'audit'} is not there" in capsys.readouterr().err
    Audit(tmp_path / "audit", LARGE).open()
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 0
    assert "nothing was written yet" in capsys.readouterr().out


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 1)
    (tmp_path / "audit" / "9999999999.jsonl").mkdir()
    for command in ("verify", "show"):
        assert cli.main(["audit", command, "--state-dir", str(tmp_path)]) == 1
        assert "9999999999.jsonl: Is a directory" in capsys.readouterr().err


def test_the_demo_has_its_own(tmp_path: Path) -> None:
    written(tmp_path / "demo" / "audit", 1)
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path), "--demo"]) == 0
    assert cli.main(["audit", "verify", "--state-dir", str(tmp_path)]) == 1


def test_the_newest_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "audit", 100, Kept(50_000, 1e9))
    assert cli.main(["audit", "show", "--state-dir", str(tmp_path), "--last", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '2026-06-21T00:01:38Z  received   van victron-vebus.mode  null -> "Off"  new',
        '2026-06-21T00:01:39Z  received   van victron-vebus.mode  null -> "Off"  new (it is so)',
    ]
    assert cli.main(["audit", "show", "--state-dir", str(tmp_path), "--last", "50", "--json"]) == 0
    shown = [json.loads(line)["version"] for line in capsys.readouterr().out.splitlines()]
    assert shown == list(range(50, 100))


@pytest.mark.parametrize("arguments", [[], ["show", "--last", "0"], ["verify", "more"], ["remove"]])
def test_what_is_no_use_of_it(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", *arguments]) == 2
    assert capsys.readouterr().err.startswith("victron-twin: ")
