"""One client of the nucleus: the handshake, its streams, and the requests that wait for an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from .eventstream import (
    CONNECTION_ACCEPTED,
    MAX_FRAME,
    TERMINATE_STREAM,
    Decoder,
    Frame,
    Malformed,
    MessageType,
    encode,
    text,
)

#: Bytes of a frame at most on nucleus lite.
LITE_FRAME = 10_000
PREFIX = "aws.greengrass#"
VERSION = "0.1.0"

Body = Mapping[str, Any]


class Failed(Exception):
    """The answer is an error of the service's model: ``ConflictError``, ``ServiceError``, ..."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.message = message


class Unanswered(Exception):
    """The stream is ended without an answer, as for an operation that nobody serves."""


class Server(Protocol):
    """What a connection asks of the nucleus."""

    clock: IReactorTime
    token: str
    lite: bool
    refusing: bool
    stalled: bool
    delay: float

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def begun(self, requests: int) -> None:
        """So many requests more wait for their answer; fewer, if negative."""

    def answer(self, stream: Stream, request: Body) -> Body:
        """The response; raises :class:`Failed` or :class:`Unanswered`."""

    def outgoing(self, data: bytes) -> bytes:
        """What is really sent."""

    def too_large(self, what: str) -> None:
        """An event did not fit into a frame, and is lost."""


class Stream:
    """One request and, where it subscribed to something, the events that follow its response."""

    def __init__(self, connection: Connection, number: int, operation: str) -> None:
        self._connection = connection
        self.number = number
        self.operation = operation
        self.ended = False
        self._closers: list[Callable[[], object]] = []

    @property
    def subscribed(self) -> bool:
        return bool(self._closers)

    def on_end(self, closer: Callable[[], object]) -> None:
        """Keep the stream open after the response, and call this when it ends."""
        self._closers.append(closer)

    def send(self, model: str, body: Body) -> None:
        """An event: ``stream.send("IoTCoreMessage", {"message": ...})``."""
        if not self.ended:
            self._connection.event(self, model, body)

    def end(self) -> None:
        self.ended = True
        closers, self._closers = self._closers, []
        for closer in closers:
            closer()


class Connection(protocol.Protocol):
    """Bytes of the socket to requests, answers and events to bytes."""

    _log = Logger()

    def __init__(self, server: Server) -> None:
        self._server = server
        self._decoder = Decoder(LITE_FRAME if server.lite else MAX_FRAME)
        self._accepted = False
        self._streams: dict[int, Stream] = {}
        self._delayed: set[IDelayedCall] = set()
        self._waiting = 0
        self._held: list[bytes] = []
        self._open = False

    # Of the socket.

    def connectionMade(self) -> None:
        self._link = ITCPTransport(self.transport)
        self._open = True
        self._server.opened(self)
        if self._server.refusing:
            self.drop()
        elif self._server.stalled:
            self.stall()

    def dataReceived(self, data: bytes) -> None:
        try:
            frames = self._decoder.feed(data)
        except Malformed as error:
            self._log.debug("A client's bytes are no frames: {error}", error=error)
            self.drop()
            return
        # All that came at once is in flight at once, even where each is answered as soon as it is read.
        answers = [self._received(frame) for frame in frames]
        for answer in answers:
            if answer is not None:
                answer()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._open = False
        for call in self._delayed:
            call.cancel()
        self._server.begun(-self._waiting)
        self._waiting = 0
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.end()
        self._server.closed(self)

    # Of the nucleus.

    def stall(self) -> None:
        """Read nothing more; what is sent waits too."""
        IPushProducer(self._link).pauseProducing()

    def resume(self) -> None:
        if self._open:
            held, self._held = self._held, []
            for data in held:
                self._link.write(data)
            IPushProducer(self._link).resumeProducing()

    def drop(self) -> None:
        """Be gone, without a word."""
        self._open = False
        self._link.abortConnection()

    def event(self, stream: Stream, model: str, body: Body) -> None:
        """Of a stream that is open."""
        frame = self._frame(MessageType.APPLICATION_MESSAGE, 0, stream, model, body)
        if not self._write(frame):
            self._server.too_large(f"{model} of {stream.operation}: {len(frame.payload)} bytes")

    # What a client says.

    def _received(self, frame: Frame) -> Callable[[], None] | None:
        if not self._open:
            return None
        if not self._accepted:
            self._connect(frame)
        elif frame.type is MessageType.PING:
            self._write(Frame(MessageType.PING_RESPONSE, payload=frame.payload))
        elif frame.type is not MessageType.APPLICATION_MESSAGE or frame.stream < 1:
            self._write(Frame(MessageType.PROTOCOL_ERROR, payload=b"an application message was expected"))
            self._link.loseConnection()
        elif frame.flags & TERMINATE_STREAM:
            ended = self._streams.pop(frame.stream, None)
            if ended is not None:
                ended.end()
        elif frame.stream not in self._streams:
            return self._request(frame)
        return None

    def _connect(self, frame: Frame) -> None:
        try:
            token = json.loads(frame.payload)["authToken"]
        except (ValueError, LookupError, TypeError):
            token = None
        connect = frame.type is MessageType.CONNECT and frame.stream == 0 and frame.text(":version") == VERSION
        if connect and token == self._server.token:
            self._accepted = True
            self._write(Frame(MessageType.CONNECT_ACK, CONNECTION_ACCEPTED))
            return
        if connect and not self._server.lite:
            self._write(Frame(MessageType.CONNECT_ACK))
        self._link.loseConnection()
        self._open = False

    def _request(self, frame: Frame) -> Callable[[], None]:
        stream = Stream(self, frame.stream, (frame.text("operation") or "").removeprefix(PREFIX))
        self._streams[stream.number] = stream
        self._waiting += 1
        self._server.begun(1)

        def answer() -> None:
            if not self._open:
                return
            if self._server.delay <= 0:
                self._answer(stream, frame.payload)
                return

            def late() -> None:
                self._delayed.discard(call)
                self._answer(stream, frame.payload)

            call = self._server.clock.callLater(self._server.delay, late)
            self._delayed.add(call)

        return answer

    def _answer(self, stream: Stream, payload: bytes) -> None:
        self._waiting -= 1
        self._server.begun(-1)
        if stream.ended:
            return
        try:
            request = json.loads(payload or b"{}")
            if not isinstance(request, dict):
                raise Unanswered
            answer = self._server.answer(stream, request)
        except Failed as failed:
            self._fail(stream, failed)
        except (Unanswered, ValueError):
            self._end(stream)
        except Exception:  # noqa: BLE001 - the emulator's own fault: the test that sees it logged fails
            self._log.failure("The emulated nucleus failed at {operation}", operation=stream.operation)
            self._end(stream)
        else:
            self._respond(stream, answer)

    def _respond(self, stream: Stream, body: Body) -> None:
        # Nucleus lite leaves it to the client to end a stream.
        flags = 0 if stream.subscribed or self._server.lite else TERMINATE_STREAM
        model = f"{stream.operation}Response"
        if not self._write(self._frame(MessageType.APPLICATION_MESSAGE, flags, stream, model, body)):
            self._fail(stream, Failed("ServiceError", "Failed to send the response."))
        elif not stream.subscribed:
            del self._streams[stream.number]

    def _fail(self, stream: Stream, failed: Failed) -> None:
        body = {"_message": failed.message, "_errorCode": failed.error}
        if not self._server.lite:  # lite has no more than the two
            body["message"] = failed.message
        self._write(self._frame(MessageType.APPLICATION_ERROR, TERMINATE_STREAM, stream, failed.error, body))
        self._streams.pop(stream.number, None)
        stream.end()

    def _end(self, stream: Stream) -> None:
        self._write(Frame(MessageType.APPLICATION_ERROR, TERMINATE_STREAM, stream.number))
        self._streams.pop(stream.number, None)
        stream.end()

    def _frame(self, kind: MessageType, flags: int, stream: Stream, model: str, body: Body) -> Frame:
        headers = {":content-type": text("application/json"), "service-model-type": text(PREFIX + model)}
        return Frame(kind, flags, stream.number, headers, json.dumps(body).encode())

    def _write(self, frame: Frame) -> bool:
        """False where it does not fit into a frame of nucleus lite's."""
        data = encode(frame)
        if self._server.lite and len(data) > LITE_FRAME:
            return False
        if self._open:
            data = self._server.outgoing(data)
            if self._server.stalled:
                self._held.append(data)
            else:
                self._link.write(data)
        return True
