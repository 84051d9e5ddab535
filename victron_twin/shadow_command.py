"""``victron-twin shadow``: read, desire and follow a shadow through the running service."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

import orjson
from twisted.python import usage

from .catalog import load
from .catalog.commands import Class, Commands
from .config import Config, ConfigError
from .config.keys import option_parameters
from .twin.desires import Status, at, shorten
from .twin.flat import Flat, Path, dotted, flatten, nest
from .web.client import Plane, Trouble, url_of

#: How long an action may take to begin, and how often a document is looked at, in s.
EXPIRY, LOOK = 60.0, 0.25
#: The same while it is only watched.
WATCH = 1.0
DONE = (Status.APPLIED, Status.SENT)


#: How the service is found.
SERVICE: list[list[Any]] = [
    ["url", None, None, "Where the service's page is [as its configuration says]."],
    *(row for row in option_parameters() if row[0] in ("config", "http", "state-dir")),
]


class _Through(usage.Options):
    """What is asked through the service, and of which thing."""

    optParameters: ClassVar[list[list[Any]]] = [
        *SERVICE,
        ["thing", None, None, "The thing [as the configuration says]."],
    ]

    def parseArgs(self, name: str, *more: str) -> None:  # type: ignore[override]  # its arguments are what it takes
        for text in more:
            if text.startswith("--"):
                raise usage.UsageError(f"{text}: options stand before the shadow's name")
        self["name"] = name
        self.take(*more)

    def take(self, *more: str) -> None:
        if more:
            raise usage.UsageError(f"{more[0]}: one shadow at a time")


class GetOptions(_Through):
    synopsis = "[options] NAME"
    optFlags: ClassVar = [["all", None, "The whole document: desired, metadata, version."]]


class SetOptions(_Through):
    synopsis = "[options] NAME FIELD=VALUE"
    longdesc = (
        "Desires a value, and tells what becomes of it. VALUE is JSON, or else text; FIELD is dotted, as pv.power. An "
        "action gets its id, and expires a minute from now."
    )
    optParameters: ClassVar[list[list[Any]]] = [
        ["timeout", None, 10.0, "How long to wait for the outcome, in seconds.", float]
    ]

    def take(self, *more: str) -> None:
        if len(more) == 1 and "=" in more[0]:
            more = tuple(more[0].split("=", 1))
        if len(more) != 2 or not all(more[0].split(".")):
            raise usage.UsageError("what is desired reads FIELD=VALUE, or FIELD VALUE")
        self["field"], self["value"] = more[0], value_of(more[1])
        if self["value"] is None:
            raise usage.UsageError("null is no value: it would only take back what is desired")


class WatchOptions(_Through):
    synopsis = "[options] NAME"


class Options(usage.Options):
    synopsis = "get|set|watch [options] NAME [FIELD=VALUE]"
    subCommands: ClassVar = [
        ["get", None, GetOptions, "Print what is reported."],
        ["set", None, SetOptions, "Desire a value, and follow it."],
        ["watch", None, WatchOptions, "Print each change, until Ctrl-C."],
    ]

    def postOptions(self) -> None:
        if not self.subCommand:
            raise usage.UsageError("shadow get, set or watch?")


def main(options: usage.Options) -> int:
    """Do it; 0 where it was done."""
    command = COMMANDS[options.subCommand or ""]
    try:
        return command(plane(options.subOptions, os.environ), options.subOptions)
    except (ConfigError, Trouble) as error:
        print(f"victron-twin: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if command is watch else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
        return 0


def get(plane: Plane, options: usage.Options) -> int:
    document = plane.get(options["name"])
    shown = document if options["all"] else document["state"].get("reported", {})
    print(json.dumps(shown, indent=2, ensure_ascii=False))
    return 0


def desire(plane: Plane, options: usage.Options) -> int:
    """Write it to desired, and say what stands of it in ``reported.commands`` as it changes."""
    name, field = options["name"], options["field"]
    path = tuple(field.split("."))
    asked = asked_for(load().commands, name, field, options["value"])
    before = outcome(plane.get(name), field)  # a shadow that is not there must not be made
    plane.update(name, nest({("state", "desired", *path): asked}))
    deadline = time.monotonic() + options["timeout"]
    said = {} if before.get("status") != Status.PENDING else before
    while time.monotonic() < deadline:
        document = plane.get(name)
        found = outcome(document, field)
        if found != before and found.get("value") == shorten(asked) and found != said:
            said = found
            print(f"{field}: {found['status']}{' - ' * bool(found['reason'])}{found['reason']}", flush=True)
            if found["status"] != Status.PENDING:
                return 0 if found["status"] in DONE else 1
        elif found == before and so_already(document["state"], path, asked):
            print(f"{field}: it was so already")
            return 0
        time.sleep(LOOK)
    why = said.get("reason") or "the service has not told what became of it; is commands.mode off?"
    print(f"{field}: not settled in {options['timeout']:g} s - {why}")
    return 1


def watch(plane: Plane, options: usage.Options) -> int:
    name = options["name"]
    document = plane.get(name)
    print(f"{name}, version {document['version']}; Ctrl-C ends", flush=True)
    away = False
    while True:
        time.sleep(WATCH)
        try:
            now = plane.get(name)
        except Trouble as error:
            if not away:
                print(error, flush=True)
            away = True
            continue
        away = False
        for line in changes(document, now):
            print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)
        document = now


COMMANDS: Mapping[str, Callable[[Plane, usage.Options], int]] = {"get": get, "set": desire, "watch": watch}


def plane(options: Mapping[str, Any], environ: Mapping[str, str]) -> Plane:
    """The service that the options and the configuration mean. Raises ConfigError and Trouble."""
    config = Config.load(options, environ)
    url = options["url"] or url_of(config.http)
    if not re.match(r"https?://[^/]", url):
        raise Trouble(f"--url {url}: it must be like http://127.0.0.1:8480")
    return Plane(url, options.get("thing") or config.thing_name, config.state_dir / "token")


def value_of(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def asked_for(commands: Commands, shadow: str, field: str, value: Any) -> Any:
    """What is desired: a setting is a plain value, all else gets an id and expires unless it has all that."""
    name = re.sub(r"^devices\.[^.]+\.", "", field)
    command = commands.of(shadow, name)
    if command is None or command.kind is Class.SETTING or isinstance(value, dict):
        return value
    expires = datetime.now(timezone.utc) + timedelta(seconds=EXPIRY)
    return {"value": value, "id": str(uuid.uuid4()), "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}


def outcome(document: Mapping[str, Any], field: str) -> dict[str, Any]:
    """What ``reported.commands`` says of a field; empty where it says nothing."""
    found = at(document["state"].get("reported", {}), ("commands", field))
    return dict(found) if isinstance(found, dict) else {}


def so_already(state: Mapping[str, Any], path: Path, asked: Any) -> bool:
    """Whether a desire is none: nothing will become of it."""
    return at(state.get("delta", {}), path) is None and bool(at(state.get("reported", {}), path) == asked)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """A line for each leaf that differs between two documents, desired ones marked so."""
    for section, mark in (("desired", "desired "), ("reported", "")):
        before, after = (flatten(document["state"].get(section, {})) for document in (old, new))
        for path in dict.fromkeys((*before, *after)):
            if before.get(path) != after.get(path) and path != ("lastUpdate",):
                yield f"{mark}{dotted(path)}: {shown(before, path)} -> {shown(after, path)}"


def shown(leaves: Flat, path: Path) -> str:
    return json.dumps(leaves[path], ensure_ascii=False) if path in leaves else "-"
