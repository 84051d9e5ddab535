"""The embedded keeper of shadows: the cloud's semantics over one SQLite file.

**What a power cut costs.** The file is in WAL mode, so that it is never corrupted by one, and never by a kill either.
An update of reported alone is not synced to the disk one by one (``synchronous=NORMAL``): the twin says it again after
the next start, and a sync a second wears out a flash card for nothing. What others asked for and cannot know to repeat,
an update that touches desired and a delete, is on the disk before it is acknowledged (``FULL``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import orjson
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.state import InUse, StateError
from victron_twin.twin import shadow as rules
from victron_twin.twin.ledger import REPORTED_LIMIT
from victron_twin.twin.shadow import NEVER, Refused, Section, Shadow
from victron_twin.worker import Worker

from .backend import CLASSIC, ERRORS, Delta, Document, ShadowError, Unavailable, nothing
from .watchers import Watchers

#: The form of the tables; a file of another form is not touched.
SCHEMA = 1

#: Shadows that are held in memory beside the file, so that an update need not read what the last one wrote.
MOST_HELD = 512

T = TypeVar("T")


class LocalBackend:
    """A :class:`~victron_twin.shadows.backend.ShadowBackend` in a file, for one process at a time.

    ``clock`` gives the time of the metadata (epoch, s), ``worker`` does what blocks and belongs to this backend:
    it is started and stopped with it. ``start`` fails with a :class:`~victron_twin.state.StateError` where the file
    cannot be used; every other Deferred as the interface says.
    """

    name = "local"
    reported_limit = REPORTED_LIMIT
    is_cloud = False
    quiet = 0.0
    _log = Logger()

    def __init__(self, path: Path, clock: IReactorTime, worker: Worker) -> None:
        self._file = _File(path)
        self._clock = clock
        self._worker = worker
        self._open = False
        self._ill = False
        self._watchers = Watchers()

    def start(self) -> Deferred[None]:
        self._worker.start()
        return self._worker.run(self._file.open).addCallbacks(self._opened, self._not_opened)

    def stop(self) -> Deferred[None]:
        if not self._open:
            self._worker.stop()
            return succeed(None)
        self._open = False
        closed = self._worker.run(self._file.close)
        closed.addErrback(lambda failure: self._log.failure("closing the shadow store", failure))
        return closed.addBoth(lambda _: self._worker.stop())

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._run(self._file.get, thing, shadow, self._now())

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        try:
            # A copy by value: the caller's objects stay in the caller's thread.
            body = rules.compact(dict(request))
        except Refused as refused:
            return fail(ERRORS[refused.code](refused.message))
        return self._run(self._file.update, thing, shadow, body, self._now(), then=self._announce)

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._run(self._file.delete, thing, shadow, self._now())

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return self._run(self._file.names, thing)

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        return self._watchers.add(listener, missed)

    def _now(self) -> int:
        return int(self._clock.seconds())

    def _opened(self, _: None) -> None:
        self._open = True

    def _not_opened(self, failure: Failure) -> Failure:
        self._worker.stop()
        return failure

    def _run(self, function: Callable[..., Any], *args: Any, then: Callable[[Any], Any] | None = None) -> Deferred[Any]:
        if not self._open:
            return fail(Unavailable("the shadow store is not open"))
        # Whoever asked may stop waiting (an HTTP client that goes away cancels); what was accepted is announced still.
        answer: Deferred[Any] = Deferred()
        done = self._worker.run(function, *args)
        done.addCallback(self._well)
        if then is not None:
            done.addCallback(then)
        done.addCallbacks(answer.callback, lambda failure: answer.errback(self._error(failure)))
        return answer

    def _announce(self, result: tuple[Document, Delta | None]) -> Document:
        answer, delta = result
        if delta is not None:
            self._watchers.tell(delta)
        return answer

    def _well(self, result: T) -> T:
        if self._ill:
            self._ill = False
            self._log.info("the shadow store {path} works again", path=self._file.path)
        return result

    def _error(self, failure: Failure) -> ShadowError:
        error = failure.value
        if isinstance(error, Refused):
            return ERRORS[error.code](error.message)
        if isinstance(error, sqlite3.Error):
            message = f"the shadow store {self._file.path} cannot be used: {error}"
            if not self._ill:
                self._ill = True
                self._log.error("{message}", message=message)
            return Unavailable(message)
        self._log.failure("the shadow store failed", failure)
        return ShadowError("Internal service failure")


class _File:
    """The SQLite file. Everything here blocks and is called in one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection
        self._saved: dict[tuple[str, str], Shadow] = {}  # as they stand in the file, which nobody else writes
        self._synced: bool | None = None

    def open(self) -> None:
        self._saved.clear()
        self._synced = None
        try:
            # No transactions of the driver's own: each update is one statement.
            self._connection = sqlite3.connect(self.path, timeout=1, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _prepare(self) -> None:
        run = self._connection.execute
        # The first to come keeps the file, and there is no shared memory beside it.
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("BEGIN IMMEDIATE")
        damage = run("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        schema = run("PRAGMA user_version").fetchone()[0]
        if schema not in (0, SCHEMA):
            raise StateError(
                f"{self.path} was written by another version of victron-twin (form {schema}, this one knows {SCHEMA}); "
                "use that version, or move the file away to start with an empty store"
            )
        run(
            "CREATE TABLE IF NOT EXISTS shadow (thing TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, "
            "sections TEXT, PRIMARY KEY (thing, name))"
        )
        run(f"PRAGMA user_version={SCHEMA}")
        run("COMMIT")

    def _unusable(self, error: sqlite3.Error) -> StateError:
        text = " ".join(str(error).split())
        if "locked" in text:
            return InUse(f"{self.path} is in use by another process: end it, or set another state_dir")
        if "unable to open" in text or "readonly" in text:
            return StateError(
                f"state_dir: {self.path} cannot be opened ({text}); the folder must exist and be writable"
            )
        return StateError(f"{self.path} is damaged ({text}); move it away to start with an empty store")

    def close(self) -> None:
        self._connection.close()

    def get(self, thing: str, name: str, now: int) -> Document:
        return rules.document(self._existing(thing, name), now)

    def update(self, thing: str, name: str, body: bytes, now: int) -> tuple[Document, Delta | None]:
        request = rules.read(rules.parse(body))
        before = self._saved.get((thing, name)) or self._load(thing, name)
        shadow, answer = rules.update(before, request, now)
        others = request.state is None or "desired" in request.state
        self._save(thing, name, shadow, synced=others)
        # What leaves shares nothing with the shadow that is held.
        answer["state"] = rules.parse(body)["state"]
        delta = deepcopy(rules.delta(shadow))
        token = request.token or ""
        return answer, Delta(thing, name, delta, shadow.version, token) if delta else None

    def delete(self, thing: str, name: str, now: int) -> Document:
        shadow, answer = rules.delete(self._existing(thing, name), now)
        self._save(thing, name, shadow, synced=True)
        return answer

    def names(self, thing: str) -> list[str]:
        rules.check_names(thing, CLASSIC)
        query = "SELECT name FROM shadow WHERE thing=? AND name!=? AND sections IS NOT NULL ORDER BY name"
        return [name for (name,) in self._connection.execute(query, (thing, CLASSIC))]

    def _existing(self, thing: str, name: str) -> Shadow:
        shadow = self._load(thing, name)
        if shadow.deleted:
            full = f"{thing}~{name}" if name != CLASSIC else thing
            raise Refused(404, f"No shadow exists with name: '{full}'")
        return shadow

    def _load(self, thing: str, name: str) -> Shadow:
        rules.check_names(thing, name)
        query = "SELECT version, sections FROM shadow WHERE thing=? AND name=?"
        row = self._connection.execute(query, (thing, name)).fetchone()
        if row is None:
            return NEVER
        version, sections = row
        if sections is None:
            return Shadow(version, deleted=True)
        desired, reported = (Section(*pair) for pair in json.loads(sections))
        return Shadow(version, desired, reported)

    def _save(self, thing: str, name: str, shadow: Shadow, synced: bool) -> None:
        pairs = [[s.values, s.times] for s in (shadow.desired, shadow.reported)]
        sections = None if shadow.deleted else _text(pairs)
        self._saved.pop((thing, name), None)  # until it stands there
        if synced is not self._synced:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._synced = synced
        self._connection.execute(
            "INSERT INTO shadow VALUES (?, ?, ?, ?) "
            "ON CONFLICT (thing, name) DO UPDATE SET version=excluded.version, sections=excluded.sections",
            (thing, name, shadow.version, sections),
        )
        if len(self._saved) >= MOST_HELD:
            self._saved.clear()
        self._saved[thing, name] = shadow


def _text(sections: list[list[rules.Object]]) -> str:
    try:
        return orjson.dumps(sections).decode()
    except TypeError:  # an integer of more than 64 bits
        return rules.compact(sections).decode()
