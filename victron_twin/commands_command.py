"""``victron-twin commands``: the emergency off of all commands, through the running service."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

from twisted.python import usage

from .config import ConfigError
from .shadow_command import SERVICE, plane
from .web.client import Trouble

WORDS = ("off", "on", "status")


class Options(usage.Options):
    synopsis = "[options] off|on|status"
    longdesc = (
        "off: nothing that the cloud desires is done any more, whatever the configuration says, until it is switched "
        "on again, also over a restart. on: the configuration counts again. status: what counts now."
    )
    optParameters: ClassVar[list[list[Any]]] = SERVICE

    def parseArgs(self, *words: str) -> None:  # its arguments are what it takes
        if len(words) != 1 or words[0] not in WORDS:
            raise usage.UsageError(f"commands {', '.join(WORDS[:-1])} or {WORDS[-1]}?")
        self["word"] = words[0]


def main(options: usage.Options) -> int:
    """Do it; 0 where it was done."""
    word = options["word"]
    try:
        mode = plane(options, os.environ).commands(None if word == "status" else word)
    except (ConfigError, Trouble) as error:
        print(f"victron-twin: {error}", file=sys.stderr)
        return 1
    print(f"commands: {mode}")
    return 0
