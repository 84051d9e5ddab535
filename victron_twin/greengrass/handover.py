"""From the SDK's thread to the reactor's: as ``callFromThread``, with one wake-up for all that comes in a burst."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger


class HandOver:
    """Call it, in any thread, with a function and its arguments: it is called in the reactor's thread, in order.

    To wake the reactor costs more than a small call does: a write to a pipe, and a change of threads.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def __call__(self, function: Callable[..., object], *args: Any) -> None:
        self._calls.append((function, args))
        # Looked at after it was put there: if the reactor's thread is to look still, it finds it.
        if not self._woken:
            self._woken = True
            self._reactor.callFromThread(self._take_over)

    def _take_over(self) -> None:
        self._woken = False
        for _ in range(
            len(self._calls)
        ):  # what comes meanwhile has its own wake-up: the reactor has other things to do
            function, args = self._calls.popleft()
            try:
                function(*args)
            except Exception:  # noqa: BLE001 - one call's fault is not the others'
                self._log.failure("what the SDK handed over failed")
