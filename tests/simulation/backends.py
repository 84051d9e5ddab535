"""A backend whose link breaks: the real store behind it, faults in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from victron_twin.shadows.backend import Delta, Document, ShadowBackend, ShadowError, Throttled, Unavailable, nothing

#: What may happen to a request.
FAULTS = ("refuse", "lose", "lose-answer", "throttle")


class FaultyBackend:
    """Passes requests on after ``latency`` seconds, or does to them what ``fault`` says.

    ``refuse``: an error at once; ``lose``: never done, never answered; ``lose-answer``: done, never answered.
    """

    def __init__(self, clock: IReactorTime, inner: ShadowBackend) -> None:
        self.name = inner.name
        self.reported_limit = inner.reported_limit
        self.quiet = inner.quiet
        self.inner = inner
        self.latency = 0.0
        self.fault = ""
        self.requests = 0
        self.in_flight: dict[tuple[str, str], int] = {}
        self._clock = clock

    def start(self) -> Deferred[None]:
        return self.inner.start()

    def stop(self) -> Deferred[None]:
        return self.inner.stop()

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._pass(lambda: self.inner.get(thing, shadow))

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        key = thing, shadow
        assert not self.in_flight.get(key), f"two updates of {shadow} in flight"
        self.in_flight[key] = 1
        answer = self._pass(lambda: self.inner.update(thing, shadow, request))

        def done(result: Any) -> Any:
            self.in_flight[key] = 0
            return result

        return answer.addBoth(done)

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._pass(lambda: self.inner.delete(thing, shadow))

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return self._pass(lambda: self.inner.named_shadows(thing))

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        return self.inner.watch(listener, missed)

    def _pass(self, request: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        self.requests += 1
        error: dict[str, ShadowError] = {"refuse": Unavailable("refused"), "throttle": Throttled("Too many requests")}
        if self.fault in error:
            return fail(error[self.fault])
        answer: Deferred[Any] = Deferred()
        if self.fault == "lose":
            return answer
        lost = self.fault == "lose-answer"

        def deliver() -> None:
            done = request()
            done.addBoth(lambda result: None if lost or answer.called else answer.callback(result))

        self._clock.callLater(self.latency, deliver)
        return answer
