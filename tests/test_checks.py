"""Checks in their order, on a simulated clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from victron_twin.checks import Check, Fault, Finding, State, examine


async def holds(subject: str) -> str:
    return f"{subject} is well"


async def fails(subject: str) -> str:
    raise Fault("no luck", f"{subject} has no luck", "try again")


async def breaks(subject: str) -> str:
    raise ValueError(subject)


async def hangs(subject: str) -> str:
    await Deferred()
    return "never"


def made(*checks: Check[str], seconds: float = 0.0) -> list[Finding]:
    clock = Clock()
    told: list[Finding] = []
    results: list[list[Finding]] = []
    deferred = Deferred.fromCoroutine(
        examine(checks, "it", clock, told.append, lambda error: Fault(type(error).__name__))
    )
    deferred.addCallback(results.append)
    clock.advance(seconds)
    (findings,) = results
    assert findings == told
    return findings


def test_each_is_told_and_a_fault_says_what_to_do() -> None:
    assert made(Check("one", holds), Check("two", fails)) == [
        Finding("one", State.OK, "it is well"),
        Finding("two", State.FAILED, "it has no luck - try again", "no luck"),
    ]


def test_what_needs_a_failed_or_skipped_one_is_skipped() -> None:
    findings = made(
        Check("one", fails), Check("two", holds, ("one",)), Check("three", holds, ("two",)), Check("four", holds)
    )
    assert [finding.state.value for finding in findings] == ["failed", "skipped", "skipped", "ok"]
    assert findings[1].text == "needs one"


def test_an_error_is_explained_and_does_not_end_the_examination() -> None:
    findings = made(Check("one", breaks), Check("two", holds))
    assert [finding.cause for finding in findings] == ["ValueError", ""]


def test_one_that_hangs_ends_within_its_time() -> None:
    findings = made(Check("one", hangs, limit=7.0), Check("two", holds), seconds=7.0)
    assert findings[0] == Finding("one", State.FAILED, "no answer in 7 s", "no answer in time")
    assert findings[1].state is State.OK
