"""One shadow's desires: decided, executed, told and settled, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from victron_twin.catalog.commands import Class
from victron_twin.shadows.parts import Settlement, Shadow
from victron_twin.twin.aim import is_momentary
from victron_twin.twin.desires import Ending, Known, Order, Plan, Status, Verdict
from victron_twin.twin.desk import FINAL, Desk
from victron_twin.twin.flat import Path
from victron_twin.twin.holds import Keep
from victron_twin.twin.plan import plan
from victron_twin.twin.shadow import same

from .hand import Hand, Office
from .holds import Holds
from .life import ENDS, Life, Progress, once, repeatable
from .trail import Trail

#: How often a document is decided anew in a row; after that it waits for the next look.
ROUNDS = 10


class Clerk:
    """Decides on the desires of one shadow; at most one round is under way."""

    def __init__(self, office: Office, name: str) -> None:
        self.desk = Desk(lambda path: is_momentary(name, path, office.gx.twin.catalog))
        self.name = name
        self.holds = Holds(office.journal, office.thing, name, office.record.holds.setdefault(name, {}))
        self.trail = Trail(office.clock, office.journal, office.thing, name)
        self._office = office
        self._hand = Hand(office, self.trail, self.holds)
        self._busy = False
        self._again = False
        self._waiting: dict[Path, object] = {}  # the primary that each pending desire waits for
        self._lives: dict[Path, tuple[Any, Progress, Life]] = {}

    @property
    def waits(self) -> bool:
        """Whether a desire is pending, or something is left to be done later."""
        return bool(self._waiting or self.holds or self.desk.pending())

    @property
    def busy(self) -> bool:
        """Whether a desire is being decided or executed."""
        return self._busy

    def look(self, shadow: Shadow) -> Deferred[None] | None:
        """Decide on what is desired now; None where that is under way, and will look again."""
        shadow.ledger.enforced = self.holds.enforced
        if self._busy:
            self._again = True
            return None
        if shadow.stale or shadow.put_back or not (shadow.ledger.desired or self.waits):
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
        reads, ledger = shadow.ledger.reads, shadow.ledger
        decided = self._plan(shadow)
        ordered = {order.path: order for order in decided.orders}
        self._waiting = {v.path: self._primary() for v in decided.verdicts if v.status is Status.PENDING}
        ledger.held = {*self._waiting, *ordered, *(ending.path for ending in decided.endings if ending.writes)}
        self._hand.only({*ordered, *self.holds.all()})
        told: list[Verdict] = []
        for ending in decided.endings:
            order = ordered.get(ending.path)
            if order is None or order.hold is None or order.hold.device != ending.hold.device:
                told += await self._end(shadow, ending)
        for verdict in decided.verdicts:
            told += await self._judge(shadow, verdict)
        for order in decided.orders:
            told += await self._execute(shadow, order)
        if (told or decided.clear) and await self._settle(shadow, reads, told, decided.clear):
            for verdict in told:
                if verdict.status in FINAL:
                    await self.holds.told(verdict.path)
                    await self.trail.settled(shadow, verdict)

    def _plan(self, shadow: Shadow) -> Plan:
        office, ledger, now = self._office, shadow.ledger, self._office.clock.seconds()
        office.gx.twin.sheets(now)  # what was heard is looked at
        known = Known(
            twin=office.gx.twin,
            policy=office.policy,
            settled=ledger.settled,
            reported=ledger.reported(),
            ids=office.record.ids,
            pending=[path for path in self.desk.pending() if not self.holds.rests(path, now)],
            live=office.gx.live,
            offset=office.gx.offset,
            now=now,
            spent=lambda write: office.wear.spent(write, office.policy.rate),
            holds=self.holds.all(),
            due=self.holds.due(now),
            adrift=office.reach.adrift,
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

    # What is decided is brought about. Each tells what is news.

    async def _end(self, shadow: Shadow, ending: Ending) -> list[Verdict]:
        life = self._life(ending.path, ending.hold.asked, repeatable)
        verdict = await self._hand.end(shadow, ending)
        if verdict is None:
            if ending.path not in self.holds.all():
                life.supersede()
            return []
        if self._is_old(verdict):
            return []
        if verdict.status is not Status.PENDING:
            await self.trail.confirmed(shadow, verdict)
        return self._come_to(life, verdict)

    async def _judge(self, shadow: Shadow, verdict: Verdict) -> list[Verdict]:
        hold = self.holds.get(verdict.path)
        if hold is None or not hold.is_asked(verdict.asked):
            await self.trail.received(shadow, verdict.path, verdict.asked, verdict.id)
        if self._is_old(verdict):
            return []
        if verdict.status is Status.APPLIED:
            await self.holds.put(verdict.path, verdict.hold)
            await self.trail.confirmed(shadow, verdict)
        else:
            await self.trail.refused(shadow, verdict)
        return self._come_to(self._life(verdict.path, verdict.asked, repeatable), verdict)

    async def _execute(self, shadow: Shadow, order: Order) -> list[Verdict]:
        hold = self.holds.get(order.path)
        again = hold is not None and hold.is_asked(order.asked)
        if not again:
            await self.trail.received(shadow, order.path, order.asked, order.id)
        life = self._life(order.path, order.asked, once if order.kind is Class.ACTION else repeatable)
        if again and hold is not None and hold.keep is Keep.ENFORCED and not self._may_enforce(order):
            await self.holds.put(order.path, None)
            reason = "somebody moves it again and again: followed"
            verdict = Verdict(order.path, order.asked, Status.REJECTED, reason, order.id)
        else:
            try:
                verdict = await self._hand.execute(shadow, order, life)
            except BaseException:
                del self._lives[order.path]  # nobody knows how far it came: it is decided anew
                raise
        if self._is_old(verdict):
            self._come_to(life, verdict)
            return []
        if verdict.status is not Status.PENDING:
            await self.trail.confirmed(shadow, verdict)
        return self._come_to(life, verdict)

    def _may_enforce(self, order: Order) -> bool:
        return self.holds.enforces(order.path, self._office.clock.seconds())

    def _is_old(self, verdict: Verdict) -> bool:
        """Whether just this is told already: of what still waits, and of a setpoint that was written once more."""
        hold = self.holds.get(verdict.path)
        repeated = hold is not None and hold.keep is Keep.SETPOINT and hold.told
        if verdict.status is not Status.PENDING and not (repeated and verdict.status is Status.APPLIED):
            return False
        return self.desk.told(verdict.path, verdict.status, verdict.asked)

    def _life(self, path: Path, asked: Any, made: Callable[[Progress], Life]) -> Life:
        """Of the command that is under way for a field; a newer one ends it."""
        known = self._lives.get(path)
        if known is not None and same(known[0], asked) and known[1].state not in ENDS:
            return known[2]
        if known is not None and known[1].state not in ENDS:
            known[2].supersede()
        progress = Progress()
        life = made(progress)
        self._lives[path] = (asked, progress, life)
        return life

    def _come_to(self, life: Life, verdict: Verdict) -> list[Verdict]:
        hold = self.holds.get(verdict.path)
        if verdict.status is Status.APPLIED and hold is not None and not hold.ended:
            life.hold()
        else:
            _STEPS[verdict.status](life)
        return [verdict]

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
        cleared = (*clear, *unshown)
        settlement = Settlement(tuple(p for p in final if p not in cleared), cleared, reads)
        return await self._office.sync.settle(shadow, settlement)


#: What a status means for the life of its command.
_STEPS: Mapping[Status, Callable[[Life], None]] = {
    Status.PENDING: lambda life: life.wait(),
    Status.APPLIED: lambda life: life.confirm(),
    Status.SENT: lambda life: life.confirm(),
    Status.REJECTED: lambda life: life.refuse(),
    Status.UNCONFIRMED: lambda life: life.give_up(),
    Status.EXPIRED: lambda life: life.expire(),
}
