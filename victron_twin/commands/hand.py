"""Executes orders on the GX, and writes back what is over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.interfaces import IReactorTime

from victron_twin.catalog.commands import Class
from victron_twin.gx.service import GXService
from victron_twin.shadows.parts import Shadow
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.desires import Ending, Order, Status, Verdict
from victron_twin.twin.flat import Path, within
from victron_twin.twin.holds import Hold, Keep
from victron_twin.twin.policy import Policy
from victron_twin.twin.writes import Write

from .holds import Holds
from .journal import Journal, Record
from .life import Life
from .reach import Reach
from .trail import Trail
from .wear import Wear
from .writer import Before, Outcome, Result, Writer

#: How often something is begun anew because there was no answer, before it is told as unconfirmed.
BEGINNINGS = 3


@dataclass(slots=True)
class Office:
    """What the clerks of one thing share."""

    clock: IReactorTime
    thing: str
    gx: GXService
    writer: Writer
    sync: ShadowSync
    journal: Journal
    policy: Policy
    record: Record
    wear: Wear
    reach: Reach


class Hand:
    """Of one clerk. Each await ends with what became of an order, or of a hold that is over."""

    def __init__(self, office: Office, trail: Trail, holds: Holds) -> None:
        self._office = office
        self._trail = trail
        self._holds = holds
        self._begun: dict[Path, int] = {}

    def only(self, paths: Collection[Path]) -> None:
        """Nothing but these is still being brought about."""
        self._begun = {path: count for path, count in self._begun.items() if path in paths}

    async def execute(self, shadow: Shadow, order: Order, life: Life) -> Verdict:
        if self._off:  # it was decided before that
            return _verdict(order, Status.REJECTED, self._off)
        if order.kind is Class.ACTION:
            return await self._act(shadow, order, life)
        if order.kind is Class.SETPOINT and order.hold is not None:
            return await self._hold(shadow, order, order.hold, life)
        return await self._set(shadow, order, life)

    @property
    def _off(self) -> str:
        """Why nothing may be begun any more, an empty text where something may."""
        return self._office.policy.off

    async def _act(self, shadow: Shadow, order: Order, life: Life) -> Verdict:
        """An action: its id is on the disk before it is sent, and it is never sent again."""
        office, now = self._office, self._office.clock.seconds()
        if now >= order.expires:
            return _verdict(order, Status.EXPIRED, "it has expired")
        office.record.ids[order.id] = (order.asked, False)
        await office.journal.begin(office.thing, order.id, order.asked, now)
        for write in order.writes:
            before = self._before(shadow, order.path, order.id, life)
            outcome = await office.writer.action(write, before, lambda: self._over(order))
            if outcome is Outcome.UNSENT:
                status, reason = (Status.REJECTED, self._off) if self._off else (Status.EXPIRED, "it has expired")
                return _verdict(order, status, reason)
            if outcome is Outcome.SILENT:
                return _verdict(order, Status.UNCONFIRMED, "the link was lost")
        office.record.ids[order.id] = (order.asked, True)
        await office.journal.done(office.thing, order.id)
        return _verdict(order, Status.SENT, "nothing confirms it")

    async def _set(self, shadow: Shadow, order: Order, life: Life) -> Verdict:
        path, before, hold = order.path, self._holds.get(order.path), order.hold
        guarded = hold is not None and hold.keep is Keep.GUARDED
        if shadow.ledger.settled.pop(path, None) is not None:
            # From here on the GX may have another value than the one that was settled, which is then news again.
            await self._office.journal.settle(self._office.thing, shadow.name, {path: None})
        if guarded:
            await self._holds.put(path, hold)  # the way back is known before anything is written
        result = await self._write(shadow, order, life)
        if guarded and result.outcome in (Outcome.UNSENT, Outcome.KEPT):
            await self._holds.put(path, before if before != hold else None)  # nothing of it is there to go back
        if result.outcome is Outcome.UNSENT:
            return _verdict(order, Status.REJECTED, self._off or "commands were off")
        if result.outcome is Outcome.SILENT:
            begun = self._begun[path] = self._begun.get(path, 0) + 1
            if self._off:
                return _verdict(order, Status.UNCONFIRMED, f"{self._off}: half of it is done")
            if not self._office.gx.live and begun < BEGINNINGS:
                return _verdict(order, Status.PENDING, "the GX is not there")
            return _verdict(order, Status.UNCONFIRMED, "the GX did not answer")
        if result.outcome is Outcome.KEPT:
            return _verdict(order, Status.REJECTED, f"the GX keeps {result.value}")
        await self._holds.put(path, None if hold is None else self._as_it_is(path, hold))
        return _verdict(order, Status.APPLIED, _another(result))

    def _as_it_is(self, path: Path, hold: Hold) -> Hold:
        """The hold of a setting with what the field shows, which is what the device made of it."""
        twin = self._office.gx.twin
        twin.sheets(self._office.clock.seconds())  # what was heard is looked at
        fields = twin.device(*hold.device).fields
        live = fields.get(within(path))
        shown = live.shown if live is not None else None
        return replace(hold, shown=shown, asked=shown if hold.keep is Keep.ENFORCED else hold.asked)

    async def _hold(self, shadow: Shadow, order: Order, hold: Hold, life: Life) -> Verdict:
        """Write a setpoint, the first time or once more. Its id and its end are on the disk before."""
        office, path, before = self._office, order.path, self._holds.get(order.path)
        if before is None or not before.is_asked(order.asked):
            office.record.ids[order.id] = (order.asked, True)
            await self._holds.begin(path, hold, office.clock.seconds())
        result = await self._write(shadow, order, life)
        self._holds.written(path, office.clock.seconds())
        if result.outcome in (Outcome.SILENT, Outcome.UNSENT):
            if not office.gx.live:
                self._holds.missed(path)
                return _verdict(order, Status.PENDING, "the GX is not there")
            return _verdict(order, Status.PENDING, "the GX did not answer")
        if result.outcome is Outcome.KEPT:
            verdict = _verdict(order, Status.REJECTED, f"the GX keeps {result.value}")
            ending = Ending(path, hold, hold.back if before is not None else (), verdict)
            return await self.end(shadow, ending) or verdict
        return _verdict(order, Status.APPLIED, _another(result))

    async def _write(self, shadow: Shadow, order: Order, life: Life) -> Result:
        """One write after the other, until one is not taken; the least that they came to.

        Where it was over before the first was sent that is UNSENT, later it is SILENT: half of it is done.
        """
        least = Result(Outcome.TAKEN)
        before = self._before(shadow, order.path, order.id, life)
        for number, write in enumerate(order.writes):
            self._office.wear.note(write)
            result = await self._office.writer.setting(write, before, lambda: self._over(order))
            if result.outcome is Outcome.UNSENT and number:
                return Result(Outcome.SILENT)
            if result.outcome in (Outcome.KEPT, Outcome.SILENT, Outcome.UNSENT):
                return result
            least = result if result.outcome is Outcome.OTHER else least
        return least

    def _over(self, order: Order) -> bool:
        """Whether it must not be written any more: its turn comes later than the decision."""
        return bool(self._off) or 0.0 < order.expires <= self._office.clock.seconds()

    async def end(self, shadow: Shadow, ending: Ending) -> Verdict | None:
        """Write back what a hold has left behind. What is over counts as such only when that is done."""
        path, hold, verdict = ending.path, ending.hold, ending.verdict
        problem = await self._back(shadow, ending) if ending.writes else None
        if problem is not None:
            begun = self._begun[path] = self._begun.get(path, 0) + 1
            if problem.outcome is Outcome.SILENT and (not self._office.gx.live or begun < BEGINNINGS):
                reason = "to be let go of" if hold.keep is Keep.SETPOINT else "to be written back"
                reason = f"{reason} when the GX is there"
                return None if verdict is None else replace(verdict, status=Status.PENDING, reason=reason)
            said = f"the GX keeps {problem.value}" if problem.outcome is Outcome.KEPT else "the GX did not answer"
            if verdict is not None:
                verdict = replace(verdict, status=Status.UNCONFIRMED, reason=f"{verdict.reason}, but {said}")
        if verdict is None:
            await self._holds.put(path, None)
        else:
            await self._holds.end(path, verdict.reason, verdict.status)
        return verdict

    async def _back(self, shadow: Shadow, ending: Ending) -> Result | None:
        """What is wrong, None where it was taken."""
        office = self._office
        device = office.gx.twin.devices.get(ending.hold.device)
        if not office.gx.live or device is None or not device.connected:
            self._begun.pop(ending.path, None)
            return Result(Outcome.SILENT)
        may_go_on = ending.hold.keep is Keep.SETPOINT  # letting go is what being off means
        for write in ending.writes:
            before = self._before(shadow, ending.path, ending.hold.id, None)
            result = await office.writer.setting(write, before, lambda: bool(self._off) and not may_go_on)
            if result.outcome is Outcome.UNSENT:
                self._begun.pop(ending.path, None)
                return Result(Outcome.SILENT)  # it is looked at anew
            if result.outcome in (Outcome.KEPT, Outcome.SILENT):
                return result
        return None

    def _before(self, shadow: Shadow, path: Path, identity: str, life: Life | None) -> Before:
        """Each W is in the audit log before it goes out; and where the life does not allow it, it does not."""
        seen: set[Write] = set()

        async def note(write: Write, old: Any) -> None:
            if life is not None and write in seen:
                life.retry()
            elif life is not None and not seen:
                life.write()
            seen.add(write)
            await self._trail.written(shadow, path, write, old, identity)

        return note


def _verdict(order: Order, status: Status, reason: str) -> Verdict:
    return Verdict(order.path, order.asked, status, reason, order.id)


def _another(result: Result) -> str:
    return "the device made another value of it" if result.outcome is Outcome.OTHER else ""
