"""The shadows as Greengrass' Shadow Manager keeps them, over IPC; it syncs them to the cloud.

An update that is accepted is in Shadow Manager's own store. What became of it in the cloud is asked there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

import orjson
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.greengrass.errors import IpcError, Problem
from victron_twin.greengrass.nucleus import Nucleus
from victron_twin.twin import shadow as rules
from victron_twin.twin.ledger import REPORTED_LIMIT
from victron_twin.twin.shadow import Refused
from victron_twin.twin.summary import SHADOW

from .backend import CLASSIC, Delta, Document, InvalidRequest, NotFound, ShadowError, Unavailable, nothing
from .cloud_proxy import CloudProxy
from .local_deltas import LocalDeltas, resource
from .pace import Pace
from .refusals import proxy_refusal, shadow_refusal

#: Shadow Manager merges what waits for its way to the cloud; by then it is on its way, in s.
QUIET = 5.0
#: The start waits so long for the nucleus, in s.
PATIENCE = 3.0
#: Names of shadows in an answer, at most.
PAGE = 100

#: So often it is asked whether it is there, where the answer is that something failed.
PROBES = 3

T = TypeVar("T")
_NAMES = {
    "get_thing_shadow": "GetThingShadow",
    "update_thing_shadow": "UpdateThingShadow",
    "delete_thing_shadow": "DeleteThingShadow",
}


class GreengrassBackend:
    """A :class:`~victron_twin.shadows.backend.ShadowBackend` and :class:`~victron_twin.shadows.backend.Messenger`.

    The nucleus is used by others too: it is neither started nor stopped here, and has to be stopped after this.
    """

    name = "greengrass"
    reported_limit = REPORTED_LIMIT
    is_cloud = False
    quiet = QUIET
    _log = Logger()

    def __init__(self, clock: IReactorTime, nucleus: Nucleus, pace: Pace) -> None:
        self._clock = clock
        self._nucleus = nucleus
        self._pace = pace
        self._deltas = LocalDeltas(clock, nucleus)
        self._cloud = CloudProxy(clock, nucleus)
        self._versions: dict[tuple[str, str], int] = {}
        self._under_way: set[Deferred[Any]] = set()
        self._open = False

    def start(self) -> Deferred[None]:
        """Fires when the nucleus is there, or is not for some seconds: then requests fail until it is."""
        self._open = True
        return self._nucleus.when_connected().addTimeout(PATIENCE, self._clock).addErrback(_not_yet)

    def stop(self) -> Deferred[None]:
        """Whatever is under way has failed when this fires."""
        self._open = False
        for request in list(self._under_way):
            request.cancel()
        self._deltas.stop()
        self._cloud.stop()
        return succeed(None)

    def get(self, thing: str, shadow: str) -> Deferred[Document]:
        return self._begin(self._get(thing, shadow))

    def update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Deferred[Document]:
        return self._begin(self._update(thing, shadow, request))

    def delete(self, thing: str, shadow: str) -> Deferred[Document]:
        """The answer's version is the last that is known, for Shadow Manager tells none."""
        return self._begin(self._delete(thing, shadow))

    def named_shadows(self, thing: str) -> Deferred[list[str]]:
        return self._begin(self._named_shadows(thing))

    def watch(self, listener: Callable[[Delta], None], missed: Callable[[], None] = nothing) -> Callable[[], None]:
        return self._deltas.watch(listener, missed)

    # What the cloud has of them.

    def cloud_document(self, thing: str, shadow: str) -> Deferred[Document]:
        """The cloud's own document. NotFound where it has none, Unavailable where it does not answer in 10 s."""
        return self._begin(self._cloud_document(thing, shadow))

    def on_cloud(self, listener: Callable[[str, str, int, int], None]) -> Callable[[], None]:
        """Call ``listener(thing, shadow, version, timestamp)`` where the cloud has accepted an update of victron-twin.

        ``timestamp`` is the cloud's, in s. What is returned ends that.
        """
        return self._cloud.listen(listener)

    def publish(self, topic: str, payload: bytes) -> Deferred[None]:
        """By the nucleus' MQTT proxy, which keeps it in its spool while there is no way to the cloud."""
        return self._begin(self._publish(topic, payload))

    def probe(self) -> Deferred[bool]:
        """Whether Shadow Manager is there; waits for the nucleus as long as that takes."""
        return Deferred.fromCoroutine(self._probe())

    # How it is done.

    async def _get(self, thing: str, shadow: str) -> Document:
        _check(thing, shadow)
        try:
            document = await self._ask("get_thing_shadow", thing, shadow)
        except NotFound:
            self._has(thing, shadow, 0)
            raise
        self._has(thing, shadow, document["version"])
        return document

    async def _update(self, thing: str, shadow: str, request: Mapping[str, Any]) -> Document:
        _check(thing, shadow)
        try:
            versioned = rules.read(request).version is not None
            payload = _compact(request)
        except Refused as refused:
            raise InvalidRequest(refused.message) from None
        answer = await self._ask("update_thing_shadow", thing, shadow, versioned, payload=payload)
        self._has(thing, shadow, answer["version"])
        return answer

    async def _delete(self, thing: str, shadow: str) -> Document:
        _check(thing, shadow)
        version = self._versions.get((thing, shadow), 0)
        try:
            await self._call("delete_thing_shadow", thing, shadow)
        finally:
            self._has(thing, shadow, 0)  # also where it is gone already, or may be
        return {"version": version, "timestamp": int(self._clock.seconds())}

    async def _named_shadows(self, thing: str) -> list[str]:
        _check(thing, CLASSIC)
        names: list[str] = []
        token: str | None = None
        while True:
            await self._pace.turn(thing)
            try:
                page = await self._nucleus.call(
                    "list_named_shadows_for_thing", thing_name=thing, page_size=PAGE, next_token=token
                )
            except IpcError as error:
                raise shadow_refusal(error, "ListNamedShadowsForThing", thing) from None
            names += page.results or []
            token = page.next_token
            if not token or not page.results:
                return sorted(names)

    async def _cloud_document(self, thing: str, shadow: str) -> Document:
        _check(thing, shadow)
        return await self._cloud.document(thing, shadow)

    async def _publish(self, topic: str, payload: bytes) -> None:
        try:
            await self._nucleus.call("publish_to_iot_core", topic_name=topic, qos="1", payload=payload)
        except IpcError as error:
            raise proxy_refusal(error, "PublishToIoTCore", topic) from None

    async def _ask(
        self, operation: str, thing: str, shadow: str, versioned: bool = False, **arguments: Any
    ) -> Document:
        """What has a document for its answer. Its deltas are heard of before it is asked for."""
        if self._nucleus.connected and not self._deltas.heard(thing, shadow):
            await self._deltas.hear(thing, shadow)
            if shadow == SHADOW:
                self._cloud.follow(thing)
        response = await self._call(operation, thing, shadow, versioned, **arguments)
        try:
            document = _parsed(response.payload)
            if isinstance(document["version"], int):
                return cast("Document", document)
        except (ValueError, TypeError, KeyError, Refused):
            pass
        raise ShadowError(f"Shadow Manager answered {operation} with what is no document of a shadow")

    async def _call(self, operation: str, thing: str, shadow: str, versioned: bool = False, **arguments: Any) -> Any:
        turn = self._pace.turn(thing)
        if not turn.called:
            await turn
        try:
            return await self._nucleus.call(operation, thing_name=thing, shadow_name=shadow or None, **arguments)
        except IpcError as error:
            if error.problem is Problem.THROTTLED:
                self._pace.slow(thing)
            raise shadow_refusal(error, _NAMES[operation], resource(thing, shadow), versioned) from None

    def _has(self, thing: str, shadow: str, version: int) -> None:
        self._versions[thing, shadow] = version
        self._deltas.known(thing, shadow, version)

    async def _probe(self) -> bool:
        failures = 0
        while failures < PROBES:
            problem = await self._ask_anything()
            if problem is Problem.UNSUPPORTED:
                return False
            if problem is Problem.SERVICE:  # it has trouble, or this is nucleus lite, which answers so for all
                failures += 1
            elif problem not in (Problem.UNREACHABLE, Problem.TIMEOUT):
                return True
            await deferLater(self._clock, 1.0)
        return False

    async def _ask_anything(self) -> Problem | None:
        try:
            await self._nucleus.when_connected()
            await self._nucleus.call("get_thing_shadow", thing_name=SHADOW, shadow_name=SHADOW)
        except IpcError as error:
            if not self._nucleus.running:
                raise Unavailable(error.message) from None
            return error.problem
        return None

    def _begin(self, request: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        if not self._open:
            request.close()
            return fail(Unavailable(f"{self.name} is not open"))
        answer = Deferred.fromCoroutine(request)
        self._under_way.add(answer)
        return answer.addBoth(self._ended, answer)

    def _ended(self, result: T | Failure, answer: Deferred[T]) -> T | Failure:
        self._under_way.discard(answer)
        if isinstance(result, Failure) and not result.check(ShadowError):
            if not result.check(CancelledError):
                self._log.failure("a request failed", result)
                raise ShadowError("Internal service failure")
            if not self._open:
                raise Unavailable(f"{self.name} was closed before the answer came")
        return result


def _check(thing: str, shadow: str) -> None:
    try:
        rules.check_names(thing, shadow)
    except Refused as refused:
        raise InvalidRequest(refused.message) from None


def _parsed(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except ValueError:  # what somebody desires may be more than that reads
        return rules.parse(payload)


def _compact(request: Mapping[str, Any]) -> bytes:
    """As :func:`rules.compact`, in a small part of its time where there is no null: as one orjson writes NaN too."""
    try:
        payload = orjson.dumps(request)
    except TypeError:  # it takes fewer kinds of values
        return rules.compact(dict(request))
    return rules.compact(dict(request)) if b"null" in payload else payload


def _not_yet(failure: Failure) -> None:
    failure.trap(TimeoutError, IpcError)
