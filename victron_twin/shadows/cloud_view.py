"""Looks at what the cloud holds of shadows that something else syncs to it, and repairs what got lost on the way.

Shadow Manager acknowledges an update when it is in its own store. It merges what waits for its way to the cloud, and
a null among other values is lost then: the cloud keeps a value that nobody reports any more. Nothing tells of it, so
that the cloud's own document is read after a delete, after a start and after a lost link.

A value that is left behind is set again as the cloud has it, so that there is something to delete; the sync then sees
a value that nobody wants, and deletes it, with quiet around it. A value that did not arrive is written again. A desire
that was cleared here and is still in the cloud is desired here once more, to be decided and cleared as before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from victron_twin.twin.flat import Flat, Path, flatten, plain
from victron_twin.twin.summary import SHADOW

from .backend import Document, NotFound, ShadowError, Unauthorized
from .parts import Shadow
from .sync import ShadowSync

#: How often shadows that are to be verified are looked at, in s.
LOOK = 5.0
#: From a delete to the first look, and from one look at a shadow to the next, in s: the way to the cloud takes time.
SETTLE = 8.0
#: What is repaired is looked at after twice the time before, up to this, in s: where the sync is slow, or periodic, a
#: repair gets lost as well, and each look costs data.
LONGEST_SETTLE = 3 * 3600.0
#: Each shadow is verified after this long in any case, in s: some failures of the sync leave no trace at all. A look
#: costs an operation and up to 20 kB, so that it is no more often.
REVIEW = 12 * 3600.0
#: Whether the cloud is there is asked no more often than this, in s.
ASK = 30.0
#: While the cloud does not answer, in s, doubled up to the second.
FIRST_WAIT, LONGEST_WAIT = 10.0, 300.0
#: A shadow whose values move all the time is never seen equal; after so many looks that is taken for the reason.
MOST_LOOKS = 6


@runtime_checkable
class CloudSide(Protocol):
    """What a backend offers whose documents are only on their way to the cloud."""

    def cloud_document(self, thing: str, shadow: str) -> Deferred[Document]:
        """The cloud's own document. Fails with NotFound, and with Unavailable while the cloud is out of reach."""

    def on_cloud(self, listener: Callable[[str, str, int, int], None]) -> Callable[[], None]:
        """Call ``listener(thing, shadow, version, timestamp)`` where the cloud has accepted an update of victron-twin.

        ``timestamp`` is the cloud's, in s.
        """


@dataclass(slots=True)
class Seen:
    """The last look at a shadow: what the cloud had too much, and what it had not as it was acknowledged.

    ``desired`` is what is desired there and not here, ``settle`` how long the next look waits, in s.
    """

    at: float = 0.0
    left: Flat = field(default_factory=dict)
    behind: Flat = field(default_factory=dict)
    desired: Flat = field(default_factory=dict)
    looks: int = 0
    settle: float = SETTLE


class CloudView(Service):
    """Verifies the shadows that a sync marks as unverified. ``last_sync`` is when the cloud last took an update,
    ``heard`` when it last said anything."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, sync: ShadowSync, cloud: CloudSide) -> None:
        self.last_sync: float | None = None
        self.heard: float | None = None
        self._clock = clock
        self._sync = sync
        self._cloud = cloud
        self._seen: dict[tuple[str, str], Seen] = {}
        self._busy = False
        self._wait = 0.0
        self._not_before = 0.0
        self._forbidden = False
        self._asked = 0.0
        self._reviewed = clock.seconds()
        self._unwatch: Callable[[], None] = lambda: None
        self._look = LoopingCall(self._round)
        self._look.clock = clock

    def startService(self) -> None:
        super().startService()
        self._unwatch = self._cloud.on_cloud(self._accepted)
        self._look.start(LOOK, now=False).addErrback(
            lambda failure: self._log.failure("the look at the cloud has stopped", failure)
        )

    def stopService(self) -> None:
        super().stopService()
        self._unwatch()
        if self._look.running:
            self._look.stop()

    def _accepted(self, thing: str, shadow: str, version: int, timestamp: int) -> None:
        self.last_sync = max(self.last_sync or 0.0, float(timestamp))
        self.heard = self._clock.seconds()
        self._not_before = self._wait = 0.0  # it is there again

    def ask(self, thing: str) -> None:
        """Whether the cloud is there: its document of the smallest shadow is asked for, at most once in a while."""
        if self._clock.seconds() < self._asked + ASK:
            return
        self._asked = self._clock.seconds()
        self._document(thing, SHADOW).addErrback(lambda failure: failure.trap(ShadowError))

    def _document(self, thing: str, shadow: str) -> Deferred[Document]:
        def heard(document: Document) -> Document:
            self.heard = self._clock.seconds()
            return document

        def missing(failure: Failure) -> Document:
            failure.trap(NotFound)
            return heard({"state": {}})

        return self._cloud.cloud_document(thing, shadow).addCallbacks(heard, missing)

    def _round(self) -> None:
        if self._busy or self._forbidden or self._clock.seconds() < self._not_before:
            return
        self._busy = True
        Deferred.fromCoroutine(self._verify_all()).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self._busy = False
        self._log.failure("the cloud's documents could not be verified", failure)

    async def _verify_all(self) -> None:
        if self._clock.seconds() - self._reviewed >= REVIEW:
            self._reviewed = self._clock.seconds()
            for shadow in self._sync.shadows():
                shadow.unverified = True
        for shadow in self._sync.shadows():
            if not self.running:
                break
            if not self._ready(shadow):
                continue
            try:
                await self._verify(shadow)
            except Unauthorized as error:
                self._forbidden = True
                self._log.error("What the cloud holds cannot be verified: {why}", why=error.message)
                break
            except ShadowError as error:
                self._wait = min(max(FIRST_WAIT, 2 * self._wait), LONGEST_WAIT)
                self._not_before = self._clock.seconds() + self._wait
                self._log.debug("The cloud does not answer: {why}", why=error.message)
                break
            self._wait = 0.0
        self._busy = False

    def _ready(self, shadow: Shadow) -> bool:
        now = self._clock.seconds()
        seen = self._seen.get((shadow.thing, shadow.name), Seen())
        return (
            shadow.unverified
            and shadow.known
            and not (shadow.stale or shadow.problem or shadow.put_back)
            and now >= max(shadow.removed, seen.at) + seen.settle
        )

    async def _verify(self, shadow: Shadow) -> None:
        removed = shadow.removed
        document = await self._document(shadow.thing, shadow.name)
        if shadow.removed != removed or shadow.stale:
            return  # it is another document by now
        cloud = flatten(document["state"].get("reported") or {})
        here = shadow.ledger.acknowledged
        seen = Seen(
            self._clock.seconds(),
            _beside(cloud, here),
            {path: value for path, value in here.items() if cloud.get(path) != value},
            _beside(flatten(plain(document["state"].get("desired") or {})), flatten(shadow.ledger.desired)),
        )
        key = shadow.thing, shadow.name
        before = self._seen.pop(key, Seen())
        seen.looks, seen.settle = before.looks + 1, before.settle
        if not (seen.left or seen.desired) and (not seen.behind or seen.looks > MOST_LOOKS):
            shadow.unverified = False
            return
        self._seen[key] = seen
        left = {path: value for path, value in seen.left.items() if path in before.left}
        behind = [path for path, value in seen.behind.items() if before.behind.get(path) == value]
        desired = {path: value for path, value in seen.desired.items() if before.desired.get(path) == value}
        if left or behind or desired:
            self._seen[key] = Seen(settle=min(2 * seen.settle, LONGEST_SETTLE))
            self._repair(shadow, left, behind, desired, LogLevel.info if seen.settle == SETTLE else LogLevel.debug)

    def _repair(self, shadow: Shadow, left: Flat, behind: list[Path], desired: Flat, level: LogLevel) -> None:
        """What has been so for two looks does not mend itself."""
        self._log.emit(
            level,
            "The cloud's {shadow} differs from what was written ({left} left behind, {behind} not arrived, {desired} "
            "still desired): repairing",
            shadow=shadow.name,
            left=len(left),
            behind=len(behind),
            desired=len(desired),
        )
        self._sync.repair(shadow, left, behind, desired)


def _beside(cloud: Flat, here: Flat) -> Flat:
    """The leaves in the cloud of which nothing is held here, nor a leaf above them."""
    return {
        path: value
        for path, value in cloud.items()
        if not any(path[:length] in here for length in range(1, len(path) + 1))
    }
