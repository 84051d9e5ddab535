"""The real SDK's client of a nucleus, with Deferreds: for tests of the emulator itself.

Only its connect without a wait is ours: the SDK's own blocks, and the nucleus lives in the same thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pytest
from twisted.internet.defer import Deferred

#: For what must come, in s.
PATIENCE = 20.0

needs_sdk = pytest.mark.skipif(find_spec("awsiot") is None, reason="needs awsiotsdk, of the extra greengrass")


@dataclass
class Subscription:
    """What came of a stream: events in order, errors, and whether it is closed."""

    operation: Any
    events: list[Any] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    closed: bool = False


class Client:
    """``await client.call("get_thing_shadow", thing_name=...)``, ``await client.subscribe("subscribe_to_topic", ...)``.

    ``lost`` has the reason of each end of the connection that was not asked for.
    """

    def __init__(self, reactor: Any, socket_path: str, token: str) -> None:
        from awscrt.io import (  # type: ignore[import-untyped]  # there are no stubs
            ClientBootstrap,
            DefaultHostResolver,
            EventLoopGroup,
            SocketDomain,
            SocketOptions,
        )
        from awsiot.eventstreamrpc import Connection, MessageAmendment  # type: ignore[import-untyped]
        from awsiot.greengrasscoreipc.client import GreengrassCoreIPCClient  # type: ignore[import-untyped]
        from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2  # type: ignore[import-untyped]

        self._reactor = reactor
        # One thread and three descriptors, gone when the client is.
        group = EventLoopGroup(num_threads=1)
        options = SocketOptions()
        options.domain = SocketDomain.Local
        self._connection = Connection(
            host_name=socket_path,
            port=0,
            bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
            socket_options=options,
            connect_message_amender=MessageAmendment.create_static_authtoken_amender(token),
        )
        self._client = GreengrassCoreIPCClientV2(client=GreengrassCoreIPCClient(self._connection), executor=None)
        self._ping = MessageAmendment(payload=b"there?")
        self.lost: list[Exception] = []

    def connect(self) -> Deferred[None]:
        return self._deferred(self._connection.connect(self))

    def close(self) -> Deferred[None]:
        """Done when the socket is closed, whatever the reason."""
        return self._deferred(self._connection.close()).addErrback(lambda failure: None)

    def on_connect(self) -> None:
        """Of the SDK's handler, as the other three."""

    def on_error(self, error: Exception) -> bool:
        return True

    def on_ping(self, headers: Any, payload: bytes) -> None: ...

    def on_disconnect(self, reason: Exception | None) -> None:
        if reason is not None:
            self._reactor.callFromThread(self.lost.append, reason)

    def call(self, operation: str, **arguments: Any) -> Deferred[Any]:
        return self._deferred(getattr(self._client, f"{operation}_async")(**arguments))

    async def subscribe(self, operation: str, **arguments: Any) -> Subscription:
        subscription = Subscription(None)

        def error(error: Exception) -> bool:
            self._reactor.callFromThread(subscription.errors.append, error)
            return False

        future, subscription.operation = getattr(self._client, f"{operation}_async")(
            on_stream_event=lambda event: self._reactor.callFromThread(subscription.events.append, event),
            on_stream_error=error,
            on_stream_closed=lambda: self._reactor.callFromThread(setattr, subscription, "closed", True),
            **arguments,
        )
        await self._deferred(future)
        return subscription

    def ping(self) -> Deferred[None]:
        """Done when it is sent."""
        return self._deferred(self._connection.send_ping(self._ping))

    def _deferred(self, future: Future[Any]) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()

        def done(future: Future[Any]) -> None:
            fire: Callable[..., None] = deferred.errback if future.exception() else deferred.callback
            result = future.exception() or future.result()
            self._reactor.callFromThread(lambda: None if deferred.called else fire(result))

        future.add_done_callback(done)
        return deferred.addTimeout(PATIENCE, self._reactor)


async def failure(answer: Awaitable[Any]) -> tuple[str, str | None]:
    """The name of the error with which a call ended, and its message."""
    try:
        got = await answer
    except Exception as error:  # noqa: BLE001 - the SDK's errors have no base of their own
        return type(error).__name__, getattr(error, "message", None)
    raise AssertionError(f"it did not fail: {got}")
