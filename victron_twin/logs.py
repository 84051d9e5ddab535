"""The log: a line for people, or a JSON object for machines, on standard output."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import implementer

from victron_twin.twin.twin import iso

#: Where Twisted tells of every port, factory and SSH packet: heard at level debug only.
CHATTER = ("log_legacy", "twisted.application", "twisted.conch", "twisted.internet", "twisted.scripts", "twisted.web")

#: Keys of an event that are Twisted's own.
_INNER = frozenset({"message", "time", "isError", "system", "format"})
#: What a GX calls its devices must not steer a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\t\n"}


@implementer(ILogObserver)
class Log:
    """An observer whose form and level can change while it is in use; both as :func:`observer` has them."""

    def __init__(self, stream: IO[str], form: str, level: str) -> None:
        self._stream = stream
        self.adjust(form, level)

    def adjust(self, form: str, level: str) -> None:
        self._observer = observer(self._stream, form, level)

    def __call__(self, event: LogEvent) -> None:
        self._observer(event)


def observer(stream: IO[str], form: str, level: str) -> ILogObserver:
    """What writes events of at least this level to a stream.

    ``form``: ``human``; ``json``; or ``bare``, which is human without the time, for a child of a process that adds it.
    """
    threshold = LogLevel.levelWithName(level)
    wanted = LogLevelFilterPredicate(threshold)
    if threshold is LogLevel.info:
        for namespace in CHATTER:
            wanted.setLogLevelForNamespace(namespace, LogLevel.warn)
    return FilteringLogObserver(_Lines(stream, _FORMS[form]), [wanted])


@implementer(ILogObserver)
class _Lines:
    """A log that cannot be written is no reason to end: the line is lost, the service is not."""

    def __init__(self, stream: IO[str], form: Callable[[LogEvent], str]) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        self._stream = stream
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        try:
            self._stream.write(self._form(event) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            # Nobody will ever read it. Python itself flushes standard output at its end, and must not fail then.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except OSError:
            pass


def _bare(event: LogEvent) -> str:
    text = f"{_level(event):<8} {_where(event)}: {formatEvent(event)}"
    if trace := _trace(event):
        text += f"\n{trace.strip()}"
    return text.translate(_CONTROLS).replace("\n", "\n    ")


def _human(event: LogEvent) -> str:
    return f"{iso(event['log_time'])} {_bare(event)}"


def _json(event: LogEvent) -> str:
    line: dict[str, Any] = {
        "time": iso(event["log_time"]),
        "level": _level(event),
        "where": _where(event),
        "message": formatEvent(event),
    }
    for key, value in event.items():
        if not key.startswith("log_") and key not in _INNER and _is_scalar(value):
            line.setdefault(key, value)
    if trace := _trace(event):
        line["trace"] = trace
    return json.dumps(line)


_FORMS: dict[str, Callable[[LogEvent], str]] = {"human": _human, "json": _json, "bare": _bare}


def _is_scalar(value: object) -> bool:
    """Whether it is JSON that every reader takes: neither NaN nor a number of any length."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) or (isinstance(value, int) and value.bit_length() < 64)


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "info"


def _where(event: LogEvent) -> str:
    return str(event.get("log_namespace") or "-").removeprefix("victron_twin.")


def _trace(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if failure is not None else ""
