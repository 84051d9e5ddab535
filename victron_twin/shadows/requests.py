"""Requests that are published and answered by another message: a few under way, the others wait for their turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from victron_twin.twin import shadow as rules

from .backend import Document, ShadowError, TooLarge, Unavailable
from .line import Unanswered
from .transport import Transport

#: The service answers "too many requests" when more than ten of a connection are under way.
IN_FLIGHT = 8
#: From the request to its answer, in s.
TIMEOUT = 10.0
#: Of so many requests the callers' own tokens are remembered for the deltas that come of them.
TOKENS = 64


def topic(thing: str, shadow: str, *rest: str) -> str:
    return "/".join(("$aws/things", thing, "shadow/name", shadow, *rest))


@dataclass(eq=False, slots=True)
class Request:
    thing: str
    shadow: str
    operation: str
    body: Document
    urgent: bool  #: goes out though others must wait
    answer: Deferred[Document] = field(default_factory=Deferred)
    token: str = ""
    published: bool = False
    timeout: IDelayedCall | None = None


class Requests:
    """What was asked and is not answered yet.

    ``may_go`` tells whether requests about a thing may be sent; ``unanswered`` is called with a request that went out
    and was not answered in time. Each request has a token of ours, which begins with ``prefix``, in place of the
    caller's.
    """

    _log = Logger()

    def __init__(
        self,
        transport: Transport,
        clock: IReactorTime,
        prefix: str,
        may_go: Callable[[str], bool],
        unanswered: Callable[[Request], None],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._prefix = prefix
        self._may_go = may_go
        self._unanswered = unanswered
        self._count = 0
        self._waiting: deque[Request] = deque()
        self._under_way: dict[str, Request] = {}
        self._callers: OrderedDict[str, str] = OrderedDict()

    def add(self, request: Request) -> Deferred[Document]:
        """Send it in its turn; fails with a ShadowError, at the latest after :data:`TIMEOUT`."""
        request.timeout = self._clock.callLater(TIMEOUT, self._timed_out, request)
        request.answer = Deferred(lambda _: self._abandon(request))
        self._waiting.append(request)
        self.send()
        return request.answer

    def send(self) -> None:
        """Send what may be sent, in the order in which it came."""
        for request in list(self._waiting):
            may_go = request.urgent or (len(self._under_way) < IN_FLIGHT and self._may_go(request.thing))
            if may_go and request in self._waiting:  # what fails at once brings us here again
                self._waiting.remove(request)
                self._publish(request)

    def find(self, token: object, thing: str, shadow: str, operation: str) -> Request | None:
        """Which request a message answers; none, where it is another's, or late.

        A delete may be answered without its token: gone is gone, whoever asked for it.
        """
        asked = thing, shadow, operation
        for request in self._under_way.values():
            ours = token == request.token or (token is None and operation == "delete")
            if ours and (request.thing, request.shadow, request.operation) == asked:
                return request
        return None

    def callers(self, token: str) -> str:
        """The token that the caller gave, for ours; another's as it is."""
        return self._callers.get(token, "") if token.startswith(self._prefix) else token

    def succeed(self, request: Request, answer: Document) -> None:
        if self._forget(request):
            if "clientToken" in request.body:
                answer["clientToken"] = request.body["clientToken"]
            request.answer.callback(answer)
            self.send()

    def fail(self, request: Request, error: ShadowError) -> None:
        if self._forget(request):
            request.answer.errback(error)
            self.send()

    def fail_waiting(self, thing: str, error: ShadowError) -> None:
        for request in [each for each in self._waiting if each.thing == thing]:
            self.fail(request, error)

    def stop(self) -> None:
        for request in [*self._waiting, *self._under_way.values()]:
            self.fail(request, Unavailable("stopped before it was answered"))

    def _publish(self, request: Request) -> None:
        self._count += 1
        request.token = f"{self._prefix}{self._count}"
        if request.body.get("clientToken") is not None:
            self._callers[request.token] = request.body["clientToken"]
            if len(self._callers) > TOKENS:
                self._callers.popitem(last=False)
        payload = rules.compact({**request.body, "clientToken": request.token})
        largest = self._transport.largest
        if len(payload) > largest:
            self.fail(request, TooLarge(f"the request has {len(payload)} bytes; {largest} can be sent"))
            return
        self._under_way[request.token] = request
        sent = self._transport.publish(topic(request.thing, request.shadow, request.operation), payload)
        sent.addCallbacks(self._published, self._not_published, callbackArgs=(request,), errbackArgs=(request,))

    def _published(self, _: None, request: Request) -> None:
        request.published = True

    def _not_published(self, failure: Failure, request: Request) -> None:
        if isinstance(failure.value, ShadowError):
            self.fail(request, failure.value)
        else:
            self._log.failure("a request could not be published", failure=failure)
            self.fail(request, ShadowError("Internal failure"))

    def _timed_out(self, request: Request) -> None:
        what = f"no answer to the {request.operation} of {request.shadow} within {TIMEOUT:.0f} s"
        if self._transport.problem:
            what += f": {self._transport.problem}"
        if not request.published:
            self.fail(request, Unavailable(what))
            return
        self._unanswered(request)  # before those that wait take its place
        self.fail(request, Unanswered(what))

    def _abandon(self, request: Request) -> None:
        """Whoever asked waits no longer."""
        self._forget(request)
        self.send()

    def _forget(self, request: Request) -> bool:
        """Whether it was still to be answered."""
        if request.timeout is None:
            return False
        if request.timeout.active():
            request.timeout.cancel()
        request.timeout = None
        if request in self._waiting:
            self._waiting.remove(request)
        self._under_way.pop(request.token, None)
        return True
