"""Publishes the audit log to a topic, from its files: offline nothing is kept but up to which line it was done.

A message is ``{"lines": [...], "thing": ...}`` with lines as they stand in the log, so that whoever gets them can
verify the chain. Each is sent until it is acknowledged, in order; one message is under way at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.config.forms import THING_HERE
from victron_twin.shadows.backend import Messenger, ShadowError, TooLarge, Unavailable
from victron_twin.state import StateError
from victron_twin.twin.shadow import THING_NAME

from .chain import Entry, Head, head_of
from .journal import Journal

#: Bytes of a message that goes for one with AWS, which counts by 5 kB; a longer line is a message by itself.
LARGEST = 5_000
#: From a line to its message, in s: those that come meanwhile go with it.
GATHER = 5.0
#: A message that was not acknowledged by then has failed, in s.
PATIENCE = 30.0
#: From a failure to the next attempt, in s, doubled up to the second.
FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0


class Publisher(Service):
    """``topic`` may have ``{thing}`` in it, then each line goes to its thing's topic. ``thing`` is the main thing: it
    has the lines of the log that are of none, and without ``{thing}`` all of them.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, journal: Journal, messenger: Messenger, topic: str, thing: str) -> None:
        self._clock = clock
        self._journal = journal
        self._messenger = messenger
        self._topic = topic
        self._thing = thing
        self._mark: Head | None = None  # the last line that was acknowledged; None: not known yet
        self._news = False  # lines may have come since the log was read
        self._timer: IDelayedCall | None = None
        self._work: Deferred[None] | None = None
        self._busy = False
        self._failures = 0  # one after another
        self._told: set[type] = set()  # the kinds of failures that were logged since the last message

    def startService(self) -> None:
        super().startService()
        self._journal.watch(self._more)

    def stopService(self) -> None:
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._work is not None:
            self._work.cancel()

    def _more(self) -> None:
        """The log was opened, or a line has come."""
        self._news = True
        if self._mark is None and not self._failures:
            self._begin()  # before anything new can come
        else:
            self._wait(GATHER)

    def _wait(self, seconds: float) -> None:
        if self.running and self._timer is None and not self._busy:
            self._timer = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self.running and not self._busy:
            self._busy = True
            self._work = Deferred.fromCoroutine(self._go()).addCallbacks(self._done, self._failed)

    def _done(self, _: None) -> None:
        self._busy = False
        if self._news:
            self._wait(GATHER)

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        if not self.running:
            return
        self._failures += 1
        self._tell(failure)
        self._wait(min(FIRST_WAIT * 2.0 ** min(self._failures - 1, 16), LONGEST_WAIT))

    def _tell(self, failure: Failure) -> None:
        """Each kind of failure once; and a link need not be there at the first attempt."""
        kind = type(failure.value)
        if kind in self._told or (kind is Unavailable and self._failures == 1):
            return
        self._told.add(kind)
        if failure.check(ShadowError, OSError):
            why = failure.getErrorMessage()
            self._log.warn("The audit log cannot be published now: {why}; trying on.", why=why)
        else:
            self._log.failure("the audit log could not be published", failure)

    async def _go(self) -> None:
        if self._mark is None:
            self._mark = await self._find()
            return
        more = True
        while more:
            self._news = False
            lines = await self._journal.lines(self._mark.line, LARGEST)
            entries: list[Entry] = [json.loads(line) for line in lines]
            count = self._fitting(lines, entries)
            if count:
                await self._send(self._mark.line, lines[:count], entries[:count])
            more = count < len(lines) or sum(map(len, lines)) >= LARGEST

    async def _find(self) -> Head:
        """Up to where it was published."""
        try:
            mark = await self._journal.published()
        except StateError as error:
            self._log.warn("{error}: all of the audit log is published", error=str(error))
            return Head()
        if mark.line:
            lines = await self._journal.lines(mark.line - 1, 1)
            if not lines or not _follows(mark, json.loads(lines[0])):
                self._log.warn("The audit log is not the one that was published before: all of it is published")
                return Head()
        return mark

    def _fitting(self, lines: Sequence[bytes], entries: Sequence[Entry]) -> int:
        """How many go into one message: of one thing, where topics are of one."""
        things = [self._thing_of(entry) for entry in entries]
        count = 1
        while count < len(lines) and things[count] == things[0]:
            if len(_message(lines[: count + 1], things[0])) > LARGEST:
                break
            count += 1
        return min(count, len(lines))

    async def _send(self, after: int, lines: Sequence[bytes], entries: Sequence[Entry]) -> None:
        """One message, until it is acknowledged and that is noted."""
        thing, last = self._thing_of(entries[0]), head_of(entries[-1])
        sent = self._messenger.publish(self._topic.replace(THING_HERE, thing), _message(lines, thing))
        try:
            await sent.addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {PATIENCE:.0f} s") from None
        except TooLarge as error:
            if len(lines) > 1:
                raise
            self._log.error("Line {line} of the audit log is not published: {error}", line=last.line, error=str(error))
        self._mark = last
        missing = _missing(after, entries)
        if missing:
            self._log.warn(
                "Lines of the audit log were removed or changed before they were published: {missing}", missing=missing
            )
        await self._journal.note_published(last)
        if self._told:
            self._log.info("The audit log is published again")
        self._told.clear()
        self._failures = 0

    def _thing_of(self, entry: Entry) -> str:
        thing = entry.get("thing")
        of_one = THING_HERE in self._topic and isinstance(thing, str) and THING_NAME.fullmatch(thing)
        return cast("str", thing) if of_one else self._thing


def _message(lines: Sequence[bytes], thing: str) -> bytes:
    return b'{"lines":[%s],"thing":"%s"}' % (b",".join(lines), thing.encode())


def _follows(mark: Head, entry: Entry) -> bool:
    """Whether this, the first line from the mark on that is there, is of the log that the mark is of."""
    if entry["line"] == mark.line:
        return bool(entry["hash"] == mark.hash)
    return entry["line"] > mark.line + 1 or bool(entry.get("previous") == mark.hash)


def _missing(after: int, entries: Sequence[Entry]) -> str:
    """The numbers that are left out, as ``3, 5 to 7``."""
    gaps = []
    for entry in entries:
        if entry["line"] > after + 1:
            gaps.append(f"{after + 1} to {entry['line'] - 1}" if entry["line"] > after + 2 else str(after + 1))
        after = entry["line"]
    return ", ".join(gaps)
