"""The ``victron-twin`` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

from twisted.python import usage

from . import __version__

#: Each command: the module that has its ``Options`` and its ``main(options) -> int``, and what it does.
COMMANDS = {
    "demo": ("demo", "Show a simulated site: the service, its page and a small live table."),
    "doctor": ("doctor", "Examine each link from here to the GX, and say what is wrong."),
    "shadow": ("shadow_command", "Read, desire or follow a shadow through the running service."),
    "commands": ("commands_command", "Switch off all that the cloud may do, and on again."),
    "audit": ("audit_command", "Verify or show the audit log of commands."),
    "simulate": ("simulator.command", "Be a GX device that other MQTT clients can use too."),
    "capture": ("simulator.capture", "Record a GX to a file (JSONL, gzip by its name)."),
    "replay": ("simulator.replay", "Play a recording back as a GX."),
}


def _options(module: str) -> Callable[[], usage.Options]:
    def make() -> usage.Options:
        made: usage.Options = import_module(f"victron_twin.{module}").Options()
        return made

    return make


class Options(usage.Options):
    synopsis = "Usage: victron-twin COMMAND [options]"
    longdesc = "The service itself is run by: twistd -n victron-twin [options]"
    subCommands: ClassVar = [[name, None, _options(module), text] for name, (module, text) in COMMANDS.items()]

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"victron-twin {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        if not self.subCommand:
            raise usage.UsageError(f"a command is needed: {', '.join(COMMANDS)}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit status."""
    options = Options()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else arguments)
    except usage.UsageError as error:
        print(f"victron-twin: {error}\nTry victron-twin --help.", file=sys.stderr)
        return 2
    module: Any = import_module(f"victron_twin.{COMMANDS[options.subCommand or ''][0]}")
    status: int = module.main(options.subOptions)
    return status


if __name__ == "__main__":
    sys.exit(main())
