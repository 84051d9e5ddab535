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
from .service import simulated_gx
from .serving import ServingOptions, serve
from .sites import SITES, site

#: What the GX calls itself unless told otherwise.
PORTAL_ID = "c0619ab2d3e4"


class Options(ServingOptions):
    synopsis = "[options]"
    longdesc = (
        "A GX device in a small van (battery monitor, two solar chargers, MultiPlus, GPS), or in a large site with one "
        "of every kind of device. It publishes while somebody sends keepalives, and takes writes, as a GX does. Like a "
        "GX it ignores the user name."
    )
    optParameters: ClassVar = [
        ["portal-id", None, PORTAL_ID, "The VRM portal id."],
        ["site", None, SITES[0], f"The site: {' or '.join(SITES)}.", site],
        ["speed", None, 1.0, "How much faster than the clock the site's time runs.", arguments.positive],
    ]
    optFlags: ClassVar = [["child", None, "End when standard input does, as the demo's child."]]


def main(options: usage.Options) -> int:
    """Serve until a signal; the exit status."""

    def gx(reactor: Any) -> GX:
        if options["child"]:
            reactor.addReader(Lifeline(partial(_end, reactor)))
        return simulated_gx(
            reactor,
            options["site"],
            password=options["password"],
            portal_id=options["portal-id"],
            speed=options["speed"],
        )

    return serve(options, gx)


def _end(reactor: Any) -> None:
    # It stops already where the reactor itself closes all that it reads.
    with suppress(ReactorNotRunning):
        reactor.stop()
