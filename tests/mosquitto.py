"""Debian's mosquitto as a process of its own, which can be killed, frozen and restarted: a broker that is not ours."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class Mosquitto:
    """One mosquitto on one port of 127.0.0.1, with a password and nothing that outlives it::

        with Mosquitto(tmp_path, tls=(certificate, key)) as mosquitto:
            ... mosquitto.port, mosquitto.username, mosquitto.password ...

    All methods block, at most a few seconds. The port stays the same through :meth:`restart`; the files of ``tls``
    (PEM) are read at each start, so that a certificate can be replaced.
    """

    def __init__(
        self,
        directory: Path,
        tls: tuple[Path, Path] | None = None,
        username: str = "gx",
        password: str = "secret",
        lines: Sequence[str] = (),
    ) -> None:
        """``lines`` are further ones of its configuration, for the one listener."""
        self.port = free_port()
        self.username = username
        self.password = password
        self.log = directory / "mosquitto.log"
        self._passwords = directory / "passwords"
        self._config = directory / "mosquitto.conf"
        self._process: subprocess.Popen[bytes] | None = None
        config = [
            "user root",
            "persistence false",
            "allow_anonymous false",
            f"password_file {self._passwords}",
            f"log_dest file {self.log}",
            "max_queued_messages 0",
            f"listener {self.port} {HOST}",
        ]
        if tls is not None:
            config += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        self._config.write_text("\n".join([*config, *lines]) + "\n")
        self._write_password()

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until the port accepts."""
        self._process = subprocess.Popen(["mosquitto", "-c", str(self._config)])
        self._wait_until(lambda: accepts(self.port), "accept connections")

    def stop(self) -> None:
        """End it decently; it may be frozen or gone."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: connections are reset, and nobody listens."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Come back empty on the same port."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def set_password(self, password: str) -> None:
        """Change the password for new logins; clients that used the old one are dropped."""
        self.password = password
        self._write_password()
        if self._process is not None:
            reloads = self._reloads()
            self._signal(signal.SIGHUP)
            self._wait_until(lambda: self._reloads() > reloads, "reload its passwords")

    def _write_password(self) -> None:
        create = [] if self._passwords.exists() else ["-c"]
        subprocess.run(
            ["mosquitto_passwd", *create, "-b", str(self._passwords), self.username, self.password],
            check=True,
            capture_output=True,
        )

    def _reloads(self) -> int:
        return self.log.read_text(errors="replace").count("Reloading config")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = self.log.read_text(errors="replace") if self.log.exists() else "no log"
                self.kill()
                raise RuntimeError(f"mosquitto did not {what}:\n{log}")
            time.sleep(0.01)
