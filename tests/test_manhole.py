"""Whom the manhole would let in: decided before it listens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from victron_twin.config import Config, ConfigError
from victron_twin.manhole import KeyFile, check, host_key
from victron_twin.state import StateError

LOOPBACK = "tcp:2222:interface=127.0.0.1"


def pair() -> Any:
    return cast("Any", Key)(Ed25519PrivateKey.generate())  # Conch's are untyped


def public_key() -> bytes:
    text: bytes = pair().public().toString("openssh")
    return text


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    file = folder / "authorized_keys"
    file.write_bytes(public_key() + b" me@home\n")
    file.chmod(0o644)
    return file


def config(keys: Path, endpoint: str = LOOPBACK) -> Config:
    file = keys.parent / "twin.toml"
    file.write_text(f"manhole = '{endpoint}'\nmanhole_keys = '{keys}'\n")
    return Config.load({"config": str(file)}, {})


def refusal(keys: Path, endpoint: str = LOOPBACK) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config(keys, endpoint))
    return str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [LOOPBACK, r"tcp6:2222:interface=\:\:1", "tcp:2222:interface=192.168.1.5", "unix:/run/manhole"],
)
def test_where_it_may_listen(keys: Path, endpoint: str) -> None:
    check(config(keys, endpoint))


@pytest.mark.parametrize("endpoint", ["tcp:2222", "tcp:2222:interface=", "tcp:2222:backlog=5", "tcp:2222:127.0.0.1"])
def test_an_endpoint_without_an_interface_is_refused_with_the_remedy(keys: Path, endpoint: str) -> None:
    assert "interface=127.0.0.1" in refusal(keys, endpoint)


@pytest.mark.parametrize("bit", [0o020, 0o002])
def test_keys_that_others_can_write_let_nobody_in(keys: Path, bit: int) -> None:
    keys.chmod(0o644 | bit)
    assert refusal(keys) == f"manhole_keys: others can write to {keys}: chmod go-w {keys}"
    keys.chmod(0o644)
    keys.parent.chmod(0o700 | bit)
    assert refusal(keys) == f"manhole_keys: others can write to {keys.parent}: chmod go-w {keys.parent}"


def test_a_link_is_followed(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keys)
    check(config(link))
    keys.parent.chmod(0o777)
    assert str(keys.parent) in refusal(link)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_keys_of_another_user_let_nobody_in(keys: Path) -> None:
    os.chown(keys, 12345, -1)
    assert "belongs to another user" in refusal(keys)


def test_only_public_keys_count_and_only_without_options(keys: Path) -> None:
    private = pair().toString("openssh")
    keys.write_bytes(b'# nobody\n\ncommand="true" ' + public_key() + b"\nrubbish\nssh-rsa AAAA\n" + private)
    assert "holds no public key" in refusal(keys)
    keys.write_bytes(keys.read_bytes() + b"\n" + public_key())
    assert len(KeyFile(config(keys)).read()) == 1


def test_the_keys_are_looked_at_again_at_each_login(keys: Path) -> None:
    file = KeyFile(config(keys))
    assert len(list(file.getAuthorizedKeys(b"me"))) == 1
    keys.write_bytes(keys.read_bytes() + public_key())
    assert len(list(file.getAuthorizedKeys(b"me"))) == 2
    keys.chmod(0o666)
    assert list(file.getAuthorizedKeys(b"me")) == []
    keys.unlink()
    assert list(file.getAuthorizedKeys(b"me")) == []


def test_the_host_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "manhole_host_key"
    made = host_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert host_key(path) == made
    for spoilt in (b"", b"rubbish", public_key()):
        path.write_bytes(spoilt)
        with pytest.raises(StateError, match="remove it, and it is made anew"):
            host_key(path)
