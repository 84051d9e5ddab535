"""Checks that are made one after the other, each only where those that it needs have held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")


class State(str, Enum):
    """What came of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Fault(Exception):
    """What a check raises that does not hold: the cause in a few words, what was found, and what to do about it."""

    def __init__(self, cause: str, found: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.found = found or cause
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """``run`` gives what to say where it holds, and raises Fault where not, or whatever it meets.

    It is ended after ``limit`` seconds. ``needs`` are the names of checks before it.
    """

    name: str
    run: Callable[[T], Awaitable[str]]
    needs: tuple[str, ...] = ()
    limit: float = 15.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` is for people; ``cause`` is empty unless the check has failed."""

    name: str
    state: State
    text: str
    cause: str = ""


async def examine(
    checks: Sequence[Check[T]],
    subject: T,
    clock: IReactorTime,
    tell: Callable[[Finding], None],
    explain: Callable[[Exception], Fault],
) -> list[Finding]:
    """Make the checks, tell each finding as it comes, and give them all.

    ``explain`` says what an exception means that is no Fault.
    """
    findings: list[Finding] = []
    held: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name not in held]
        if missing:
            finding = Finding(check.name, State.SKIPPED, f"needs {', '.join(missing)}")
        else:
            finding = await _made(check, subject, clock, explain)
        if finding.state is State.OK:
            held.add(check.name)
        findings.append(finding)
        tell(finding)
    return findings


async def _made(check: Check[T], subject: T, clock: IReactorTime, explain: Callable[[Exception], Fault]) -> Finding:
    late = Fault("no answer in time", f"no answer in {check.limit:g} s")

    def ended(_result: Any, _seconds: float) -> str:
        raise late

    running: Deferred[str] = Deferred.fromCoroutine(_awaited(check, subject))
    try:
        return Finding(check.name, State.OK, await running.addTimeout(check.limit, clock, ended))
    except Fault as error:
        fault = error
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the check has found
        fault = explain(error)
    text = fault.found + (f" - {fault.remedy}" if fault.remedy else "")
    return Finding(check.name, State.FAILED, text, fault.cause)


async def _awaited(check: Check[T], subject: T) -> str:
    return await check.run(subject)
