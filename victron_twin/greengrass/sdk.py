"""The one door to awsiotsdk: its thread stays behind it. What comes through comes in the reactor's thread, in order.

The SDK calls back in a thread of its own, which must never be blocked: every callback only hands over. It is an extra,
so it is imported here, inside functions; and it must not be used before a fork, so nothing is made before ``open``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .handover import HandOver

# A logger of the standard library without a handler writes its errors to standard error. What the SDK logs of a
# connection is what the link tells too.
_SDK_LOG = "awsiot.eventstreamrpc"

#: A stream that the nucleus ends with its response has ended by then, in s.
SETTLED = 1.0


class Sdk:
    """The SDK's event loop: one thread and its descriptors for the whole life of a link, whatever is reconnected."""

    def __init__(self, reactor: Any, socket: str, token: str) -> None:
        self.hand_over = HandOver(reactor)
        self._clock = reactor
        self._socket = socket
        self._greeting = json.dumps({"authToken": token}).encode()
        self._bootstrap: Any = None

    def open(self) -> None:
        """Import the SDK and start its thread."""
        from awscrt.io import (  # type: ignore[import-untyped]  # it has no types
            ClientBootstrap,
            DefaultHostResolver,
            EventLoopGroup,
        )

        if not logging.getLogger(_SDK_LOG).handlers:
            logging.getLogger(_SDK_LOG).addHandler(logging.NullHandler())
        group = EventLoopGroup(num_threads=1)
        self._bootstrap = ClientBootstrap(group, DefaultHostResolver(group))

    def close(self) -> None:
        """Let the thread go; it ends when no connection is left."""
        self._bootstrap = None

    def dial(self, up: Callable[[], None], ended: Callable[[str], None]) -> Line:
        """A connection; see :class:`Line`."""
        return Line(self._clock, self.hand_over, self._socket, self._greeting, self._bootstrap, up, ended)


class Line:
    """One connection, from the attempt on.

    ``up`` is called if the nucleus accepts the token, and ``ended``, with the reason, once and last; neither after
    ``close``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hand_over: HandOver,
        socket: str,
        greeting: bytes,
        bootstrap: Any,
        up: Callable[[], None],
        ended: Callable[[str], None],
    ) -> None:
        from awscrt.io import SocketDomain, SocketOptions
        from awsiot.eventstreamrpc import (  # type: ignore[import-untyped]  # it has no types
            Connection,
            LifecycleHandler,
            MessageAmendment,
        )

        self._clock = clock
        self._hand_over = hand_over
        self.greeted = False  #: the socket was accepted, and the token sent
        self._up = up
        self._tell = ended
        self._left = False
        self._over: Deferred[None] = Deferred()
        options = SocketOptions()
        options.domain = SocketDomain.Local

        class Handler(LifecycleHandler):  # type: ignore[misc]  # of a base without types
            def on_disconnect(handler, reason: Exception | None) -> None:
                hand_over(self._ended, reason)

        def greet() -> Any:
            self.greeted = True
            return MessageAmendment(payload=greeting)

        def answered(future: Future[None]) -> None:
            error = future.exception()
            if error is None:
                hand_over(self._acknowledged)
            else:
                hand_over(self._ended, error)

        self._connection = Connection(
            host_name=socket, port=0, bootstrap=bootstrap, socket_options=options, connect_message_amender=greet
        )
        try:
            self._connection.connect(Handler()).add_done_callback(answered)
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises: the socket is not there
            clock.callLater(0, self._ended, error)

    def client(self) -> Client:
        """What operations are called on, once it is up."""
        return Client(self._clock, self._hand_over, self._connection)

    def close(self) -> Deferred[None]:
        """Have it end, whatever the other side does; fires when it has."""
        self._left = True
        self._connection.close()
        return self._over

    def _acknowledged(self) -> None:
        if not self._left:
            self._up()

    def _ended(self, reason: BaseException | None) -> None:
        if not self._left:
            self._tell(str(getattr(reason, "message", None) or reason or "the connection was closed"))
        self._over.callback(None)


class Client:
    """The operations on one connection.

    A nucleus ends the stream of a call with the response, nucleus lite leaves that to the client, and the SDK to its
    caller: without that each call would stay in memory as long as the connection. Which kind of nucleus it is shows at
    the first answer; to end a stream that the nucleus is ending itself could be taken for a breach of the protocol.
    """

    def __init__(self, clock: IReactorTime, hand_over: HandOver, connection: Any) -> None:
        from awsiot.greengrasscoreipc.client import (  # type: ignore[import-untyped]  # it has no types
            GreengrassCoreIPCClient,
        )
        from awsiot.greengrasscoreipc.clientv2 import (  # type: ignore[import-untyped]  # it has no types
            GreengrassCoreIPCClientV2,
        )

        self._clock = clock
        self._hand_over = hand_over
        self._operations = _Operations(GreengrassCoreIPCClient(connection))
        self._client = GreengrassCoreIPCClientV2(client=self._operations, executor=None)
        self._leaves_streams: bool | None = None
        self._answered: list[Any] = []

    def call(self, operation: str, arguments: Mapping[str, Any]) -> Future[Any]:
        """One request with one response."""
        future: Future[Any] = getattr(self._client, f"{operation}_async")(**arguments)
        if self._leaves_streams is not False:
            future.add_done_callback(partial(self._hand_over, self._end, self._operations.last))
        return future

    def subscribe(
        self, operation: str, arguments: Mapping[str, Any], event: Callable[[Any], None], closed: Callable[[], None]
    ) -> tuple[Future[Any], Any]:
        """A stream of events, and its operation with ``close()``. What it cannot read ends it, as if it were closed."""
        hand_over = self._hand_over
        stream: tuple[Future[Any], Any] = getattr(self._client, f"{operation}_async")(
            on_stream_event=lambda shape: hand_over(event, shape),
            on_stream_error=lambda error: True,
            on_stream_closed=lambda: hand_over(closed),
            **arguments,
        )
        return stream

    def _end(self, stream: Any, _: object) -> None:
        if self._leaves_streams:
            stream.close()
        elif self._leaves_streams is None:
            self._answered.append(stream)
            if len(self._answered) == 1:
                self._clock.callLater(SETTLED, self._look)

    def _look(self) -> None:
        answered, self._answered = self._answered, []
        # To close a stream that has ended does nothing, and the future is done already.
        self._leaves_streams = not answered[0].close().done()
        if self._leaves_streams:
            for stream in answered[1:]:
                stream.close()


class _Operations:
    """The SDK's first client as its second one takes it, which does not give out the operations that it makes."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.last: Any = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        make = getattr(self._client, name)

        def made(*arguments: Any) -> Any:
            self.last = make(*arguments)
            return self.last

        setattr(self, name, made)
        return made
