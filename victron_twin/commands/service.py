"""The command service: hears what the cloud desires, and has it executed and settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.gx.service import GXService
from victron_twin.shadows.backend import Delta
from victron_twin.shadows.parts import Shadow
from victron_twin.shadows.sync import ShadowSync
from victron_twin.twin.desires import at
from victron_twin.twin.flat import Flat, Path, overlaid
from victron_twin.twin.policy import Policy
from victron_twin.twin.shadow import same
from victron_twin.twin.sheet import Sheet

from .clerk import Clerk
from .hand import Office
from .journal import Journal, Record
from .reach import Reach
from .switch import Switch
from .wear import Wear
from .writer import Writer

#: How often desires that wait for a GX, and what is held, are looked at, in s.
LOOK = 2.0
#: How often a shadow is read while a setpoint in it is held, in s.
READ = 30.0


class CommandService(Service):
    """Decides for a :class:`~victron_twin.shadows.sync.ShadowSync` on what is desired."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        sync: ShadowSync,
        journal: Journal,
        policy: Policy,
        switch: Switch,
        reach: Reach,
    ) -> None:
        self.journal = journal
        self._clock = clock
        self._sync = sync
        self._policy = policy
        self._switch = switch
        self.reach = reach
        self._offices: dict[str, Office] = {}
        self._clerks: dict[tuple[str, str], Clerk] = {}
        self._unwatch: Callable[[], None] = lambda: None
        self._look = LoopingCall(self._look_at_what_waits)
        self._look.clock = clock
        sync.decide(self)

    @property
    def policy(self) -> Policy:
        """What counts now, the emergency off with it."""
        return replace(self._policy, stopped=self._switch.off)

    @policy.setter
    def policy(self, policy: Policy) -> None:
        """From now on; what is under way is not looked at again, but not begun anew where all is off."""
        self._policy = policy
        for office in self._offices.values():
            office.policy = self.policy

    @property
    def mode(self) -> str:
        """``off (by hand)``, or the configured mode."""
        return "off (by hand)" if self._switch.off else self._policy.mode

    def switch(self, off: bool, who: str) -> str:
        """The emergency off, until it is switched on again, also over a restart; ``who`` is for the log.

        What is wrong is returned, an empty text where nothing is: see :meth:`Switch.turn`.
        """
        problem = self._switch.turn(off, who)
        self.policy = self._policy
        return problem

    def busy(self) -> bool:
        """Whether a command is under way: written, and not yet told of."""
        return any(clerk.busy for clerk in self._clerks.values())

    def add(self, thing: str, gx: GXService) -> Deferred[None]:
        """Execute what is desired of this thing on this GX; done when its journal has been read.

        Before the start nothing is read yet: :meth:`prepare` does it.
        """
        self._offices[thing] = Office(
            self._clock,
            thing,
            gx,
            Writer(self._clock, gx),
            self._sync,
            self.journal,
            self.policy,
            Record({}, {}),
            Wear(self._clock, gx.twin.catalog.commands),
            self.reach,
        )
        return Deferred.fromCoroutine(self._load(thing)) if self.running else succeed(None)

    def over(self, thing: str, sheets: Mapping[str, Sheet]) -> dict[str, Sheet]:
        """The documents of a thing with what became of its desires."""
        return {name: self.clerk(thing, name).desk.over(sheet) for name, sheet in sheets.items()}

    def restore(self, thing: str, shadow: str, reported: Mapping[str, Any]) -> None:
        """Take up what an earlier run has reported of desires."""
        self.clerk(thing, shadow).desk.restore(reported)

    def clerk(self, thing: str, shadow: str) -> Clerk:
        clerk = self._clerks.get((thing, shadow))
        if clerk is None:
            clerk = self._clerks[thing, shadow] = Clerk(self._offices[thing], shadow)
        return clerk

    # the service

    def startService(self) -> None:
        super().startService()
        self._unwatch = self._sync.backend.watch(self._delta, self._sync.read_again)
        self._look.start(LOOK, now=False).addErrback(self._failed("the look at pending desires has stopped"))

    def stopService(self) -> None:
        super().stopService()
        self._unwatch()
        if self._look.running:
            self._look.stop()

    # what the sync asks of its decider

    def prepare(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._prepare())

    def finish(self) -> Deferred[None]:
        return self.journal.close()

    async def _prepare(self) -> None:
        await self.journal.open()
        for thing in self._offices:
            await self._load(thing)

    async def _load(self, thing: str) -> None:
        office = self._offices[thing]
        office.record = await self.journal.record(thing)
        for (owner, name), clerk in self._clerks.items():
            if owner == thing:
                clerk.holds.take_up(office.record.holds.setdefault(name, {}))

    def read(self, shadow: Shadow) -> None:
        office = self._offices.get(shadow.thing)
        if office is None:
            return
        ledger = shadow.ledger
        ledger.settled = office.record.settled.setdefault(shadow.name, {})
        reported = ledger.reported()
        resolved: Flat = {}
        for path, values in ledger.settled.items():
            if len(values) > 1:
                old, proposed = values
                # Reported tells, for nobody else writes it. What is desired does not: it may have been so all along.
                resolved[path] = proposed if same(at(reported, path), proposed) else old
        for path, value in resolved.items():
            if value is None:
                del ledger.settled[path]  # there was none before
            else:
                ledger.settled[path] = (value,)
        if resolved:
            self._write_down(shadow, resolved)
        self._decide(shadow)

    def propose(self, shadow: Shadow, leaves: Flat) -> Deferred[None]:
        values = self._by_field(shadow, leaves)
        for path, value in values.items():
            shadow.ledger.settled[path] = (shadow.ledger.settled.get(path, (None,))[0], value)
        return self.journal.propose(shadow.thing, shadow.name, values)

    def accepted(self, shadow: Shadow, leaves: Flat) -> None:
        values = self._by_field(shadow, leaves)
        shadow.ledger.settled.update({path: (value,) for path, value in values.items()})
        self._write_down(shadow, values)

    def _write_down(self, shadow: Shadow, values: Mapping[Path, Any]) -> None:
        self.journal.settle(shadow.thing, shadow.name, values).addErrback(
            self._failed("what was settled could not be written down")
        )

    def _by_field(self, shadow: Shadow, leaves: Flat) -> dict[Path, Any]:
        """The values of the fields that these leaves of desired belong to: an action's is its whole object."""
        catalog = self._offices[shadow.thing].gx.twin.catalog
        desired = overlaid(shadow.ledger.desired, leaves)
        values: dict[Path, Any] = {}
        for leaf in leaves:
            start = 2 if leaf[0] == "devices" else 0
            lengths = range(start + 1, len(leaf))
            path = next((leaf[:n] for n in lengths if catalog.commands.of(shadow.name, ".".join(leaf[start:n]))), leaf)
            values[path] = at(desired, path)
        return values

    # what happens

    def _delta(self, delta: Delta) -> None:
        if delta.thing in self._offices and delta.shadow in self._offices[delta.thing].gx.twin.catalog.shadows:
            if delta.client_token:
                self.clerk(delta.thing, delta.shadow).trail.token(delta.version, delta.client_token)
            self._sync.refresh(delta.thing, delta.shadow, delta.version)

    def _look_at_what_waits(self) -> None:
        now = self._clock.seconds()
        for shadow in self._sync.shadows():
            clerk = self._clerks.get((shadow.thing, shadow.name))
            if clerk is not None:
                clerk.desk.sweep(now)
                if any(clerk.holds.setpoints()):
                    self._keep_in_touch(shadow, now)
                if clerk.waits:
                    self._decide(shadow)

    def _keep_in_touch(self, shadow: Shadow, now: float) -> None:
        """A setpoint is held: that it is desired no more makes no delta, and a cloud that is gone cannot say so."""
        self.reach.ask(shadow.thing)
        if now - shadow.read >= READ:
            self._sync.look_again(shadow)

    def _decide(self, shadow: Shadow) -> None:
        deciding = self.clerk(shadow.thing, shadow.name).look(shadow)
        if deciding is not None:
            deciding.addErrback(self._failed(f"the desires of {shadow.name} could not be decided"))

    def _failed(self, what: str) -> Callable[[Failure], None]:
        def log(failure: Failure) -> None:
            if self.running:  # what is under way at a stop goes on after the next start
                self._log.failure(what, failure=failure)

        return log
