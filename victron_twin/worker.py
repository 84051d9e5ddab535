"""Where calls that block (commits, fsync) are done: in one thread of their own, or in simulations at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Worker(Protocol):
    """Does calls one after the other, in the order in which they came."""

    def start(self) -> None:
        """Begin; calls can be made from now on."""

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """The result of ``function(*args)``, delivered in the reactor's thread."""

    def stop(self) -> None:
        """End, after the calls that were made."""


class ThreadWorker:
    """One thread that belongs to the owner alone: nobody else's slow call delays it."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name=self._name)
        self._pool.start()

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        if self._pool is None:
            return fail(RuntimeError(f"{self._name} is not started"))
        return deferToThreadPool(self._reactor, self._pool, function, *args)

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


class InlineWorker:
    """Does each call at once in the caller's thread, so that a simulated clock decides everything."""

    def start(self) -> None:
        pass

    def run(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return execute(function, *args)

    def stop(self) -> None:
        pass
