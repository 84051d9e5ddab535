"""The cloud's own view of shadows that Shadow Manager syncs, asked by MQTT through the nucleus.

Shadow Manager tells nothing of its way to the cloud. The shadow service answers on topics of its own, and tells there
of each update that it accepted. What comes is subscribed to for each thing by name: a filter over all things would
bring those of other sites.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.greengrass.errors import IpcError, Problem
from victron_twin.greengrass.nucleus import Nucleus, Subscription
from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import Refused
from victron_twin.twin.summary import SHADOW

from .backend import CLASSIC, ERRORS, Document, InvalidRequest, ShadowError, Unavailable, nothing
from .local_deltas import resource
from .refusals import MQTT_PROXY, refusal

#: The cloud answers within, in s.
TIMEOUT = 10.0

Listener = Callable[[str, str, int, int], None]


class CloudProxy:
    """Reads documents at the cloud, and hears of the updates of victron-twin that it accepted."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, nucleus: Nucleus) -> None:
        self._clock = clock
        self._nucleus = nucleus
        self._listeners: list[Listener] = []
        self._answers: dict[str, list[Subscription]] = {}
        self._accepted: dict[str, Subscription] = {}
        self._asked: dict[str, Deferred[Document]] = {}
        self._numbers = count(1)

    def document(self, thing: str, shadow: str) -> Deferred[Document]:
        """The cloud's document. NotFound where it has none, Unavailable where it does not answer."""
        asked = Deferred.fromCoroutine(self._document(thing, shadow))
        return asked.addTimeout(TIMEOUT, self._clock).addErrback(_late)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(thing, shadow, version, timestamp)`` at each update of victron-twin that was accepted."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def follow(self, thing: str) -> None:
        """Hear of those of this thing from now on."""
        if thing not in self._accepted:
            topic = f"{resource(thing, SHADOW)}/update/accepted"
            self._accepted[thing] = self._subscribe(topic, lambda event: self._update(thing, event))
            self._accepted[thing].ready.addErrback(self._deaf, topic)

    def stop(self) -> None:
        """End all subscriptions."""
        for subscription in (*self._accepted.values(), *(each for pair in self._answers.values() for each in pair)):
            subscription.close()
        self._accepted.clear()
        self._answers.clear()

    async def _document(self, thing: str, shadow: str) -> Document:
        if shadow == CLASSIC:
            raise InvalidRequest("the cloud is asked for named shadows only")
        if not self._nucleus.connected:
            raise Unavailable("the nucleus cannot be reached")
        # Unlike any other's who asks for the same shadow meanwhile.
        token = f"victron-twin-{self._clock.seconds() * 1000:.0f}-{next(self._numbers)}"
        answer = self._asked[token] = Deferred()
        try:
            await self._hear_answers(thing)
            topic = f"{resource(thing, shadow)}/get"
            try:
                # At most once: what waits in the nucleus's spool would be answered when nobody asks any more.
                await self._nucleus.call(
                    "publish_to_iot_core", topic_name=topic, qos="0", payload=rules.compact({"clientToken": token})
                )
            except IpcError as error:
                raise _refused(error, "PublishToIoTCore", topic) from None
            return await answer
        finally:
            del self._asked[token]

    async def _hear_answers(self, thing: str) -> None:
        topic = f"{resource(thing, '+')}/get"
        if thing not in self._answers:
            kinds = "accepted", "rejected"
            self._answers[thing] = [self._subscribe(f"{topic}/{kind}", self._answer) for kind in kinds]
        try:
            for subscription in self._answers[thing]:
                await subscription.ready
        except IpcError as error:
            raise _refused(error, "SubscribeToIoTCore", f"{topic}/accepted and .../rejected") from None

    def _subscribe(self, topic: str, on_event: Callable[[Any], None]) -> Subscription:
        return self._nucleus.subscribe("subscribe_to_iot_core", on_event, nothing, topic_name=topic, qos="1")

    def _deaf(self, failure: Failure, topic: str) -> None:
        failure.trap(IpcError)
        error = cast("IpcError", failure.value)
        if error.problem is not Problem.UNREACHABLE:  # that is the end
            why = _refused(error, "SubscribeToIoTCore", topic).message
            self._log.error("When the cloud takes an update stays unknown (lastCloudSync): {why}", why=why)

    def _answer(self, event: Any) -> None:
        body = _body(event)
        answer = self._asked.get(str(body.pop("clientToken", "")))
        if answer is None or answer.called:
            return
        if event.message.topic_name.endswith("/accepted"):
            answer.callback(body)
        else:
            kind = ERRORS.get(body.get("code", 0), ShadowError)
            answer.errback(kind(f"the cloud refused it: {body.get('message')}"))

    def _update(self, thing: str, event: Any) -> None:
        body = _body(event)
        version, timestamp = body.get("version"), body.get("timestamp")
        if isinstance(version, int) and isinstance(timestamp, int):
            for listener in list(self._listeners):
                listener(thing, SHADOW, version, timestamp)


def _body(event: Any) -> Document:
    """What a message of the shadow service holds; empty where it is none."""
    try:
        body = rules.parse(event.message.payload or b"")
    except Refused:
        return {}
    return body if isinstance(body, dict) else {}


def _refused(error: IpcError, operation: str, topic: str) -> ShadowError:
    if error.problem in (Problem.UNAUTHORIZED, Problem.THROTTLED):
        return refusal(error, MQTT_PROXY, operation, topic)
    return Unavailable(f"the nucleus has no way to the cloud: {error.message}")


def _late(failure: Failure) -> Document:
    failure.trap(TimeoutError)
    raise Unavailable(f"the cloud did not answer within {TIMEOUT:.0f} s")
