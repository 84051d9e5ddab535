"""``victron-twin simulate``: the simulated GX alone, for other clients too."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from twisted.internet.error import ReactorNotRunning
from twisted.python import usage

from victron_twin import arguments

from .child import Lifeline
from .gx import GX
from .service import simulated_van
from .serving import ServingOptions, serve

#: What the van's GX calls itself unless told otherwise.
PORTAL_ID = "c0619ab2d3e4"


class Options(ServingOptions):
    synopsis = "[options]"
    longdesc = (
        "A GX device in a small van: battery monitor, two solar chargers, MultiPlus, GPS. It publishes while somebody "
        "sends keepalives, and takes writes, as a GX does. Like a GX it ignores the user name."
    )
    optParameters: ClassVar = [
        ["portal-id", None, PORTAL_ID, "The VRM portal id."],
        ["site", None, "van", "The site; there is one: van."],
        ["speed", None, 1.0, "How much faster than the clock the site's time runs.", arguments.positive],
    ]
    optFlags: ClassVar = [["child", None, "End when standard input does, as the demo's child."]]

    def postOptions(self) -> None:
        super().postOptions()
        if self["site"] != "van":
            raise usage.UsageError(f"--site {self['site']}: there is one site: van")


def main(options: usage.Options) -> int:
    """Serve until a signal; the exit status."""

    def van(reactor: Any) -> GX:
        if options["child"]:
            reactor.addReader(Lifeline(partial(_end, reactor)))
        return simulated_van(
            reactor, password=options["password"], portal_id=options["portal-id"], speed=options["speed"]
        )

    return serve(options, van)


def _end(reactor: Any) -> None:
    # It stops already where the reactor itself closes all that it reads.
    with suppress(ReactorNotRunning):
        reactor.stop()
