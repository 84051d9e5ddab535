"""The manhole of a running service, entered with OpenSSH's own client."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mosquitto import HOST, free_port
from tests.service import Service
from tests.support import needs

pytestmark = [pytest.mark.integration, needs("ssh", "ssh-keygen")]


@dataclass(frozen=True)
class Inside:
    """A service with a manhole, and the keys: ``good`` is authorized, ``bad`` is not."""

    service: Service
    port: int
    folder: Path

    def ssh(
        self, *arguments: str, key: str | None = "good", typed: str = "", options: tuple[str, ...] = ()
    ) -> tuple[str, int]:
        """What comes out, and the exit status."""
        identity = ("-i", str(self.folder / key)) if key else ("-o", "PubkeyAuthentication=no")
        done = subprocess.run(
            [
                *("ssh", "-F", "none", "-p", str(self.port), *identity, *options),
                *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"),
                *("-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}", "-o", "IdentityAgent=none"),
                *(f"me@{HOST}", *arguments),
            ],
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout, done.returncode


def keys(folder: Path) -> Path:
    """A pair of each kind; the file that authorizes the good one."""
    for name in ("good", "bad"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=60)
    authorized = folder / "authorized_keys"
    authorized.write_bytes((folder / "good.pub").read_bytes())
    return authorized


def configured(folder: Path, endpoint: str, authorized: Path) -> tuple[str, ...]:
    file = folder / "twin.toml"
    file.write_text(f"manhole = '{endpoint}'\nmanhole_keys = '{authorized}'\n")
    return "--demo", "--config", str(file)


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    port = free_port()
    options = configured(tmp_path, f"tcp:{port}:interface={HOST}", keys(tmp_path))
    with Service(tmp_path, *options) as service:
        service.wait_until_healthy()
        yield Inside(service, port, tmp_path)
        assert service.end() == 0
        assert "Traceback" not in service.log.read_text()


def test_with_a_key_the_tree_is_shown_and_with_none_nothing(inside: Inside) -> None:
    tree, status = inside.ssh("tree()")
    assert status == 0
    assert "GXService: running, 127.0.0.1" in tree
    assert "ShadowSync: running" in [line.strip() for line in tree.splitlines()]

    terminal = ("-tt",)
    shown, _ = inside.ssh(typed="tree()\nshadows()\ngx()\nhealth()\nroot.nothing\n\x04", options=terminal)
    assert "tree()     the services" in shown
    for part in ("Manhole: running", "victron-battery", "state='live'", "'mqttConnected': True", "AttributeError"):
        assert part in shown

    assert inside.ssh("commands_off()") == ("commands: off (by hand)\n", 0)
    assert inside.ssh("commands_on()") == ("commands: allow-list\n", 0)

    for key in ("bad", None):
        assert inside.ssh("tree()", key=key) == ("", 255)
        assert inside.ssh(typed="tree()\n", key=key, options=terminal) == ("", 255)
    password = ("-o", "PreferredAuthentications=password,keyboard-interactive", "-o", "BatchMode=no")
    assert inside.ssh("tree()", key=None, options=password) == ("", 255)

    log = inside.service.log.read_text()
    assert log.count("has entered the manhole as me") == 4
    host_key = inside.folder / "state" / "manhole_host_key"
    assert host_key.stat().st_mode & 0o777 == 0o600


def test_keys_that_others_can_write_stop_the_start(tmp_path: Path) -> None:
    authorized = keys(tmp_path)
    authorized.chmod(0o666)
    with Service(tmp_path, *configured(tmp_path, "tcp:0:interface=127.0.0.1", authorized)) as service:
        assert service.process.wait(60) == 1
    assert service.log.read_text().splitlines()[-1] == (
        f"victron-twin: manhole_keys: others can write to {authorized}: chmod go-w {authorized}"
    )


def test_a_port_that_is_taken_stops_it(tmp_path: Path) -> None:
    authorized = keys(tmp_path)
    with Service(tmp_path, "--demo") as other:
        other.wait_until_healthy()
        folder = tmp_path / "second"
        folder.mkdir()
        where = f"tcp:{other.port}:interface={HOST}"
        with Service(folder, *configured(tmp_path, where, authorized)) as service:
            assert service.process.wait(60) == 1
    (line,) = [line for line in service.log.read_text().splitlines() if " critical " in line]
    assert where in line
    assert "Address already in use" in line
