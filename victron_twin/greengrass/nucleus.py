"""The link to the Greengrass nucleus over its IPC socket: calls and subscriptions that outlive connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from .errors import IpcError  # noqa: F401 - what every call fails with


class Subscription:
    """One stream of events, opened anew on each connection.

    ``ready`` fires at its first success, or fails with an IpcError where the nucleus refused it. One that was refused
    is tried again each minute, in case that a deployment changes the access control; ``close`` ends that.
    """

    ready: Deferred[None]

    def close(self) -> None:
        """No event is delivered after this."""
        raise NotImplementedError


class Nucleus(Service):
    """Calls operations of the nucleus by the names of the SDK.

    ``reactor`` is the real one: the SDK has a thread, and hands over with ``callFromThread``. ``fatal`` is called once
    with a message where the nucleus refuses the token: only a restart of the component gets a new one. At most
    ``calls`` are in flight, and each ends within ``timeout`` seconds, the wait for its turn included.
    """

    connected: bool

    def __init__(
        self,
        reactor: Any,
        socket: str,
        token: str,
        fatal: Callable[[str], None],
        *,
        calls: int = 32,
        timeout: float = 10.0,
    ) -> None:
        raise NotImplementedError

    def when_connected(self) -> Deferred[None]:
        """Fires at once where there is a connection, else with the next one; with an IpcError at the stop."""
        raise NotImplementedError

    def call(self, operation: str, **arguments: Any) -> Deferred[Any]:
        """``call("get_thing_shadow", thing_name=..., shadow_name=...)``: the SDK's response. Fails with IpcError only.

        Without a connection it fails at once (UNREACHABLE).
        """
        raise NotImplementedError

    def subscribe(
        self, operation: str, on_event: Callable[[Any], None], on_again: Callable[[], None], **arguments: Any
    ) -> Subscription:
        """``subscribe("subscribe_to_topic", ..., topic=...)``: each event of the stream in order, in the SDK's form.

        It can be made before there is a connection. ``on_again`` is called when the stream is open again after it
        was lost: events may have been missed.
        """
        raise NotImplementedError
