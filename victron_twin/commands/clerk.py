"""One shadow's desires: decided, executed, told and settled, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from victron_twin.catalog.commands import Class
from victron_twin.gx.service import GXService
from victron_twin.shadows.parts import Settlement, Shadow
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.desk import FINAL, Desk
from victron_twin.twin.flat import Path, dotted
from victron_twin.twin.plan import Known, Order, Plan, Status, Verdict, at, plan
from victron_twin.twin.policy import Policy
from victron_twin.twin.twin import iso
from victron_twin.twin.writes import Write

from .journal import Journal, Record, Step
from .wear import Wear
from .writer import Outcome, Writer

#: How often a setting is begun anew because the link was lost in between, before it is told as unconfirmed.
BEGINNINGS = 3
#: How often a document is decided anew in a row; after that it waits for the next look.
ROUNDS = 10


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


class Clerk:
    """Decides on the desires of one shadow; at most one round is under way."""

    def __init__(self, office: Office, name: str) -> None:
        self.desk = Desk()
        self.name = name
        self._office = office
        self._shadow: Shadow | None = None
        self._busy = False
        self._again = False
        self._received: dict[Path, Any] = {}
        self._noted: dict[Path, Verdict] = {}
        self._begun: dict[Path, int] = {}
        self._waiting: dict[Path, object] = {}  # the primary that each pending desire waits for
        self._token = (0, "")

    @property
    def waits(self) -> bool:
        """Whether a desire is pending."""
        return bool(self._waiting or self.desk.pending())

    @property
    def busy(self) -> bool:
        """Whether a desire is being decided or executed."""
        return self._busy

    def token(self, version: int, client_token: str) -> None:
        """The clientToken of the update that made this version."""
        self._token = version, client_token

    def look(self, shadow: Shadow) -> Deferred[None] | None:
        """Decide on what is desired now; None where that is under way, and will look again."""
        self._shadow = shadow
        if self._busy:
            self._again = True
            return None
        if shadow.stale or not (shadow.ledger.desired or self.waits):
            return None
        self._busy = True
        return Deferred.fromCoroutine(self._rounds(shadow))

    async def _rounds(self, shadow: Shadow) -> None:
        try:
            for _ in range(ROUNDS):
                self._again = False
                await self._round(shadow)
                if not self._again:
                    break
        finally:
            self._busy = False

    async def _round(self, shadow: Shadow) -> None:
        reads = shadow.ledger.reads
        decided = self._plan(shadow)
        self._waiting = {v.path: self._primary() for v in decided.verdicts if v.status is Status.PENDING}
        shadow.ledger.held = {*self._waiting, *(order.path for order in decided.orders)}
        self._begun = {
            path: count for path, count in self._begun.items() if any(o.path == path for o in decided.orders)
        }
        told: list[Verdict] = []
        for verdict in decided.verdicts:
            await self._receive(shadow, verdict.path, verdict.asked, verdict.id)
            if verdict.status is Status.PENDING and self.desk.told(verdict.path, verdict.status, verdict.asked):
                continue
            await self._note(shadow, verdict, "confirmed" if verdict.status is Status.APPLIED else "refused")
            told.append(verdict)
        for order in decided.orders:
            await self._receive(shadow, order.path, order.asked, order.id)
            told.append(await self._execute(shadow, order))
        if (told or decided.clear) and await self._settle(shadow, reads, told, decided.clear):
            for verdict in told:
                if verdict.status in FINAL:
                    await self._note(shadow, verdict, "settled")

    def _plan(self, shadow: Shadow) -> Plan:
        office, ledger = self._office, shadow.ledger
        known = Known(
            twin=office.gx.twin,
            policy=office.policy,
            settled=ledger.settled,
            reported=ledger.reported(),
            ids=office.record.ids,
            pending=self.desk.pending(),
            live=office.gx.live,
            offset=office.gx.offset,
            now=office.clock.seconds(),
            spent=lambda write: office.wear.spent(write, office.policy.rate),
        )
        decided = plan(self.name, ledger.desired, known)
        primary = self._primary()
        moved = {path for path, then in self._waiting.items() if path[0] != "devices" and then != primary}
        if not moved:
            return decided
        both: tuple[Order | Verdict, ...] = (*decided.orders, *decided.verdicts)
        reason = "the primary changed while it was pending"
        refused = [Verdict(e.path, e.asked, Status.REJECTED, reason, e.id) for e in both if e.path in moved]
        return replace(
            decided,
            orders=tuple(o for o in decided.orders if o.path not in moved),
            verdicts=(*(v for v in decided.verdicts if v.path not in moved), *refused),
        )

    def _primary(self) -> object:
        twin = self._office.gx.twin
        return twin.primaries.get(twin.catalog.shadows[self.name].services[0])

    async def _settle(self, shadow: Shadow, reads: int, told: list[Verdict], clear: tuple[Path, ...]) -> bool:
        """Report the statuses and overwrite what was desired, in one update."""
        if shadow.stale or shadow.ledger.reads != reads:
            return False  # what is read then is looked at anew
        now = self._office.clock.seconds()
        for verdict in told:
            self.desk.tell(verdict.path, verdict.status, verdict.asked, verdict.reason, verdict.id, now)
        final = tuple(v.path for v in told if v.status in FINAL)
        shadow.ledger.held.difference_update(final)
        shown = self._office.sync.shown(shadow)
        unshown = tuple(p for p in final if not any(leaf[: len(p)] == p for leaf in shown))
        settlement = Settlement(final, (*clear, *unshown), reads)
        return await self._office.sync.settle(shadow, settlement)

    async def _execute(self, shadow: Shadow, order: Order) -> Verdict:
        if self._off:  # it was decided before that
            return await self._confirmed(shadow, order, Status.REJECTED, self._off)
        if order.kind is Class.ACTION:
            return await self._act(shadow, order)
        begun = self._begun[order.path] = self._begun.get(order.path, 0) + 1
        values: list[Any] = []
        for write in order.writes:
            if self._off:
                return await self._confirmed(shadow, order, Status.UNCONFIRMED, f"{self._off}: half of it is done")
            self._office.wear.note(write)
            result = await self._office.writer.setting(write, self._before(shadow, order), lambda: bool(self._off))
            if result.outcome is Outcome.KEPT:
                return await self._confirmed(shadow, order, Status.REJECTED, f"the GX keeps {result.value}")
            if result.outcome is Outcome.SILENT:
                if not self._office.gx.live and begun < BEGINNINGS:
                    return Verdict(order.path, order.asked, Status.PENDING, "the GX is not there")
                return await self._confirmed(shadow, order, Status.UNCONFIRMED, "the GX did not answer")
            values.append(result)
        reason = "the device made another value of it" if any(r.outcome is Outcome.OTHER for r in values) else ""
        return await self._confirmed(shadow, order, Status.APPLIED, reason)

    @property
    def _off(self) -> str:
        """Why nothing may be begun any more, an empty text where something may."""
        return self._office.policy.off

    async def _act(self, shadow: Shadow, order: Order) -> Verdict:
        """An action: its id is on the disk before it is sent, and it is never sent again."""
        office = self._office
        now = office.clock.seconds()
        if now >= order.expires:
            return await self._confirmed(shadow, order, Status.EXPIRED, "it has expired")
        office.record.ids[order.id] = (order.asked, False)
        await office.journal.begin(office.thing, order.id, order.asked, now)
        for write in order.writes:
            if not await office.writer.action(write, self._before(shadow, order)):
                return await self._confirmed(shadow, order, Status.UNCONFIRMED, "the link was lost")
        office.record.ids[order.id] = (order.asked, True)
        await office.journal.done(office.thing, order.id)
        return await self._confirmed(shadow, order, Status.SENT, "nothing confirms it")

    def _before(self, shadow: Shadow, order: Order) -> Any:
        async def note(write: Write, old: Any) -> None:
            what = f"{'/'.join(write.key)}{write.path}"
            await self._step(shadow, order.path, old, write.raw, "written", what, "", order.id)

        return note

    async def _confirmed(self, shadow: Shadow, order: Order, status: Status, reason: str) -> Verdict:
        verdict = Verdict(order.path, order.asked, status, reason, order.id)
        await self._note(shadow, verdict, "confirmed")
        return verdict

    # the audit log

    async def _receive(self, shadow: Shadow, path: Path, asked: Any, identity: str) -> None:
        if path in self._received and self._received[path] == asked:
            return
        self._received[path] = asked
        await self._step(shadow, path, at(shadow.ledger.reported(), path), asked, "received", "new", "", identity)

    async def _note(self, shadow: Shadow, verdict: Verdict, step: str) -> None:
        old = at(shadow.ledger.reported(), verdict.path)
        if step == "settled":
            self._received.pop(verdict.path, None)
            self._noted.pop(verdict.path, None)
        elif self._noted.get(verdict.path) == verdict:
            return  # it could not be settled yet, and was decided again
        else:
            self._noted[verdict.path] = verdict
        await self._step(
            shadow, verdict.path, old, verdict.asked, step, verdict.status.value, verdict.reason, verdict.id
        )

    async def _step(
        self, shadow: Shadow, path: Path, old: Any, new: Any, step: str, result: str, reason: str, identity: str
    ) -> None:
        office, version = self._office, shadow.ledger.version
        token = self._token[1] if step == "received" and self._token[0] <= version else ""
        await office.journal.note(
            Step(
                at=iso(office.clock.seconds()),
                thing=office.thing,
                shadow=self.name,
                field=dotted(path),
                old=old,
                new=new,
                step=step,
                result=result,
                reason=reason,
                id=identity,
                version=version,
                clientToken=token,
            )
        )
