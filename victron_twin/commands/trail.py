"""The steps of one shadow's desires in the audit log, each told once."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

from victron_twin.shadows.parts import Shadow
from victron_twin.twin.desires import Verdict, at
from victron_twin.twin.flat import Path, dotted
from victron_twin.twin.twin import iso
from victron_twin.twin.writes import Write

from .journal import Journal, Step


class Trail:
    """Each method's await is done when the line is on the disk."""

    def __init__(self, clock: IReactorTime, journal: Journal, thing: str, name: str) -> None:
        self._clock = clock
        self._journal = journal
        self._thing = thing
        self._name = name
        self._received: dict[Path, Any] = {}
        self._noted: dict[Path, Verdict] = {}
        self._token = (0, "")

    def token(self, version: int, client_token: str) -> None:
        """The clientToken of the update that made this version."""
        self._token = version, client_token

    async def received(self, shadow: Shadow, path: Path, asked: Any, identity: str) -> None:
        if path in self._received and self._received[path] == asked:
            return
        self._received[path] = asked
        await self._step(shadow, path, at(shadow.ledger.reported(), path), asked, "received", "new", "", identity)

    async def written(self, shadow: Shadow, path: Path, write: Write, old: Any, identity: str) -> None:
        """To be awaited before the W goes out."""
        what = f"{'/'.join(write.key)}{write.path}"
        await self._step(shadow, path, old, write.raw, "written", what, "", identity)

    async def refused(self, shadow: Shadow, verdict: Verdict) -> None:
        await self._once(shadow, verdict, "refused")

    async def confirmed(self, shadow: Shadow, verdict: Verdict) -> None:
        await self._once(shadow, verdict, "confirmed")

    async def settled(self, shadow: Shadow, verdict: Verdict) -> None:
        self._received.pop(verdict.path, None)
        self._noted.pop(verdict.path, None)
        await self._verdict(shadow, verdict, "settled")

    async def _once(self, shadow: Shadow, verdict: Verdict, step: str) -> None:
        """It may be that it could not be settled yet, and was decided again."""
        if self._noted.get(verdict.path) != verdict:
            self._noted[verdict.path] = verdict
            await self._verdict(shadow, verdict, step)

    async def _verdict(self, shadow: Shadow, verdict: Verdict, step: str) -> None:
        old = at(shadow.ledger.reported(), verdict.path)
        result = verdict.status.value
        await self._step(shadow, verdict.path, old, verdict.asked, step, result, verdict.reason, verdict.id)

    async def _step(
        self, shadow: Shadow, path: Path, old: Any, new: Any, step: str, result: str, reason: str, identity: str
    ) -> None:
        version = shadow.ledger.version
        await self._journal.note(
            Step(
                at=iso(self._clock.seconds()),
                thing=self._thing,
                shadow=self._name,
                field=dotted(path),
                old=old,
                new=new,
                step=step,
                result=result,
                reason=reason,
                id=identity,
                version=version,
                clientToken=self._token[1] if step == "received" and self._token[0] <= version else "",
            )
        )
