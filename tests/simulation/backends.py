"""Backends of simulated processes: one whose link breaks, in front of another; and one that is all a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from tests.emulators.cloud import ANSWER, Cloud
from tests.emulators.shadow_manager import Refused, ShadowManager
from victron_twin.shadows.backend import (
    Conflict,
    Delta,
    Document,
    InvalidRequest,
    Messenger,
    NotFound,
    ShadowBackend,
    ShadowError,
    Throttled,
    TooLarge,
    Unauthorized,
    Unavailable,
    nothing,
)
from victron_twin.twin import shadow as rules

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
        self.is_cloud = inner.is_cloud
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

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        inner = self.inner
        assert isinstance(inner, Messenger)
        return self._pass(lambda: inner.publish(topic, payload))

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


#: Of a Shadow Manager's errors, ours; a ServiceError says which it is by its words alone.
_ERRORS: dict[str, type[ShadowError]] = {
    "ConflictError": Conflict,
    "ResourceNotFoundError": NotFound,
    "InvalidArgumentsError": InvalidRequest,
    "UnauthorizedError": Unauthorized,
}


class ModelBackend:
    """Greengrass as backend: the model of Shadow Manager in front of the model of the cloud, both of them elsewhere.

    ``messages`` gets what is published beside shadows; ``looks`` has the shadow of each look at the cloud.
    """

    name = "greengrass"
    reported_limit = 6_500
    quiet = 5.0
    is_cloud = False

    def __init__(self, manager: ShadowManager, cloud: Cloud, messages: list[tuple[str, bytes]] | None = None) -> None:
        self.looks: list[str] = []
        self._messages = [] if messages is None else messages
        self._manager = manager
        self._cloud = cloud
        self._open = False
        self._ends: list[Callable[[], None]] = []
        self._missed: list[Callable[[], None]] = []

    def start(self) -> Deferred[None]:
        self._open = True
        return succeed(None)

    def stop(self) -> Deferred[None]:
        self._open = False
        return succeed(None)

    def kill(self) -> None:
        """Nobody hears anything any more."""
        self._open = False
        for end in self._ends:
            end()

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._ask(lambda: self._manager.get(thing, shadow))

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        try:
            body = rules.compact(dict(request))
        except rules.Refused as refused:
            return fail(InvalidRequest(refused.message))
        return self._ask(lambda: self._manager.update(thing, shadow, body))

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._ask(lambda: self._manager.delete(thing, shadow))

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return self._ask(lambda: self._manager.named(thing))

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        def told(thing: str, shadow: str, payload: bytes) -> None:
            delta = json.loads(payload)
            listener(Delta(thing, shadow, delta["state"], delta["version"], delta.get("clientToken", "")))

        self._missed.append(missed)
        return self._until_killed(self._manager.listen(told))

    def reconnect(self) -> None:
        """The nucleus was away, and is back."""
        for missed in self._missed:
            missed()

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """Unlike in the nucleus, which may keep it, nothing is taken over while the link is away."""
        if not (self._open and self._cloud.online):
            return fail(Unavailable("the cloud is out of reach"))
        self._messages.append((topic, payload))
        return succeed(None)

    def cloud_document(self, thing: str, shadow: str) -> Deferred[Document]:
        """What the cloud holds. Fails with NotFound, and with Unavailable while the link is away."""
        if not (self._open and self._cloud.online):
            return fail(Unavailable("the cloud is out of reach"))
        self.looks.append(shadow)
        try:
            return succeed(_copy(self._cloud.get(thing, shadow)))
        except rules.Refused as refused:
            return fail((NotFound if refused.code == NotFound.code else InvalidRequest)(refused.message))

    def on_cloud(self, listener: Callable[[str, str, int, int], None]) -> Callable[[], None]:
        """Call ``listener(thing, shadow, version, timestamp)`` at each update that the cloud accepts, from whomever."""

        def told(topic: str, payload: bytes) -> None:
            answer = ANSWER.fullmatch(topic)
            if answer is not None and answer[3] == "update/accepted":
                message = json.loads(payload)
                listener(answer[1], answer[2] or "", message["version"], message["timestamp"])

        return self._until_killed(self._cloud.listen(told))

    def _until_killed(self, end: Callable[[], None]) -> Callable[[], None]:
        self._ends.append(end)

        def ended() -> None:
            self._ends.remove(end)
            end()

        return ended

    def _ask(self, request: Callable[[], Any]) -> Deferred[Any]:
        if not self._open:
            return fail(Unavailable("not connected"))
        try:
            return succeed(_copy(request()))
        except Refused as refused:
            return fail(_error(refused))


def _copy(value: Any) -> Any:
    """What comes over a wire shares nothing."""
    return json.loads(json.dumps(value))


def _error(refused: Refused) -> ShadowError:
    if refused.message == "Too Many Requests":
        return Throttled(refused.message)
    if "maximum size" in refused.message:
        return TooLarge(refused.message)
    return _ERRORS.get(refused.error, ShadowError)(refused.message)
