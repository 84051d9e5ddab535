"""``victron-twin audit``: verify or show the audit log of commands, beside the service or without it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from twisted.python import usage

from .arguments import count
from .commands import audit
from .commands.chain import Entry, Misfit, content_of, opens_file, read
from .commands.journal import AUDIT
from .config import Config, ConfigError
from .config.keys import option_flags, option_parameters


class _Where(usage.Options):
    """How the log is found."""

    optParameters: ClassVar[list[list[Any]]] = [
        ["folder", None, None, "The log's folder, for example of a copy [audit in the state folder]."],
        *(row for row in option_parameters() if row[0] in ("config", "state-dir")),
    ]
    optFlags: ClassVar = [row for row in option_flags() if row[0] == "demo"]

    def parseArgs(self, *more: str) -> None:
        if more:
            raise usage.UsageError(f"{more[0]!r} is no option")


class VerifyOptions(_Where):
    longdesc = (
        "Verifies that no line was changed, removed, put in or moved. Status 0: all fits; 1: the first line that does "
        "not is named."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["noted", None, None, "A hash that an earlier verify showed: its line must still be there."]
    ]


class ShowOptions(_Where):
    longdesc = "Prints steps, the newest last."
    optParameters: ClassVar[list[list[Any]]] = [["last", None, 20, "How many.", count]]
    optFlags: ClassVar = [["json", None, "A JSON object a line."]]


class Options(usage.Options):
    synopsis = "verify|show [options]"
    subCommands: ClassVar = [
        ["verify", None, VerifyOptions, "Verify that the log is as it was written."],
        ["show", None, ShowOptions, "Print the newest steps."],
    ]

    def postOptions(self) -> None:
        if not self.subCommand:
            raise usage.UsageError("audit verify or show?")


def main(options: usage.Options) -> int:
    """Do it; 0 where all is well."""
    command = COMMANDS[options.subCommand or ""]
    try:
        folder = folder_of(options.subOptions, os.environ)
        if not folder.is_dir():
            print(f"victron-twin: {folder} is not there: the service makes it at its first start", file=sys.stderr)
            return 1
        return command(folder, options.subOptions)
    except ConfigError as error:
        print(f"victron-twin: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
            return 0
        print(f"victron-twin: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def folder_of(options: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    """Where the log is, as the options and the configuration say. Raises ConfigError."""
    if options["folder"] is not None:
        return Path(options["folder"])
    config = Config.load(options, environ)
    return (config.state_dir / "demo" if config.demo else config.state_dir) / AUDIT


def verify(folder: Path, options: usage.Options) -> int:
    try:
        found = audit.verify(folder, noted=options["noted"])
    except Misfit as misfit:
        print(f"{folder} does not fit: {misfit}")
        return 1
    if not found.files:
        print(f"{folder} fits: nothing was written yet")
        return 0
    steps, files = _many(found.steps, "step"), _many(found.files, "file")
    print(f"{folder} fits: {steps}, lines {found.first} to {found.last.line}, in {files}")
    if found.first > 1:
        print(f"It begins with line {found.first}: what was before is no longer kept")
    if found.torn:
        print(f"{found.torn} bytes after the last line are no line: cut short by a power cut, or being written now")
    print(f"The last line is {found.last.line}, its hash {found.last.hash}")
    return 0


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def show(folder: Path, options: usage.Options) -> int:
    for entry in reversed(newest(folder, options["last"])):
        print(json.dumps(entry) if options["json"] else text_of(entry))
    return 0


COMMANDS: Mapping[str, Callable[[Path, usage.Options], int]] = {"verify": verify, "show": show}


def newest(folder: Path, limit: int) -> list[Entry]:
    """The newest steps, newest first."""
    return [entry for entry, _ in zip(_backwards(folder), range(limit), strict=False)]


def _backwards(folder: Path) -> Iterator[Entry]:
    for path in reversed(audit.listed(folder)):
        for raw in reversed(path.read_bytes().split(b"\n")):
            entry = read(raw)
            if entry is not None and not opens_file(entry):
                yield content_of(entry)


def text_of(entry: Mapping[str, Any]) -> str:
    """A step in one line."""
    changed = f"{json.dumps(entry.get('old'))} -> {json.dumps(entry.get('new'))}"
    what = f"{entry.get('thing')} {entry.get('shadow')}.{entry.get('field')}"
    why = f" ({entry['reason']})" if entry.get("reason") else ""
    return f"{entry.get('at')}  {entry.get('step')!s:9}  {what}  {changed}  {entry.get('result')}{why}"
