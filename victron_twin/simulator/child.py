"""The simulated GX as a child process of the service, for the demo."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.runner.procmon import ProcessMonitor

from victron_twin import files
from victron_twin.config import Config
from victron_twin.state import StateError

from .listener import CertificateError, gx_certificate
from .service import certificate_pin


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
    monitor = ProcessMonitor(reactor)
    monitor.killTime = 2
    monitor.addProcess(
        "simulated GX",
        [
            *(sys.executable, "-m", "victron_twin.cli", "simulate", "--port", str(port)),
            *("--password-file", str(password), "--folder", str(folder)),
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
    return monitor, replace(config, gx=(gx,))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
