"""Recordings of what a GX says: written while listening, and played back as a GX.

A recording is JSON lines, gzip where the name ends in ``.gz``: ``{"t": 1.25, "topic": "N/...", "payload": "...",
"retained": false, "qos": 0}`` with t in seconds, ``base64`` instead of ``payload`` where that is no UTF-8, and
``{"t": ..., "event": ...}`` for what the recorder itself saw or did.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import IO, Any, cast

from twisted.internet.interfaces import IReactorTime

from victron_twin.catalog.secrets import is_secret
from victron_twin.simulator.bus import Value
from victron_twin.simulator.plugin import SERIAL, Plugin, Publisher, device_of

#: The most that is lost when the recorder is killed, seconds.
_FLUSH = 5.0
MASKED = b'{"value":"******"}'
#: Messages under the portal id that the player makes itself.
_NOTICES = frozenset({"heartbeat", "full_publish_completed", "keepalive"})


class RecordingError(ValueError):
    """A recording cannot be used; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Message:
    """One recorded message; ``t`` in seconds since the recording began."""

    t: float
    topic: str
    payload: bytes
    retained: bool = False


def opened(path: Path, mode: str) -> IO[str]:
    """A recording as text, ``r`` or ``w``, gzip by its name."""
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, mode + "t", encoding="utf-8"))
    return path.open(mode, encoding="utf-8")


def read(path: Path) -> list[Message]:
    """The messages of a recording in the order of their time. Raises RecordingError.

    One that was cut off (the recorder was killed) ends where it was cut.
    """
    number = 0
    messages: list[Message] = []
    try:
        with opened(path, "r") as lines:
            for line in lines:
                number += 1
                if line.endswith("\n"):
                    messages += _messages(json.loads(line))
    except EOFError:
        pass
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error) as error:
        raise RecordingError(f"{path}, at or after line {number}, is no recording: {error!r}") from error
    return sorted(messages, key=lambda message: message.t)


def _messages(entry: Mapping[str, Any]) -> Iterator[Message]:
    if "event" in entry:
        return
    payload = base64.b64decode(entry["base64"]) if "base64" in entry else entry["payload"].encode()
    yield Message(float(entry["t"]), str(entry["topic"]), payload, bool(entry.get("retained", False)))


class Recorder:
    """Writes what a session hears, secrets masked: give it the session's ``messageReceived``.

    :ivar count: the messages that were written.
    """

    def __init__(self, clock: IReactorTime, file: IO[str]) -> None:
        self.count = 0
        self._clock = clock
        self._file = file
        self._began = self._flushed = clock.seconds()

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None:
        """Write a message."""
        name = topic.decode("utf-8", "backslashreplace")
        if payload and is_secret(name) and not _empty(payload):
            payload = MASKED
        entry: dict[str, Any] = {"topic": name}
        try:
            entry["payload"] = payload.decode()
        except UnicodeDecodeError:
            entry["base64"] = base64.b64encode(payload).decode()
        self._write({**entry, "retained": retained, "qos": 0})
        self.count += 1

    def event(self, name: str, **details: Any) -> None:
        """Write down something that was seen or done: ``event("connack", rc=0)``."""
        self._write({"event": name, **details})

    def close(self) -> None:
        """End the recording."""
        self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        now = self._clock.seconds()
        line = {"t": round(now - self._began, 4), **entry}
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        if now - self._flushed >= _FLUSH:
            self._flushed = now
            self._file.flush()


def _empty(payload: bytes) -> bool:
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("value") in (None, "", "[]", [])


class ReplayGX(Plugin):
    """A GX that says what a recording says, at ``speed`` times its pace, and stays as it ends.

    Serial, heartbeat, keepalive and completion are a GX's own, whatever the recording has of them; so are the answers
    to reads. Writes have no effect. A restart goes on where the recording was.
    """

    def __init__(
        self,
        clock: IReactorTime,
        messages: Sequence[Message],
        random: Random,
        *,
        password: str | None,
        speed: float = 1.0,
    ) -> None:
        """Raises RecordingError where nothing of a GX was recorded."""
        portal_id = _portal_id(messages)
        super().__init__(clock, random, portal_id=portal_id, password=password)
        start = f"N/{portal_id}/"
        notices = {start + notice for notice in _NOTICES}
        self._messages = [m for m in messages if m.topic.startswith(start) and m.topic not in notices]
        self._start = len(start)
        self._speed = speed
        self._position = 0
        self._at = 0.0
        self._origin = 0.0
        self._state: dict[str, bytes] = {SERIAL: b'{"value":"%s"}' % portal_id.encode()}
        self._listeners: list[Callable[[], object]] = []

    def when_ended(self, call: Callable[[], object]) -> None:
        """Call once, when all has been played."""
        self._listeners.append(call)

    @property
    def ended(self) -> bool:
        """Whether all has been played."""
        return self._position == len(self._messages)

    def start(self, broker: Publisher) -> None:
        """Begin to play, or go on."""
        super().start(broker)
        self._origin = self.clock.seconds() - self._at / self._speed
        self._play()

    def stop(self) -> None:
        """Play no more."""
        self._at = self._played()
        super().stop()

    def topics(self) -> Iterator[str]:
        """What the recording has shown until now."""
        return iter(self._state)

    def payload(self, topic: str) -> bytes | None:
        """The last recorded payload."""
        return self._state.get(topic)

    def write(self, topic: str, value: Value) -> None:
        """Nothing is there that could follow it."""

    def scanned(self, device: str) -> None:
        """Nothing to prepare."""

    def _played(self) -> float:
        return (self.clock.seconds() - self._origin) * self._speed

    def _play(self) -> None:
        now, due = self._played(), []
        while not self.ended and self._messages[self._position].t <= now + 1e-6:
            due.append(self._messages[self._position])
            self._position += 1
        for message in due:
            self._show(message.topic[self._start :], message.payload)
        if not self.ended:
            self._call(max(0.0, (self._messages[self._position].t - now) / self._speed), self._play)
            return
        listeners, self._listeners = self._listeners, []
        for call in listeners:
            call()

    def _show(self, topic: str, payload: bytes) -> None:
        if payload:
            self._state[topic] = payload
            self.changed([topic])
        elif topic != SERIAL:
            self._state.pop(topic, None)
            self.gone([topic])


def _portal_id(messages: Iterable[Message]) -> str:
    topics = [message.topic.split("/") for message in messages if message.topic.startswith("N/")]
    named = [parts[1] for parts in topics if device_of("/".join(parts[2:])) == "system/0"] or [p[1] for p in topics]
    if not named:
        raise RecordingError("the recording has no message of a GX (N/<portal id>/...)")
    return named[0]
