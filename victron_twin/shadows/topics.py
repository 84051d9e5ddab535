"""Shadows over the topics that AWS IoT reserves for them, whatever carries the messages.

A request is published on ``$aws/things/<thing>/shadow/name/<shadow>/<operation>`` and answered on the same with
``/accepted`` or ``/rejected`` behind it, both JSON objects; which answer belongs to which request tells their
``clientToken`` (developer guide, "Device Shadow MQTT topics").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, FirstError, TimeoutError, fail, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.twin import shadow as rules
from victron_twin.twin.shadow import Refused

from .backend import (
    CLASSIC,
    ERRORS,
    Delta,
    Document,
    InvalidRequest,
    NotFound,
    ShadowError,
    TooLarge,
    Unauthorized,
    Unavailable,
    nothing,
)
from .line import Line
from .requests import TIMEOUT, Request, Requests, topic
from .transport import Transport
from .watchers import Watchers

#: The shadow that is read to see whether answers come at all.
QUESTION = "victron-twin"
#: What a thing needs, for all its shadows. Never ``documents``: each would hold two whole documents.
FILTERS = ("update/accepted", "update/rejected", "update/delta", "get/accepted", "get/rejected")
_TOPIC = re.compile(r"\$aws/things/([^/]+)/shadow/name/([^/]+)/(get|update|delete)/(accepted|rejected|delta)")
#: So many topics are told of that carry what is no message of the service.
STRANGE = 20
_REFUSALS: Mapping[int, type[ShadowError]] = {**ERRORS, 415: InvalidRequest}


class TopicBackend:
    """A :class:`~victron_twin.shadows.backend.ShadowBackend` over shadow topics, and a
    :class:`~victron_twin.shadows.backend.Messenger`.

    There is no topic that lists shadows: ``names`` are those that are looked for. The classic shadow is not kept here.
    """

    is_cloud = True
    quiet = 0.0
    _log = Logger()

    def __init__(self, transport: Transport, clock: IReactorTime, names: Collection[str], random: Random) -> None:
        self.name = transport.name
        self.reported_limit = transport.reported_limit
        self._transport = transport
        self._clock = clock
        self._names = sorted(names)
        # Answers to a process that was here before must not be taken for ours.
        prefix = f"{random.getrandbits(32):08x}-"
        self._requests = Requests(transport, clock, prefix, lambda thing: self._lines[thing].open, self._unanswered)
        self._open = False
        self._lines: dict[str, Line] = {}
        self._deleting = DeferredLock()
        self._watchers = Watchers()
        self._seen: dict[tuple[str, str], int] = {}  # the newest delta's version
        self._odd: set[str] = set()

    def start(self) -> Deferred[None]:
        return self._transport.start(self._message, self._again).addCallback(self._started)

    def _started(self, _: None) -> None:
        self._open = True

    def stop(self) -> Deferred[None]:
        self._open = False
        for line in self._lines.values():
            line.close()
        self._requests.stop()
        self._lines.clear()
        return self._transport.stop()

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._ask(thing, shadow, "get", {})

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        try:
            body = rules.parse(rules.compact(dict(request)))  # by value: it may have to wait
            rules.read(body)
        except Refused as refused:
            return fail(_REFUSALS[refused.code](refused.message))
        return self._ask(thing, shadow, "update", body)

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        return Deferred.fromCoroutine(self._delete(thing, shadow))

    async def _delete(self, thing: str, shadow: str) -> Document:
        """It is rare: its answers are subscribed to only while they are waited for."""
        self._check(thing, shadow)
        filters = [topic(thing, shadow, "delete", kind) for kind in ("accepted", "rejected")]
        await self._deleting.acquire()
        try:
            await self._transport.subscribe(filters).addTimeout(TIMEOUT, self._clock)
            answer = await self._ask(thing, shadow, "delete", {})
        except TimeoutError:
            raise Unavailable("the answers of a delete could not be subscribed to in time") from None
        finally:
            self._transport.unsubscribe(filters)
            self._deleting.release()
        self._seen.pop((thing, shadow), None)
        return answer

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return Deferred.fromCoroutine(self._named(thing))

    async def _named(self, thing: str) -> list[str]:
        try:
            there = await gatherResults([self._is_there(thing, name) for name in self._names], consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return [name for name, is_there in zip(self._names, there, strict=True) if is_there]

    def _is_there(self, thing: str, name: str) -> Deferred[bool]:
        def missing(failure: Failure) -> bool:
            failure.trap(NotFound)
            return False

        return self.get(thing, name).addCallbacks(lambda _: True, missing)

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        return self._watchers.add(listener, missed)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        if not self._open:
            return fail(Unavailable(f"{self.name} is not open"))
        largest = self._transport.largest
        size = len(topic.encode()) + len(payload)  # a topic can be longer than any of a shadow
        if size > largest:
            return fail(TooLarge(f"the message has {size} bytes with its topic; {largest} can be sent"))
        return self._transport.publish(topic, payload)

    def _check(self, thing: str, shadow: str) -> None:
        if not self._open:
            raise Unavailable(f"{self.name} is not open")
        if shadow == CLASSIC:
            raise InvalidRequest(f"{self.name} keeps named shadows only")
        try:
            rules.check_names(thing, shadow)
        except Refused as refused:
            raise InvalidRequest(refused.message) from None

    def _ask(self, thing: str, shadow: str, operation: str, body: Document, urgent: bool = False) -> Deferred[Document]:
        try:
            self._check(thing, shadow)
        except ShadowError as error:
            return fail(error)
        line = self._line(thing)
        answer = self._requests.add(Request(thing, shadow, operation, body, urgent))
        if not urgent:
            line.want()
        return answer

    def _line(self, thing: str) -> Line:
        if thing not in self._lines:
            filters = [topic(thing, "+", each) for each in FILTERS]
            self._lines[thing] = Line(
                thing,
                self._clock,
                subscribe=lambda: self._transport.subscribe(filters),
                ask=lambda: self._ask(thing, QUESTION, "get", {}, urgent=True),
                opened=self._requests.send,
                refused=lambda error: self._requests.fail_waiting(thing, error),
                missed=self._watchers.missed,
            )
        return self._lines[thing]

    def _unanswered(self, request: Request) -> None:
        self._lines[request.thing].timed_out(request.operation)

    # What comes

    def _message(self, name: str, payload: bytes) -> None:
        match = _TOPIC.fullmatch(name)
        try:
            body = rules.parse(payload)
        except Refused:
            body = None
        if match is None or not isinstance(body, dict):
            self._strange(name)
            return
        thing, shadow, operation, kind = match.groups()
        if thing not in self._lines:
            return
        self._lines[thing].heard(operation if kind != "delta" else kind)
        if kind == "delta":
            self._delta(name, thing, shadow, body)
            return
        request = self._requests.find(body.pop("clientToken", None), thing, shadow, operation)
        if request is None:
            return
        if kind == "rejected":
            self._requests.fail(request, _refusal(request, body))
        elif isinstance(body.get("version"), int):
            if body["version"] < self._seen.get((thing, shadow), 0):
                del self._seen[thing, shadow]  # it was made anew, after the service had forgotten the old one's version
            self._requests.succeed(request, body)
        else:
            self._strange(name)

    def _delta(self, name: str, thing: str, shadow: str, body: Document) -> None:
        state, version, token = body.get("state"), body.get("version"), body.get("clientToken")
        if not isinstance(state, dict) or not isinstance(version, int):
            self._strange(name)
            return
        if version <= self._seen.get((thing, shadow), 0):
            return
        self._seen[thing, shadow] = version
        token = self._requests.callers(token) if isinstance(token, str) else ""
        self._watchers.tell(Delta(thing, shadow, state, version, token))

    def _again(self) -> None:
        for line in list(self._lines.values()):
            line.again()
        self._watchers.missed()

    def _strange(self, name: str) -> None:
        if name not in self._odd and len(self._odd) < STRANGE:
            self._odd.add(name)
            self._log.warn("What came on {topic} is no message of the shadow service; it is ignored.", topic=name)


def _refusal(request: Request, body: Document) -> ShadowError:
    """The error of a ``rejected`` message: ``{"code": int, "message": str, ...}``."""
    code, message = body.get("code"), str(body.get("message") or "no reason given")
    kind = _REFUSALS.get(code, ShadowError) if isinstance(code, int) else ShadowError
    if kind is Unauthorized:
        action = f"iot:{request.operation.capitalize()}ThingShadow"
        message = f"{message}: the policy must allow {action} on {request.thing}/{request.shadow}"
    return kind(message)
