"""What must be known after a crash: what was settled, which actions were begun, what is held, and every step taken.

One SQLite file, and the audit log in a folder beside it. Everything here is on the disk before it is acted upon
(``synchronous=FULL``): an action that is begun after a power cut must be known to have been begun before it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from victron_twin.state import StateError
from victron_twin.twin.flat import Path as FieldPath
from victron_twin.twin.holds import Hold, from_json, to_json
from victron_twin.worker import Worker

from .audit import KEPT, Audit, Kept, take_over
from .chain import Head
from .tail import Tail, read_mark, write_mark

#: Form 1 had the steps of the audit log in a table of its own, form 2 no holds.
SCHEMA = 3
#: Ids of actions are kept this long, in s.
IDS_KEPT = 30 * 86_400.0
#: The folder of the audit log, beside the database.
AUDIT = "audit"
#: Up to which line that was published, alike.
PUBLISHED = "audit.published"

_HOLDS = """
CREATE TABLE holds (thing TEXT, shadow TEXT, path TEXT, hold TEXT, PRIMARY KEY (thing, shadow, path)) WITHOUT ROWID;
"""
_TABLES = f"""
CREATE TABLE settled (thing TEXT, shadow TEXT, path TEXT, value TEXT, proposed TEXT,
                      PRIMARY KEY (thing, shadow, path)) WITHOUT ROWID;
CREATE TABLE ids (thing TEXT, id TEXT, at REAL, asked TEXT, done INTEGER, PRIMARY KEY (thing, id)) WITHOUT ROWID;
{_HOLDS}
PRAGMA user_version = {SCHEMA};
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the audit log. ``step`` is received, refused, written, confirmed or settled; ``result`` is never
    empty; ``at`` is ISO 8601."""

    at: str
    thing: str
    shadow: str
    field: str
    old: Any
    new: Any
    step: str
    result: str
    reason: str
    id: str
    version: int
    clientToken: str = ""


@dataclass(slots=True)
class Record:
    """What the journal knows of one thing."""

    settled: dict[str, dict[FieldPath, tuple[Any, ...]]]  #: a proposed value too; None before it: none was settled
    ids: dict[str, tuple[Any, bool]]  #: what was asked with an id, and whether it is known to be done
    holds: dict[str, dict[FieldPath, Hold]] = field(default_factory=dict)


class Journal:
    """Does its work in a worker of its own; every method's Deferred fires when it is on the disk.

    Without ``sync`` the system brings it there when it likes: to measure what waiting for it costs.
    """

    _log = Logger()

    def __init__(self, path: Path, worker: Worker, kept: Kept = KEPT, sync: bool = True) -> None:
        self._path = path
        self._worker = worker
        self._kept = kept
        self._sync = sync
        self._audit = Audit(path.with_name(AUDIT), kept)
        self._tail = Tail(path.with_name(AUDIT))
        self._mark = path.with_name(PUBLISHED)
        self._news: Callable[[], None] | None = None
        self._is_open = False
        self._db: sqlite3.Connection | None = None

    def open(self) -> Deferred[None]:
        """Fails with StateError where the file cannot be used."""
        self._worker.start()
        return self._worker.run(self._open).addCallback(self._opened)

    def close(self) -> Deferred[None]:
        return self._worker.run(self._close).addBoth(lambda _: self._worker.stop())

    def record(self, thing: str) -> Deferred[Record]:
        return self._worker.run(self._record, thing)

    def propose(self, thing: str, shadow: str, leaves: Mapping[FieldPath, Any]) -> Deferred[None]:
        """These values will be written to desired: until it is known whether they were, both count as settled."""
        return self._worker.run(self._propose, thing, shadow, dict(leaves))

    def settle(self, thing: str, shadow: str, leaves: Mapping[FieldPath, Any]) -> Deferred[None]:
        """These values stand in desired now."""
        return self._worker.run(self._settle, thing, shadow, dict(leaves))

    def begin(self, thing: str, identity: str, asked: Any, now: float) -> Deferred[None]:
        """An action is about to be done: its id is used from now on."""
        return self._worker.run(self._begin, thing, identity, json.dumps(asked), now)

    def done(self, thing: str, identity: str) -> Deferred[None]:
        """It is known that the action was done."""
        return self._worker.run(self._done, thing, identity)

    def hold(self, thing: str, shadow: str, path: FieldPath, hold: Hold, begun: float | None = None) -> Deferred[None]:
        """Something is left to be done later; ``begun`` is when its id is used for the first time, if it is."""
        return self._worker.run(self._hold, thing, shadow, path, hold, begun)

    def forget(self, thing: str, shadow: str, path: FieldPath) -> Deferred[None]:
        """Nothing is left."""
        return self._worker.run(self._forget, thing, shadow, path)

    def note(self, step: Step) -> Deferred[None]:
        """One more line of the audit log."""
        return self._worker.run(self._audit.append, asdict(step), self._sync).addCallback(self._tell)

    def steps(self, limit: int = 100) -> Deferred[list[dict[str, Any]]]:
        """The newest steps of the audit log, newest first."""
        return self._worker.run(self._audit.newest, limit)

    def watch(self, news: Callable[[], None]) -> None:
        """Call this when the audit log is open, at once if it is, and after each line of it."""
        self._news = news
        if self._is_open:
            news()

    def lines(self, after: int, enough: int) -> Deferred[list[bytes]]:
        """What the audit log has after this line, as :meth:`Tail.after` says; fails with OSError."""
        return self._worker.run(self._tail.after, after, enough)

    def published(self) -> Deferred[Head]:
        """The last line of the audit log that was published. Where none was, that is now the last one that there is.

        Fails with StateError where it is not known, and with OSError.
        """
        return self._worker.run(self._published)

    def note_published(self, head: Head) -> Deferred[None]:
        """The log was published up to this line. Fails with OSError."""
        return self._worker.run(write_mark, self._mark, head)

    def _opened(self, trouble: str) -> None:
        if trouble:
            self._log.warn("the audit log: {trouble}", trouble=trouble)
        self._is_open = True
        self._tell(None)

    def _tell(self, _: None) -> None:
        if self._news is not None:
            self._news()

    # in the worker

    def _open(self) -> str:
        try:
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'OFF'}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_TABLES} COMMIT;")
            elif version in (1, 2):
                if version == 1:
                    self._from_first_form(db)
                db.executescript(f"BEGIN; {_HOLDS} PRAGMA user_version = {SCHEMA}; COMMIT;")
            elif version != SCHEMA:
                raise sqlite3.DatabaseError(f"its form is {version}, not {SCHEMA}")
            db.execute("SELECT count(*) FROM settled").fetchone()
        except sqlite3.Error as error:
            raise StateError(
                f"{self._path} cannot be used ({error}): move it away, it is made anew, but actions that were asked "
                "for before may then run again"
            ) from None
        try:
            trouble = self._audit.open()
        except OSError as error:
            raise StateError(
                f"{self._path.with_name(AUDIT)} cannot be used ({error}): move it away, the audit log is made anew"
            ) from None
        self._db = db
        return trouble

    def _from_first_form(self, db: sqlite3.Connection) -> None:
        rows = db.execute("SELECT step FROM steps ORDER BY number")
        take_over(self._path.with_name(AUDIT), self._kept, (json.loads(row[0]) for row in rows))
        rows.close()
        db.executescript("BEGIN; DROP TABLE steps; PRAGMA user_version = 2; COMMIT;")

    def _published(self) -> Head:
        mark = read_mark(self._mark)
        if mark is None:
            mark = self._audit.head()
            write_mark(self._mark, mark)
        return mark

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("the journal is not open")
        return self._db

    def _record(self, thing: str) -> Record:
        settled: dict[str, dict[FieldPath, tuple[Any, ...]]] = {}
        rows = self._open_db.execute("SELECT shadow, path, value, proposed FROM settled WHERE thing = ?", (thing,))
        for shadow, path, value, proposed in rows:
            values = ("null" if value is None else value, *(() if proposed is None else (proposed,)))
            settled.setdefault(shadow, {})[tuple(json.loads(path))] = tuple(map(json.loads, values))
        ids = self._open_db.execute("SELECT id, asked, done FROM ids WHERE thing = ?", (thing,))
        used = {identity: (json.loads(asked), bool(done)) for identity, asked, done in ids}
        holds: dict[str, dict[FieldPath, Hold]] = {}
        for shadow, path, hold in self._open_db.execute(
            "SELECT shadow, path, hold FROM holds WHERE thing = ?", (thing,)
        ):
            holds.setdefault(shadow, {})[tuple(json.loads(path))] = from_json(json.loads(hold))
        return Record(settled, used, holds)

    def _propose(self, thing: str, shadow: str, leaves: dict[FieldPath, Any]) -> None:
        with _Transaction(self._open_db) as db:
            db.executemany(
                "INSERT INTO settled (thing, shadow, path, proposed) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET proposed = excluded.proposed",
                [(thing, shadow, json.dumps(path), json.dumps(value)) for path, value in leaves.items()],
            )

    def _settle(self, thing: str, shadow: str, leaves: dict[FieldPath, Any]) -> None:
        with _Transaction(self._open_db) as db:
            db.executemany(
                "INSERT INTO settled (thing, shadow, path, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value, proposed = NULL",
                [(thing, shadow, json.dumps(path), json.dumps(value)) for path, value in leaves.items()],
            )

    def _begin(self, thing: str, identity: str, asked: str, now: float) -> None:
        with _Transaction(self._open_db) as db:
            _use(db, thing, identity, asked, now, done=False)

    def _hold(self, thing: str, shadow: str, path: FieldPath, hold: Hold, begun: float | None) -> None:
        with _Transaction(self._open_db) as db:
            if begun is not None:
                _use(db, thing, hold.id, json.dumps(hold.asked), begun, done=True)
            db.execute(
                "INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)",
                (thing, shadow, json.dumps(path), json.dumps(to_json(hold))),
            )

    def _forget(self, thing: str, shadow: str, path: FieldPath) -> None:
        sql = "DELETE FROM holds WHERE thing = ? AND shadow = ? AND path = ?"
        self._open_db.execute(sql, (thing, shadow, json.dumps(path)))

    def _done(self, thing: str, identity: str) -> None:
        self._open_db.execute("UPDATE ids SET done = 1 WHERE thing = ? AND id = ?", (thing, identity))


def _use(db: sqlite3.Connection, thing: str, identity: str, asked: str, now: float, done: bool) -> None:
    """An id is used from now on; those that are old enough may be used again."""
    db.execute("DELETE FROM ids WHERE at < ?", (now - IDS_KEPT,))
    db.execute("INSERT INTO ids VALUES (?, ?, ?, ?, ?)", (thing, identity, now, asked, done))


class _Transaction:
    """All or nothing, on the disk at the end."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        self._db.execute("BEGIN IMMEDIATE")
        return self._db

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
