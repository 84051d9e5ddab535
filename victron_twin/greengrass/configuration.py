"""The component's own configuration: what a deployment merged into the recipe's defaults, and each change of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import IpcError, Problem
from .nucleus import Nucleus, Subscription

#: Between attempts to read it, in s.
AGAIN = 5.0
#: A deployment changes keys one after the other; it is read when this long none came, in s.
PAUSE = 1.0
#: These do not get better by asking again.
FINAL = frozenset({Problem.UNAUTHORIZED, Problem.NOT_FOUND, Problem.UNSUPPORTED, Problem.INVALID})
#: A nucleus that is there and fails so often has none to give; the service begins without.
TRIES = 3

Take = Callable[[Mapping[str, Any]], object]


class ComponentConfiguration(Service):
    """Gives the configuration to ``take`` at the start, and whenever it was changed."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, nucleus: Nucleus, take: Take) -> None:
        self._clock = clock
        self._nucleus = nucleus
        self._take = take
        self._last: Mapping[str, Any] | None = None
        self._subscription: Subscription | None = None
        self._reading = False
        self._again = False
        self._failures = 0
        self._call: Any = None

    def startService(self) -> None:
        super().startService()
        self._subscription = self._nucleus.subscribe(
            "subscribe_to_configuration_update", lambda event: self._soon(PAUSE), lambda: self._soon(0.0)
        )
        self._subscription.ready.addErrback(self._deaf)
        self._nucleus.when_connected().addCallbacks(lambda _: self._soon(0.0), lambda failure: None)

    def stopService(self) -> None:
        super().stopService()
        if self._subscription is not None:
            self._subscription.close()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _deaf(self, failure: Failure) -> None:
        if self.running:
            self._log.warn(
                "Changes of the component's configuration are not heard ({why}); they take effect at the next start.",
                why=failure.getErrorMessage(),
            )

    def _soon(self, seconds: float) -> None:
        """The event names a key, not its value: the whole is read again."""
        if not self.running:
            return
        if self._call is not None and self._call.active():
            self._call.reset(seconds)
        else:
            self._call = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        if self._reading:
            self._again = True
            return
        self._reading = True
        Deferred.fromCoroutine(self._read()).addErrback(
            lambda failure: self._log.failure("the component's configuration was not taken", failure)
        )

    async def _read(self) -> None:
        try:
            answer = await self._nucleus.call("get_configuration", key_path=[])
            found = answer.value if isinstance(answer.value, Mapping) else {}
        except IpcError as error:
            self._failures += error.problem is Problem.SERVICE
            if error.problem not in FINAL and self._failures < TRIES:
                self._log.warn("The component's configuration cannot be read yet: {why}", why=error.message)
                self._soon(AGAIN)
                return
            if self._last is None:
                self._log.warn("The component has no configuration that could be read: {why}", why=error.message)
            found = self._last or {}
        finally:
            self._reading = False
        if self._again:
            self._again = False
            self._soon(0.0)
        if self.running and found != self._last:
            self._last = found
            self._take(found)
