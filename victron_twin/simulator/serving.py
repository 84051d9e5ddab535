"""What the commands have in common that serve a GX: where it listens, who may log in, and how that is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import platformdirs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.python import usage

from victron_twin import arguments, logs
from victron_twin.config import read_password

from .listener import CertificateError
from .plugin import Plugin
from .service import Listening, SimulatedGX


class ServingOptions(usage.Options):
    """The options of a command that serves a GX."""

    optParameters: ClassVar = [
        ["port", None, 8883, "The port with TLS.", arguments.port],
        ["plain-port", None, None, "A port without TLS; off unless given.", arguments.port],
        ["interface", None, "127.0.0.1", "The address to listen on."],
        ["username", None, None, "Accepted, and ignored as a GX does."],
        ["password", None, None, "The password; without one everybody may log in."],
        ["password-file", None, None, "A file that holds it."],
        ["folder", None, None, "Where certificate.pem and key.pem are kept [the user's state folder]."],
    ]

    def postOptions(self) -> None:
        if self["password-file"]:
            try:
                self["password"] = read_password(Path(self["password-file"])).reveal()
            except ValueError as error:
                raise usage.UsageError(f"--password-file: {error}") from None
        if self["folder"] is None:
            self["folder"] = platformdirs.user_state_dir("victron-twin") + "/simulator"


def serve(options: usage.Options, make: Callable[[Any], Plugin]) -> int:
    """Serve the GX that ``make(reactor)`` makes, until a signal; the exit status."""

    def run(reactor: Any) -> Deferred[None]:
        service = SimulatedGX(
            reactor,
            make(reactor),
            folder=Path(options["folder"]),
            port=options["port"],
            plain_port=options["plain-port"],
            interface=options["interface"],
        )
        return Deferred.fromCoroutine(_serve(reactor, service, options["interface"]))

    form = "bare" if options.get("child") else "human"
    globalLogBeginner.beginLoggingTo([logs.observer(sys.stderr, form, "warn")], redirectStandardIO=False)
    react(run)
    return 0


async def _serve(reactor: Any, service: SimulatedGX, interface: str) -> None:
    """Start, say where it listens, and stay until the reactor stops."""
    service.startService()
    try:
        listening = await service.whenListening()
    except CannotListenError as error:
        where, why = f"{error.interface}:{error.port}", error.socketError
        raise SystemExit(f"victron-twin: {where} cannot be listened on ({why}): give another with --port") from None
    except (CertificateError, OSError) as error:
        raise SystemExit(f"victron-twin: the simulated GX cannot listen: {error}") from None
    print(_told(listening, interface, service), flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", _stop, service)
    await Deferred()


def _stop(service: Service) -> Any:
    return service.stopService()


def _told(listening: Listening, interface: str, service: SimulatedGX) -> str:
    """The line that says where the GX is."""
    where = []
    if listening.tls is not None:
        where.append(f"mqtts://{interface}:{listening.tls} (certificate {service.certificate}, SHA-256 {service.pin})")
    if listening.plain is not None:
        where.append(f"mqtt://{interface}:{listening.plain}")
    return f"GX {service.gx.portal_id} listens at {' and '.join(where)}"
