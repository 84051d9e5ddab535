"""``victron-twin simulate``: the simulated GX alone, for other clients too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import platformdirs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.python import usage

from victron_twin import logs
from victron_twin.config import read_password

from .listener import CertificateError
from .service import Listening, SimulatedGX, simulated_van

#: What the van's GX calls itself unless told otherwise.
PORTAL_ID = "c0619ab2d3e4"


def number(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ValueError("must be above 0")
    return value


class Options(usage.Options):
    synopsis = "[options]"
    longdesc = (
        "A GX device in a small van: battery monitor, two solar chargers, MultiPlus, GPS. It publishes while somebody "
        "sends keepalives, and takes writes, as a GX does. Like a GX it ignores the user name."
    )
    optParameters: ClassVar = [
        ["port", None, 8883, "The port with TLS.", int],
        ["plain-port", None, None, "A port without TLS; off unless given.", int],
        ["interface", None, "127.0.0.1", "The address to listen on."],
        ["username", None, None, "Accepted, and ignored as a GX does."],
        ["password", None, None, "The password; without one everybody may log in."],
        ["password-file", None, None, "A file that holds it."],
        ["portal-id", None, PORTAL_ID, "The VRM portal id."],
        ["site", None, "van", "The site; there is one: van."],
        ["speed", None, 1.0, "How much faster than the clock the site's time runs.", number],
        ["folder", None, None, "Where certificate.pem and key.pem are kept [the user's state folder]."],
    ]

    def postOptions(self) -> None:
        if self["site"] != "van":
            raise usage.UsageError(f"--site {self['site']}: there is one site: van")
        if self["password-file"]:
            try:
                self["password"] = read_password(Path(self["password-file"])).reveal()
            except ValueError as error:
                raise usage.UsageError(f"--password-file: {error}") from None
        if self["folder"] is None:
            self["folder"] = platformdirs.user_state_dir("victron-twin") + "/simulator"


def main(options: usage.Options) -> int:
    """Serve until a signal; the exit status."""

    def run(reactor: Any) -> Deferred[None]:
        gx = simulated_van(
            reactor, password=options["password"], portal_id=options["portal-id"], speed=options["speed"]
        )
        service = SimulatedGX(
            reactor,
            gx,
            folder=Path(options["folder"]),
            port=options["port"],
            plain_port=options["plain-port"],
            interface=options["interface"],
        )
        return Deferred.fromCoroutine(serve(reactor, service, options["interface"], options["portal-id"]))

    globalLogBeginner.beginLoggingTo([logs.observer(sys.stderr, "human", "info")], redirectStandardIO=False)
    react(run)
    return 0


async def serve(reactor: Any, service: SimulatedGX, interface: str, portal_id: str) -> None:
    """Start, say where it listens, and stay until the reactor stops."""
    service.startService()
    try:
        listening = await service.whenListening()
    except (CannotListenError, CertificateError, OSError) as error:
        raise SystemExit(f"victron-twin: the simulated GX cannot listen: {error}") from None
    print(told(listening, interface, portal_id, service), flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", _stop, service)
    await Deferred()


def _stop(service: Service) -> Any:
    return service.stopService()


def told(listening: Listening, interface: str, portal_id: str, service: SimulatedGX) -> str:
    """The line that says where the GX is."""
    where = []
    if listening.tls is not None:
        where.append(f"mqtts://{interface}:{listening.tls} (certificate {service.certificate}, SHA-256 {service.pin})")
    if listening.plain is not None:
        where.append(f"mqtt://{interface}:{listening.plain}")
    return f"GX {portal_id} listens at {' and '.join(where)}"
