"""How the process ends: one line that says why, and an exit status that tells the supervisor."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

#: By then all services have stopped, or are left behind; the supervisor was promised 5, in s.
PATIENCE = 4.5
#: What is done before they stop has this long, in s.
LAST_WORDS = 1.0


class Exits(Service):
    """Ends the process where it cannot go on, and answers SIGTERM and SIGINT with exit status 0.

    Twisted itself ends with the signal's status (143), which a supervisor takes for a failure.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = False
        self._status = 0
        self.message = ""
        self._last_words: list[Callable[[], Deferred[Any]]] = []

    def before_fatal(self, act: Callable[[], Deferred[Any]]) -> None:
        """Do this before the services stop where the process cannot go on; it has a second."""
        self._last_words.append(act)

    def startService(self) -> None:
        super().startService()
        # Twisted installs its own handlers as the last thing before it runs.
        IReactorCore(self._reactor).callWhenRunning(self._handle_signals)

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stop))

    def fatal(self, message: str, status: int = 1) -> None:
        """Say why, flush, and end with this status; the first reason counts."""
        if self.message:
            return
        self.message = message
        self._status = status
        self._log.critical("{message}", message=message)
        # sys.exit in a callback is swallowed and reactor.stop gives 0: the status is set at the very end.
        atexit.register(os._exit, status)
        # Not at once: the reactor may not run yet.
        self._reactor.callLater(0, self._end)

    def _end(self) -> None:
        words = DeferredList([maybeDeferred(act) for act in self._last_words], consumeErrors=True)
        words.addTimeout(LAST_WORDS, self._reactor, lambda *_: None)
        words.addBoth(lambda _: self._stop())

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.callLater(PATIENCE, self._leave)
            self._reactor.stop()

    def _leave(self) -> None:
        self._log.warn("Not all has stopped within {seconds} s; it is left as it is.", seconds=PATIENCE)
        os._exit(self._status)
