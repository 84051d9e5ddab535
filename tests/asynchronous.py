"""Typed doors to pytest-twisted, which has no types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

import pytest_twisted  # type: ignore[import-untyped]  # there are no stubs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

P = ParamSpec("P")
T = TypeVar("T")


def asynchronous(test: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Run an ``async def`` test on the real reactor."""
    return cast("Callable[P, Awaitable[T]]", pytest_twisted.ensureDeferred(test))


def wait(deferred: Deferred[T]) -> T:
    """The result of a Deferred, in a fixture: the reactor runs meanwhile."""
    return cast("T", pytest_twisted.blockon(deferred))


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for what comes in its own time."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        await deferLater(IReactorTime(reactor), 0.01)
    raise AssertionError("it did not come in time")
