"""The log: a line for people, or a JSON object for machines, on standard output."""

from __future__ import annotations

from typing import IO, Any

import orjson
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

FORMATS = ("human", "json")
LEVELS = ("debug", "info", "warn", "error", "critical")

#: Keys of an event that are Twisted's own, or not for a log.
_INNER = frozenset(
    {"log_logger", "log_source", "log_trace", "log_text", "message", "time", "isError", "system", "format"}
)


def observer(stream: IO[str], form: str, level: str) -> ILogObserver:
    """What writes events of at least this level to a stream."""
    write: ILogObserver = _Json(stream) if form == "json" else _Human(stream)
    return FilteringLogObserver(write, [LogLevelFilterPredicate(LogLevel.levelWithName(level))])


def _where(event: LogEvent) -> str:
    return str(event.get("log_namespace") or "-").removeprefix("victron_twin.")


def _trace(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if failure is not None else ""


@implementer(ILogObserver)
class _Human:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        text = formatEvent(event).replace("\n", "\n    ")
        line = f"{iso(event['log_time'])} {level.name if level else 'info':<8} {_where(event)}: {text}\n"
        trace = _trace(event)
        self._stream.write(line + (f"    {trace.strip()}\n".replace("\n", "\n    ").rstrip(" ") if trace else ""))
        self._stream.flush()


@implementer(ILogObserver)
class _Json:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level")
        line: dict[str, Any] = {
            "time": iso(event["log_time"]),
            "level": level.name if level else "info",
            "where": _where(event),
            "message": formatEvent(event),
        }
        for key, value in event.items():
            if not key.startswith("log_") and key not in _INNER and isinstance(value, str | int | float | bool):
                line.setdefault(key, value)
        if trace := _trace(event):
            line["trace"] = trace
        self._stream.write(orjson.dumps(line, default=str).decode() + "\n")
        self._stream.flush()
