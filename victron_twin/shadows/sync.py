"""Keeps the shadows as the twin says: per shadow, the difference against what was last acknowledged, one in flight."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.catalog.model import Cadence
from victron_twin.twin.desires import at
from victron_twin.twin.flat import Flat, Path
from victron_twin.twin.ledger import Ledger, Patch
from victron_twin.twin.sheet import Sheet

from .backend import Conflict, Document, NotFound, ShadowBackend, ShadowError, Throttled, Unavailable
from .parts import Cadences, Decider, Rest, Settlement, Shadow, Source

#: A backend that has not answered by then is taken as unreachable, in s.
ANSWER_TIMEOUT = 15.0
#: How often an update is decided anew because somebody else wrote in between, before it waits like after a failure.
CONFLICTS = 5
#: So many updates in a row bring any document about.
MOST_STEPS = 20
#: The last flush at a stop may take this long, in s.
LAST_FLUSH = 3.0
#: After a failure a shadow waits this long, doubled each time up to the second, in s.
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0


Fatal = Callable[[str], None]


class _Later(Exception):
    """Nothing may be written before ``at``."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at


class ShadowSync(Service):
    """Owns the backend: opens it, reads what it holds, flushes per cadence, flushes at the stop and closes it."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, backend: ShadowBackend, cadences: Cadences, names: frozenset[str], fatal: Fatal
    ) -> None:
        """``names`` are the shadows that are ours; others of the thing are left alone.

        ``fatal`` is called with a message where the backend cannot be opened at all.
        """
        self.backend = backend
        self.clock = clock
        self.acknowledged: float | None = None  #: when the last update was
        self.answered: float | None = None  #: when the backend last answered anything
        self._cadences = cadences
        self._fatal = fatal
        self._names = names
        self._sources: dict[str, Source] = {}
        self._added: dict[str, float] = {}
        self._listed: set[str] = set()
        self._shadows: dict[tuple[str, str], Shadow] = {}
        self._calls: dict[Cadence, LoopingCall] = {}
        self._decider: Decider | None = None
        self._listing: dict[str, float] = {}
        self._rests: dict[str, Rest] = {}
        self._opened: Deferred[None] | None = None
        self._is_open = False
        self._waiting: list[Deferred[None]] = []

    def add(self, thing: str, source: Source) -> None:
        """Keep the shadows of a thing as this source says."""
        self._sources[thing] = source
        self._added[thing] = self.clock.seconds()

    def decide(self, decider: Decider) -> None:
        """From the start on, let this one decide on what is desired."""
        self._decider = decider

    def refresh(self, thing: str, name: str, version: int) -> None:
        """Read what the backend holds, where this version is news: our own updates make deltas too."""
        if name not in self._names or thing not in self._listed:
            return
        shadow = self._shadows.get((thing, name))
        if shadow is None:
            shadow = self._shadows[thing, name] = self._new(thing, name)
        shadow.news = max(shadow.news, version)
        if shadow.busy or version <= shadow.ledger.version:
            return
        shadow.stale = True
        if self.clock.seconds() >= shadow.not_before:
            self._send(shadow)

    def _new(self, thing: str, name: str, known: bool = False) -> Shadow:
        return Shadow(thing, name, Ledger(limit=self.backend.reported_limit), known)

    def read_again(self) -> None:
        """Deltas may have been missed: read all that the backend holds."""
        for shadow in self._shadows.values():
            shadow.stale = shadow.due = shadow.unverified = True
            shadow.wait = shadow.not_before = 0.0  # what it waited for is over
            if not shadow.busy:
                self._send(shadow)

    def look_again(self, shadow: Shadow) -> None:
        """Read it once more: something may have changed that makes no delta."""
        if not (shadow.busy or shadow.stale) and self.clock.seconds() >= shadow.not_before:
            shadow.stale = True  # and no more: what is not due waits for its cadence
            self._send(shadow)

    def repair(self, shadow: Shadow, left: Flat, behind: Collection[Path], desired: Flat) -> None:
        """The cloud holds ``left``, which was deleted, and not what was written to ``behind``: do both again.

        Of each container that is gone one leaf is enough to delete the whole. What it has ``desired`` that is not
        here is desired here again: who cleared it decides once more.
        """
        if left or desired:
            shadow.put_back = Patch(shadow.ledger.representatives(left), desired=desired)
        shadow.ledger.forget(behind)
        shadow.due = True

    def settle(self, shadow: Shadow, settlement: Settlement) -> Deferred[bool]:
        """Report, overwrite and clear in as few updates as may be; fires with whether that was accepted."""
        if shadow.stale or settlement.decided_on != shadow.ledger.reads:
            settlement.done.callback(False)
            return settlement.done
        shadow.settle = settlement
        shadow.due = True
        if not shadow.busy and self.clock.seconds() >= shadow.not_before:
            self._send(shadow)
        return settlement.done

    def shown(self, shadow: Shadow) -> Flat:
        """The leaves that a shadow is to report now."""
        sheet = self._sources[shadow.thing].sheets(self.clock.seconds()).get(shadow.name)
        return shadow.ledger.wanted(sheet) if sheet is not None else {}

    def shadows(self) -> list[Shadow]:
        return list(self._shadows.values())

    def waiting(self) -> float:
        """How long the oldest update has been waiting for its acknowledgement, in s.

        While it waits for others to go with it, it does not wait for that yet.
        """
        batch = self._cadences.batch
        since = [max(s.due_since, s.written + batch) for s in self._shadows.values() if s.due_since is not None]
        since += [added for thing, added in self._added.items() if thing not in self._listed]
        return max(0.0, self.clock.seconds() - min(since)) if since else 0.0

    def when_open(self) -> Deferred[None]:
        """Fires when the backend has been opened, after the start."""
        opened: Deferred[None] = Deferred()
        if self._is_open:
            opened.callback(None)
        else:
            self._waiting.append(opened)
        return opened

    def startService(self) -> None:
        super().startService()
        self._opened = Deferred.fromCoroutine(self._open())
        self._opened.addCallbacks(lambda _: self._run(), lambda failure: self._fatal(failure.getErrorMessage()))

    async def _open(self) -> None:
        if self._decider is not None:
            await self._decider.prepare()
        await self.backend.start()

    def _run(self) -> None:
        if not self.running:
            return
        self._is_open = True
        waiting, self._waiting = self._waiting, []
        for opened in waiting:
            opened.callback(None)
        for cadence in (Cadence.SLOW, Cadence.NORMAL, Cadence.CRITICAL):
            call = self._calls[cadence] = LoopingCall(self.flush, cadence)
            call.clock = self.clock
            call.start(self._cadences.of(cadence)).addErrback(self._stopped, cadence)

    @property
    def cadences(self) -> Cadences:
        return self._cadences

    @cadences.setter
    def cadences(self, cadences: Cadences) -> None:
        """Go on with others."""
        before, self._cadences = self._cadences, cadences
        for cadence, call in self._calls.items():
            if call.running and cadences.of(cadence) != before.of(cadence):
                call.stop()
                call.start(cadences.of(cadence)).addErrback(self._stopped, cadence)

    def _stopped(self, failure: Failure, cadence: Cadence) -> None:
        self._log.failure("the {cadence} flush has stopped", failure=failure, cadence=cadence.value)
        self._fatal(f"the {cadence.value} flush has stopped: {failure.getErrorMessage()}")

    async def _stop(self) -> None:
        for call in self._calls.values():
            if call.running:
                call.stop()
        if self._opened is not None:
            with suppress(TimeoutError):  # a store that is half open must not be closed under its own feet
                await self._opened.addTimeout(LAST_FLUSH, self.clock)
            last = DeferredList([self._send(shadow) for shadow in self._pending()], consumeErrors=True)
            try:
                await last.addTimeout(LAST_FLUSH, self.clock)
            except TimeoutError:
                self._log.warn("Some updates were not acknowledged in time; they go out after the next start.")
            await self.backend.stop()
            if self._decider is not None:
                await self._decider.finish()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _pending(self) -> list[Shadow]:
        """What differs at all, for the last flush."""
        now = self.clock.seconds()
        pending = []
        for thing, source in self._sources.items():
            for name, sheet in source.sheets(now).items():
                shadow = self._shadows.get((thing, name))
                if shadow is not None and shadow.known and not shadow.busy and not shadow.stale:
                    wanted = shadow.ledger.wanted(sheet)
                    if shadow.put_back or any(shadow.ledger.due(sheet, wanted, cadence) for cadence in Cadence):
                        shadow.due = True
                        pending.append(shadow)
        return pending

    def flush(self, cadence: Cadence) -> None:
        """Look at the fields of one cadence. What is critical goes at once, the rest may wait for others."""
        now = self.clock.seconds()
        for thing, source in self._sources.items():
            if thing not in self._listed:
                self._list(thing, source, now)
                continue
            if cadence is not Cadence.CRITICAL and now < self._rest(thing).until:
                continue
            for name, sheet in source.sheets(now).items():
                shadow = self._shadows.get((thing, name))
                if shadow is None:
                    shadow = self._shadows[thing, name] = self._new(thing, name, known=True)
                try:
                    self._consider(shadow, sheet, cadence, now)
                except Exception:  # noqa: BLE001 - one shadow must not stop the others
                    self._log.failure("Shadow {name} could not be flushed", name=name)

    def _consider(self, shadow: Shadow, sheet: Sheet, cadence: Cadence, now: float) -> None:
        wanted = shadow.ledger.wanted(sheet)
        urgent = shadow.stale or shadow.clears or shadow.put_back is not None
        if shadow.ledger.due(sheet, wanted, cadence):
            urgent = urgent or cadence is Cadence.CRITICAL
            shadow.due = True
            if shadow.due_since is None:
                shadow.due_since = now
        if not (shadow.due or shadow.stale) or shadow.busy or now < shadow.not_before:
            return
        if urgent or now - shadow.written >= self._cadences.batch:
            self._send(shadow)

    def _send(self, shadow: Shadow) -> Deferred[None]:
        shadow.busy = True
        return Deferred.fromCoroutine(self._write(shadow)).addErrback(self._failed(f"{shadow.name} was not written"))

    async def _write(self, shadow: Shadow) -> None:
        """Set what differs, settle, remove what is gone; each with its own acknowledgement."""
        try:
            await self._bring_about(shadow)
        except ShadowError as error:
            self._troubled(shadow, error)
        except Exception as error:  # noqa: BLE001 - it is a fault of ours, and would come again each second
            if repr(error) != shadow.problem:
                self._log.failure("{shadow} could not be written", shadow=shadow.name)
                shadow.problem = repr(error)
            self._troubled(shadow, ShadowError(repr(error)))
        else:
            if shadow.problem:
                self._log.info("{shadow} is written again.", shadow=shadow.name)
            shadow.due_since, shadow.wait, shadow.problem = None, 0.0, ""
            self._rest(shadow.thing).over()
        finally:
            shadow.busy = False
        if shadow.news > shadow.ledger.version:
            shadow.stale = True
        more = (shadow.due or shadow.stale) and self.running and not shadow.problem
        if more and self.clock.seconds() >= shadow.not_before:
            self._send(shadow)  # it came while the last update was under way

    async def _bring_about(self, shadow: Shadow) -> None:
        for _ in range(CONFLICTS):
            if shadow.stale or not shadow.known:
                await self._read(shadow)
            if not shadow.due:
                return  # it was read for news only: what is not due waits for its cadence
            shadow.due = False
            try:
                if shadow.put_back is not None or not shadow.clears:
                    await self._steps(shadow)
                if shadow.settle is not None:
                    shadow.settle.told = True
                    await self._clear(shadow, shadow.settle)
                    await self._steps(shadow)
            except _Later as later:
                shadow.due, shadow.not_before = True, later.at
            except Conflict:
                shadow.stale = shadow.due = True
            if not shadow.stale:
                return
        raise Conflict("somebody else writes all the time")

    async def _clear(self, shadow: Shadow, settlement: Settlement) -> None:
        """The last part of a settlement, after the statuses are acknowledged."""
        request, rest = shadow.ledger.clearing(settlement.clear, empties=not self.backend.quiet)
        if request:
            self._wait_until(shadow.touched + self.backend.quiet)
            answer = await self._answer(self.backend.update(shadow.thing, shadow.name, request))
            shadow.ledger.cleared(request, answer["version"])
            shadow.touched = shadow.removed = self.clock.seconds()
            shadow.unverified = True
        if rest:
            shadow.put_back = Patch({}, desired=rest)
            raise _Later(shadow.removed + self.backend.quiet)
        if self._decider is not None:
            self._decider.accepted(shadow, shadow.ledger.settling(self.shown(shadow), settlement.paths))
        self._settled(shadow, True)

    async def _steps(self, shadow: Shadow) -> None:
        for _ in range(MOST_STEPS):
            if not await self._step(shadow):
                return
        raise ShadowError(f"after {MOST_STEPS} updates it still is not as it should be")

    async def _step(self, shadow: Shadow) -> bool:
        """One update, if one is needed."""
        ledger = shadow.ledger
        wanted = self.shown(shadow)
        patch = self._patch(shadow, wanted) if wanted else None
        if patch is None:
            return False
        self._wait_until((shadow.touched if patch.remove else shadow.removed) + self.backend.quiet)
        if patch.settles and self._decider is not None:
            await self._decider.propose(shadow, patch.settles)
        request = patch.request(ledger.version)
        answer = await self._answer(self.backend.update(shadow.thing, shadow.name, request))
        again, shadow.put_back = shadow.put_back, None
        in_order = ledger.accept(patch, answer["version"])
        if patch.settles and self._decider is not None:
            self._decider.accepted(shadow, patch.settles)
        shadow.written = shadow.touched = self.acknowledged = self.clock.seconds()
        shadow.updates += 1
        if patch.remove:
            shadow.removed, shadow.unverified = shadow.touched, True
        if not in_order or (again is not None and again.desired and shadow.settle is None):
            await self._read(shadow)
        return True

    def _patch(self, shadow: Shadow, wanted: Flat) -> Patch | None:
        """The next update. Where deletes need quiet they go first, or there might never be any."""
        again = shadow.put_back
        if again is not None:
            absent = {path: value for path, value in again.desired.items() if at(shadow.ledger.desired, path) is None}
            if again.set or absent:
                return replace(again, desired=absent)
            shadow.put_back, shadow.stale = None, True  # all is there again: it is read, and decided on
        removal = shadow.ledger.removal(wanted) if self.backend.quiet else None
        return removal or shadow.ledger.patch(wanted, shadow.settle.paths if shadow.settle is not None else ())

    def _wait_until(self, moment: float) -> None:
        """Quiet around deletes; not at the end, since the next run looks at the cloud anyway."""
        if self.running and self.clock.seconds() < moment:
            raise _Later(moment)

    def _settled(self, shadow: Shadow, accepted: bool) -> None:
        settlement, shadow.settle = shadow.settle, None
        if settlement is not None:
            settlement.done.callback(accepted)

    async def _read(self, shadow: Shadow, source: Source | None = None) -> None:
        """Load what the backend holds; at the start the source takes it up, before anybody decides on it."""
        try:
            document = await self._answer(self.backend.get(shadow.thing, shadow.name))
        except NotFound:
            document = {"state": {}, "version": 0}
        shadow.ledger.load(document)
        if not shadow.known:
            shadow.touched, shadow.unverified = self.clock.seconds(), True
        self._settled(shadow, False)
        shadow.stale, shadow.known, shadow.read = False, True, self.clock.seconds()
        shadow.news = 0
        if source is not None:
            source.restore(shadow.name, document["state"].get("reported") or {})
        if self._decider is not None:
            self._decider.read(shadow)

    async def _answer(self, request: Deferred[Document]) -> Document:
        try:
            answer = await request.addTimeout(ANSWER_TIMEOUT, self.clock)
            self.answered = self.clock.seconds()
            return answer
        except TimeoutError:
            raise Unavailable(f"no answer within {ANSWER_TIMEOUT:.0f} s") from None
        except CancelledError:
            raise Unavailable("stopped before it was answered") from None

    def _troubled(self, shadow: Shadow, error: ShadowError) -> None:
        shadow.stale = True
        shadow.failures += 1
        shadow.wait = min(max(FIRST_WAIT, 2 * shadow.wait), LONGEST_WAIT)
        shadow.not_before = self.clock.seconds() + shadow.wait
        if isinstance(error, Throttled):
            self._rest(shadow.thing).begin(self.clock.seconds())
        if error.message != shadow.problem:
            shadow.problem = error.message
            self._log.error("{shadow} could not be written: {why}", shadow=shadow.name, why=error.message)
        self._settled(shadow, False)
        shadow.due = True

    def _rest(self, thing: str) -> Rest:
        return self._rests.setdefault(thing, Rest())

    def _list(self, thing: str, source: Source, now: float) -> None:
        """Read what the backend holds, once, before anything is written."""
        if now < self._listing.get(thing, 0.0):
            return
        self._listing[thing] = now + ANSWER_TIMEOUT * 2
        Deferred.fromCoroutine(self._take_up(thing, source)).addErrback(self._failed("the shadows could not be listed"))

    async def _take_up(self, thing: str, source: Source) -> None:
        try:
            names = await self.backend.named_shadows(thing).addTimeout(ANSWER_TIMEOUT, self.clock)
            for name in sorted(self._names.intersection(names)):
                shadow = self._shadows.setdefault((thing, name), self._new(thing, name))
                await self._read(shadow, source)
        except (ShadowError, TimeoutError) as error:
            self._log.warn("The shadows of {thing} cannot be read yet: {why}", thing=thing, why=error)
            self._listing[thing] = self.clock.seconds() + FIRST_WAIT * 5
            return
        self._listed.add(thing)

    def _failed(self, what: str) -> Callable[[Failure], None]:
        def log(failure: Failure) -> None:
            self._log.failure(what, failure=failure)

        return log
