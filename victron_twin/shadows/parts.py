"""What the sync service deals in: sources of documents, shadows on their way, and desires that are decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from victron_twin.catalog.model import Cadence
from victron_twin.twin.flat import Flat, Path
from victron_twin.twin.ledger import Ledger, Patch
from victron_twin.twin.sheet import Sheet


class Source(Protocol):
    """Where the documents come from: the twin of one GX."""

    def sheets(self, now: float) -> Mapping[str, Sheet]:
        """The reported section of each shadow, as things are now."""

    def restore(self, shadow: str, reported: Mapping[str, Any]) -> None:
        """What the backend holds of a shadow when the service starts."""


class Decider(Protocol):
    """Who decides on what is desired."""

    def prepare(self) -> Deferred[None]:
        """Called once before anything is read; nothing is written before it is done."""

    def read(self, shadow: Shadow) -> None:
        """What the backend holds was read into the shadow's ledger."""

    def propose(self, shadow: Shadow, leaves: Flat) -> Deferred[None]:
        """These leaves of desired are about to be settled with these values; they are not before this is done."""

    def accepted(self, shadow: Shadow, leaves: Flat) -> None:
        """They were."""

    def finish(self) -> Deferred[None]:
        """Called once at the end, after the last update."""


@dataclass(frozen=True, slots=True)
class Cadences:
    """Seconds between the looks at each class of fields, and the longest that a change waits for others."""

    critical: float = 1.0
    normal: float = 10.0
    slow: float = 60.0
    batch: float = 10.0

    def of(self, cadence: Cadence) -> float:
        """Seconds between two looks."""
        return {Cadence.CRITICAL: self.critical, Cadence.NORMAL: self.normal, Cadence.SLOW: self.slow}[cadence]


@dataclass(slots=True)
class Settlement:
    """Desires that are decided: those to be overwritten with what is reported, and those that no field takes.

    ``decided_on`` is the ledger's count of reads when they were decided: what was read later may hold newer ones.
    ``told``: the paths are settled, and what is to be cleared goes before any other update, or never might.
    ``done`` fires with whether it was accepted; False: decide again.
    """

    paths: tuple[Path, ...]
    clear: tuple[Path, ...]
    decided_on: int
    told: bool = False
    done: Deferred[bool] = field(default_factory=Deferred)


@dataclass(slots=True)
class Rest:
    """How long the shadows of a thing are written for critical fields alone, because the backend asked for fewer."""

    first: float = 5.0
    longest: float = 15.0
    until: float = 0.0
    length: float = 0.0

    def begin(self, now: float) -> None:
        """Too many requests: rest, twice as long as the last time; what comes during a rest is part of it."""
        if now >= self.until:
            self.length = min(max(self.first, 2 * self.length), self.longest)
            self.until = now + self.length

    def over(self) -> None:
        """An update was taken."""
        self.length /= 2


@dataclass(slots=True)
class Shadow:
    """One named shadow of one thing on its way to the backend."""

    thing: str
    name: str
    ledger: Ledger = field(default_factory=Ledger)
    known: bool = False  #: what the backend holds has been read
    stale: bool = False  #: somebody else has written, or an answer was lost: read again
    busy: bool = False
    due: bool = False
    settle: Settlement | None = None
    news: int = 0  #: the highest version that was heard of
    due_since: float | None = None  #: since when an update waits for its acknowledgement
    written: float = 0.0
    touched: float = 0.0  #: the last update of any kind, or the first read
    removed: float = 0.0  #: the last delete
    read: float = 0.0  #: when it was last read
    put_back: Patch | None = None  #: to be set, so that it can be deleted, or desired, so that it is decided on
    unverified: bool = False  #: a delete may have been lost on its way to the cloud
    wait: float = 0.0
    not_before: float = 0.0
    updates: int = 0
    failures: int = 0
    problem: str = ""

    @property
    def clears(self) -> bool:
        """Whether a settlement is told, so that what it clears is next."""
        return self.settle is not None and self.settle.told
