"""``victron-twin replay FILE``: a recording played back as a GX."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, ClassVar

from twisted.python import usage

from victron_twin import arguments

from .recording import RecordingError, ReplayGX, read
from .serving import ServingOptions, serve


class Options(ServingOptions):
    synopsis = "[options] FILE"
    longdesc = (
        "Plays what victron-twin capture has recorded (JSON lines, gzip by the name) back as a GX. Serial, heartbeat, "
        "keepalive and completion are a GX's own. When the recording has ended, its last state stays."
    )
    optParameters: ClassVar = [
        ["speed", None, 1.0, "How much faster than it was recorded it is played.", arguments.positive],
    ]

    def parseArgs(self, file: str = "") -> None:
        if not file:
            raise usage.UsageError("FILE is missing")
        self["file"] = Path(file)


def main(options: usage.Options) -> int:
    """Serve until a signal; the exit status."""
    try:
        messages = read(options["file"])
    except RecordingError as error:
        raise SystemExit(f"victron-twin: {error}") from None

    def player(reactor: Any) -> ReplayGX:
        try:
            gx = ReplayGX(reactor, messages, Random(), password=options["password"], speed=options["speed"])
        except RecordingError as error:
            raise SystemExit(f"victron-twin: {options['file']}: {error}") from None
        gx.when_ended(lambda: print("The recording has ended; its last state stays until Ctrl-C.", flush=True))
        return gx

    return serve(options, player)
