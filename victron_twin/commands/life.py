"""How far a command has come. Drawn in docs/architecture.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder


class Life(Protocol):
    """The machine's inputs."""

    def wait(self) -> None:
        """It cannot be done now, and will be tried again."""

    def write(self) -> None:
        """Its first W is about to go out."""

    def retry(self) -> None:
        """One of its W is about to go out once more."""

    def confirm(self) -> None:
        """The GX has it, or it was sent and nothing confirms it; nothing is left to be done."""

    def hold(self) -> None:
        """The GX has it, and something is left to be done later."""

    def refuse(self) -> None:
        """It is not allowed, not possible, or the GX does not take it."""

    def give_up(self) -> None:
        """Nobody knows whether the GX has it."""

    def expire(self) -> None:
        """Its time is over."""

    def supersede(self) -> None:
        """A newer desire for the same field has come."""


@dataclass(slots=True)
class Progress:
    """The state that the machine tells: ``received``, ``waiting``, ``written``, ``retried``, ``held``, or at the end
    ``confirmed``, ``unconfirmed``, ``rejected``, ``expired``, ``superseded``."""

    state: str = "received"


ENDS = frozenset({"confirmed", "unconfirmed", "rejected", "expired", "superseded"})


def _build(retries: bool) -> Callable[[Progress], Life]:
    """An action's machine has no way to a second W: the attempt is an error before anything is sent."""
    builder = TypeMachineBuilder(Life, Progress)
    names = ("received", "waiting", "written", "retried", "held", *sorted(ENDS))
    states = {name: builder.state(name) for name in names}

    def to(before: str, step: Callable[[Life], None], after: str) -> None:
        def tell(life: Life, progress: Progress) -> None:
            progress.state = after

        if before == after:
            states[before].upon(step).loop()(tell)
        else:
            states[before].upon(step).to(states[after])(tell)

    for name in ("received", "waiting", "written", "retried", "held"):
        to(name, Life.confirm, "confirmed")
        to(name, Life.refuse, "rejected")
        to(name, Life.give_up, "unconfirmed")
        to(name, Life.expire, "expired")
        to(name, Life.supersede, "superseded")
        if retries or name in ("received", "waiting"):
            to(name, Life.wait, "waiting")
            to(name, Life.hold, "held")
    for name in ("received", "waiting"):
        to(name, Life.write, "written")
    if retries:
        to("held", Life.write, "written")
        for name in ("written", "retried"):
            to(name, Life.retry, "retried")
    return builder.build()


#: Of a setting or a setpoint, which may be written again; and of an action, which is written once.
repeatable = _build(retries=True)
once = _build(retries=False)
