"""The simulated GX as a child process of the service, for the demo: the parent's side and the child's."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.runner.procmon import ProcessMonitor
from zope.interface import implementer

from victron_twin import files
from victron_twin.config import Config
from victron_twin.state import StateError

from .listener import CertificateError, gx_certificate
from .service import certificate_pin
from .sites import ENVIRONMENT, SITES

#: Nothing hangs on this inverter: what could switch a real site off is allowed too.
ALLOWED = ("victron-vebus.mode=*",)


def demo_gx(reactor: Any, config: Config) -> tuple[Service, Config]:
    """A service that keeps the child running, and the configuration with that GX in it.

    Certificate, password and all else of the child stand in ``<state_dir>/demo``. Raises StateError.
    """
    folder = config.state_dir / "demo"
    password = folder / "password"
    certificate = folder / "certificate.pem"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not password.exists():
            files.write(password, secrets.token_hex(8).encode() + b"\n")
        gx_certificate(certificate, folder / "key.pem")
        pin = certificate_pin(certificate)
    except (OSError, CertificateError) as error:
        raise StateError(f"{folder} cannot be used for the demo ({error}): remove it, it is made anew") from None
    port = _free_port()
    monitor = _Monitor(reactor)
    monitor.addProcess(
        "simulated GX",
        [
            *(sys.executable, "-m", "victron_twin.cli", "simulate", "--port", str(port)),
            *("--password-file", str(password), "--folder", str(folder), "--child"),
            *("--site", os.environ.get(ENVIRONMENT, SITES[0])),
        ],
        env=dict(os.environ),
    )
    gx = replace(
        config.gx[0],
        host="127.0.0.1",
        port=port,
        trust=f"pin:{pin}",
        portal_id=None,
        password=None,
        password_secret=None,
        password_file=password,
    )
    commands = replace(config.commands, allow=(*config.commands.allow, *ALLOWED))
    return monitor, replace(config, gx=(gx,), commands=commands)


class _Monitor(ProcessMonitor):
    """Has stopped when its processes have ended, however they end."""

    killTime = 2

    async def _stop(self) -> None:
        while self.protocols:
            await deferLater(IReactorTime(self._reactor), 0.05)

    def stopService(self) -> Deferred[None]:  # type: ignore[override]  # Twisted's own type leaves this out
        super().stopService()
        return Deferred.fromCoroutine(self._stop())


@implementer(IReadDescriptor)
class Lifeline:
    """The child's standard input, a pipe that the kernel closes when the parent has ended, however that was."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "lifeline"

    def doRead(self) -> Failure | None:
        # What the interface calls a Failure is in truth an exception, as in all of Twisted's own readers.
        return None if os.read(self.fileno(), 1024) else cast("Failure", CONNECTION_DONE)

    def connectionLost(self, reason: Failure) -> None:
        self._ended()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
