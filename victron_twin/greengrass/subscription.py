"""One stream of events from the nucleus, opened anew on each connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .calls import Calls
from .errors import IpcError, Problem
from .sdk import Client
from .waiters import Waiters

#: A stream that could not be opened, or was closed, waits so long, doubled each time up to the longest, in s.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0

#: These tell nothing of whether the nucleus would allow it.
_PASSING = (Problem.UNREACHABLE, Problem.TIMEOUT, Problem.THROTTLED)


class Subscription:
    """Made by :meth:`Nucleus.subscribe`.

    One that was refused is tried again each minute, in case that a deployment changes the access control; ``close``
    ends that.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        calls: Calls,
        operation: str,
        arguments: Mapping[str, Any],
        on_event: Callable[[Any], None],
        on_again: Callable[[], None],
        closed: Callable[[Subscription], None],
    ) -> None:
        self._clock = clock
        self._calls = calls
        self._operation = operation
        self._arguments = arguments
        self._on_event = on_event
        self._on_again = on_again
        self._on_close = closed
        self._client: Client | None = None
        self._stream: _Stream | None = None
        self._waiting = Waiters()
        self._was_open = False
        self._refusal: IpcError | None = None
        self._timer: IDelayedCall | None = None
        self._wait = 0.0
        self._is_closed = False

    @property
    def ready(self) -> Deferred[None]:
        """A Deferred of the caller's own: fires at the first success, or fails with an IpcError where it is refused."""
        if self._was_open:
            return succeed(None)
        if self._refusal is not None:
            return fail(self._refusal)
        return self._waiting.wait()

    def close(self) -> None:
        """No event is delivered after this."""
        if not self._is_closed:
            self._is_closed = True
            stream = self._stream
            self.detach()
            if stream is not None:
                stream.close()
            self._refuse(IpcError(Problem.UNREACHABLE, "the subscription was closed"))
            self._on_close(self)

    # What the link calls.

    def attach(self, client: Client) -> None:
        """There is a connection."""
        self._client = client
        self._wait = 0.0
        self._open()

    def detach(self) -> None:
        """There is none any more."""
        self._client = self._stream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Within.

    def _open(self) -> None:
        self._timer = None
        if self._client is None:
            return
        stream = self._stream = _Stream()
        client = self._client

        def send() -> Future[Any]:
            response, stream.operation = client.subscribe(
                self._operation, self._arguments, partial(self._event, stream), partial(self._closed, stream)
            )
            return response

        self._calls.begin(send).addCallbacks(
            self._opened, self._failed, callbackArgs=(stream,), errbackArgs=(stream,)
        ).addErrback(lambda failure: self._log.failure("a subscription failed", failure))

    def _opened(self, _: Any, stream: _Stream) -> None:
        if stream is not self._stream:  # closed meanwhile
            stream.close()
            return
        stream.opened = True
        again = self._was_open or self._refusal is not None
        self._was_open, self._refusal = True, None
        self._waiting.fire()
        if again:
            self._on_again()

    def _failed(self, failure: Failure, stream: _Stream) -> None:
        if stream is not self._stream:
            return
        stream.close()
        failure.trap(IpcError)
        error = cast("IpcError", failure.value)
        if error.problem not in _PASSING:
            self._refuse(error)
            self._wait = LONGEST_WAIT
        self._again()

    def _refuse(self, error: IpcError) -> None:
        self._refusal = error
        self._waiting.fail(error)

    def _again(self) -> None:
        self._stream = None
        self._wait = min(max(FIRST_WAIT, 2 * self._wait), LONGEST_WAIT)
        self._timer = self._clock.callLater(self._wait, self._open)

    def _event(self, stream: _Stream, event: Any) -> None:
        if stream is self._stream:
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001 - whatever the listener does wrong, the stream stays
                self._log.failure("an event of {operation} could not be handled", operation=self._operation)

    def _closed(self, stream: _Stream) -> None:
        if stream is self._stream and stream.opened:  # else its call fails
            self._again()


class _Stream:
    """One opening of it."""

    __slots__ = ("opened", "operation")

    def __init__(self) -> None:
        self.operation: Any = None
        self.opened = False

    def close(self) -> None:
        """Have the nucleus end it; the SDK bears that it has ended."""
        if self.operation is not None:
            self.operation.close()
