"""What the nucleus is told of the component's life, and may not do to it while a command is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .errors import IpcError, Problem
from .nucleus import Nucleus, Subscription

#: A deployment waits this long before it asks again, and this long in all, in s.
RECHECK, LONGEST = 5.0, 60.0


class Lifecycle(Service):
    """``busy`` says whether a command is under way."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, nucleus: Nucleus, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._nucleus = nucleus
        self._busy = busy
        self._state = ""
        self._subscription: Subscription | None = None
        self._since: dict[str, float] = {}

    def startService(self) -> None:
        super().startService()
        self._subscription = self._nucleus.subscribe("subscribe_to_component_updates", self._event, self._tell)
        self._subscription.ready.addErrback(self._deaf)

    def stopService(self) -> None:
        super().stopService()
        if self._subscription is not None:
            self._subscription.close()

    def running_now(self) -> None:
        """All services have begun."""
        self._state = "RUNNING"
        self._tell()

    def errored(self) -> Deferred[None]:
        """The process ends because it cannot go on; done when the nucleus knows, or cannot be told."""
        self._state = "ERRORED"
        return Deferred.fromCoroutine(self._update())

    def _tell(self) -> None:
        if self._state:
            Deferred.fromCoroutine(self._update()).addErrback(self._failed)

    async def _update(self) -> None:
        state = self._state
        try:
            await self._nucleus.when_connected()
            await self._nucleus.call("update_state", state=state)
        except IpcError as error:
            self._log.warn("The nucleus was not told that the component is {state}: {why}", state=state, why=error)

    def _deaf(self, failure: Failure) -> None:
        if self.running:
            # Nucleus lite has no such operation, and says no more than that something failed.
            lacks_it = isinstance(failure.value, IpcError) and failure.value.problem in (
                Problem.UNSUPPORTED,
                Problem.SERVICE,
            )
            tell = self._log.info if lacks_it else self._log.warn
            tell("Updates of the component cannot be put off: {why}", why=failure.getErrorMessage())

    def _event(self, event: Any) -> None:
        coming = getattr(event, "pre_update_event", None)
        if coming is None:
            self._since.clear()
            return
        deployment = coming.deployment_id
        since = self._since.setdefault(deployment, self._clock.seconds())
        wait = self._busy() and self._clock.seconds() - since < LONGEST
        if wait:
            self._log.info("An update of the component waits for a command that is under way.")
        recheck = int(RECHECK * 1000) if wait else 0
        self._nucleus.call("defer_component_update", deployment_id=deployment, recheck_after_ms=recheck).addErrback(
            self._failed
        )

    def _failed(self, failure: Failure) -> None:
        if self.running:
            self._log.warn("The nucleus did not take an answer: {why}", why=failure.getErrorMessage())
