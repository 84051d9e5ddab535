"""The MQTT session with a GX: paho's state machine and our own decoding of messages, on a stream that Twisted owns.

paho sees whole frames only, and never the common one: a QoS 0 PUBLISH goes straight to the listener.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import X509
from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode
from twisted.internet import protocol
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    INegotiated,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from victron_twin.gx.client import FrameClient, FrameSocket
from victron_twin.gx.errors import (
    HandshakeFailed,
    LinkError,
    LoginCut,
    PingTimeout,
    ProtocolError,
    SubscribeRefused,
    refusal,
)
from victron_twin.gx.frames import FRAME_LIMIT, Frames, Malformed, Oversized

#: How long a peer has to say goodbye in its turn, in seconds.
GOODBYE = 2.0

_CONNACK = 0x20
_TLS_ALERT = 0x15

#: What OpenSSL calls it when the peer answers a handshake with something else.
_NO_TLS = ("wrong version number", "packet length too long", "record layer failure", "http request")


class Listener(Protocol):
    """What the application brings: a protocol of messages instead of bytes. The session is its transport.

    It may also have ``oversized(topic: bytes, size: int)``: told of a message above the limit, whose payload was
    passed over; and ``pieceReceived()``: told after the messages of each piece of data that came.
    """

    def makeConnection(self, session: Session) -> None: ...

    def messageReceived(self, topic: bytes, payload: bytes, retained: bool) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


@implementer(IPushProducer, IHandshakeListener)
class Session(protocol.Protocol):
    """One MQTT session on one stream, never used again; its listener's transport.

    ``secured`` fires when the stream is ready (for TLS: after the handshake) and the login was sent, then ``accepted``
    when the broker accepted it. Each fails with a LinkError, and cancelling one aborts the connection.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, client: FrameClient, frame_limit: int = FRAME_LIMIT) -> None:
        self.secured: Deferred[None] = Deferred(self._cancelled)
        self.accepted: Deferred[None] = Deferred(self._cancelled)
        self._waiting: Deferred[None] | None = self.secured
        self._clock = clock
        self._client = client
        self._frames = Frames(frame_limit)
        self._silent = True  # nothing was received yet
        self._closing = False  # nothing is delivered or sent any more
        self._lost = False
        self._error: Failure | None = None  # why we gave up, if it was us
        self._goodbye: IDelayedCall | None = None
        self._listener: Listener | None = None
        self._deliver: Callable[[bytes, bytes, bool], object] = self._unexpected
        self._oversized: Callable[[bytes, int], object] = lambda topic, size: None
        self._piece: Callable[[], object] = lambda: None
        self._faults = 0
        self._subscribing: dict[int, tuple[str, Deferred[None]]] = {}
        self._notes: list[Callable[[], None]] = []
        self._misc = LoopingCall(self._tick)
        self._misc.clock = clock
        # While paho is in a callback it must not be called: they only leave a note of what is to be done.
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._notes.append(lambda: self._granted(mid, codes))
        client.on_message = lambda _c, _u, message: self._notes.append(lambda: self._received(message))

    # What the stream below calls.

    def connectionMade(self) -> None:
        self._socket = self._client.stream = FrameSocket(self._transport)
        self._transport.registerProducer(self, True)
        if not INegotiated.providedBy(self._transport):
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        if self._waiting is self.secured:
            self._waiting = self.accepted
            self._client.reconnect()
            self.secured.callback(None)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if self._silent:
            self._silent = False
            if data[0] != _CONNACK:
                self._fail(_no_connack(data))
                return
        try:
            for item in self._frames.feed(data):
                if isinstance(item, bytes):
                    self._control(item)
                else:
                    try:
                        if isinstance(item, Oversized):
                            self._oversized(*item)
                        else:
                            self._deliver(*item)
                    except Exception:  # noqa: BLE001 - whatever the listener does wrong, the link stays
                        self._blame(item[0])
                if self._closing:
                    return
            self._piece()
        except Malformed as error:
            self._fail(ProtocolError(f"the broker sent {error}"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = self._lost = True
        if self._misc.running:
            self._misc.stop()
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(self._error or Failure(self._broken_off(waiting, reason.value)))
            return
        reason = self._error or reason
        if self._faults > 1:
            self._log.error("{n} messages in all could not be handled", n=self._faults)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.connectionLost(reason)
        subscribing, self._subscribing = self._subscribing, {}
        for _, granted in subscribing.values():
            granted.errback(reason)

    def pauseProducing(self) -> None:
        self._socket.writable = False

    def resumeProducing(self) -> None:
        self._socket.writable = True
        if self._client.want_write():
            self._client.loop_write()

    def stopProducing(self) -> None: ...

    # What the listener above calls.

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's own certificate as DER; None without TLS."""
        if not INegotiated.providedBy(self._transport):
            return None
        certificate = cast("X509 | None", self._transport.getPeerCertificate())
        return certificate.to_cryptography().public_bytes(Encoding.DER) if certificate is not None else None

    def subscribe(self, topic: str) -> Deferred[None]:
        """Ask for a topic (a filter) at QoS 0; fires when the broker granted it, fails when it refused."""
        if self._closing:
            return fail(ConnectionLost("the link is closing"))
        _, mid = self._client.subscribe(topic, 0)
        granted: Deferred[None] = Deferred()
        if mid is not None:
            self._subscribing[mid] = (topic, granted)
        return granted

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message at QoS 0, not retained: at most once. Nothing is sent once the link is closing."""
        if not self._closing:
            self._client.publish(topic, payload, 0, retain=False)

    def loseConnection(self) -> None:
        """Say goodbye and close; no message is delivered after this. A peer that does not answer is cut off."""
        if self._closing:
            return
        self._closing = True
        self._client.disconnect()
        self._transport.unregisterProducer()  # else TLS waits for more to write
        self._transport.loseConnection()
        self._goodbye = self._clock.callLater(GOODBYE, self._transport.abortConnection)

    def abortConnection(self) -> None:
        """Close at once; no message is delivered after this."""
        self._closing = True
        if not self._lost:
            self._transport.abortConnection()

    def getPeer(self) -> IAddress:
        """The broker's address, as every transport has it."""
        peer: IAddress = self._transport.getPeer()
        return peer

    # What the endpoint calls.

    def attach(self, listener: Listener) -> None:
        """Give the session to its listener, as soon as the login is accepted."""
        self._listener = listener
        self._deliver = listener.messageReceived
        self._oversized = getattr(listener, "oversized", self._oversized)
        self._piece = getattr(listener, "pieceReceived", self._piece)
        self._misc.start(1.0, now=False).addErrback(self._broken)
        try:
            listener.makeConnection(self)
        except BaseException:
            self._listener = None
            self.abortConnection()
            raise

    # Within.

    @property
    def _transport(self) -> Any:
        """A TCP or TLS transport: ITransport, IConsumer and abortConnection, which no one interface of Twisted has."""
        return self.transport

    def _control(self, frame: bytes) -> None:
        """Any frame but a QoS 0 PUBLISH: paho's, one at a time."""
        connack = frame[0] == _CONNACK
        if connack:
            if len(frame) != 4 or self._waiting is None:
                self._fail(ProtocolError(f"a CONNACK that is malformed or out of place: {frame[:16].hex(' ')}"))
                return
            if frame[3]:
                self._fail(refusal(frame[3]))
                return
        self._socket.offer(frame)
        try:
            self._client.loop_read()
        except Exception as error:  # noqa: BLE001 - paho raises whatever a malformed packet leads it to
            self._fail(ProtocolError(f"a frame of type {frame[0] >> 4} that paho cannot read: {error!r}"))
            return
        notes, self._notes = self._notes, []
        for note in notes:
            note()
        if not self._client.holds():
            self._fail(ProtocolError(f"a frame of type {frame[0] >> 4} that is no MQTT 3.1.1: {frame[:16].hex(' ')}"))
        elif connack and self._waiting is not None:
            self._waiting = None
            self.accepted.callback(None)

    def _unexpected(self, topic: bytes, payload: bytes, retained: bool) -> None:
        self._fail(ProtocolError("a message before the login was answered"))

    def _received(self, message: MQTTMessage) -> None:
        """A message with another QoS than we asked for."""
        try:
            self._deliver(message.topic.encode(), bytes(message.payload), message.retain)
        except UnicodeDecodeError:
            self._fail(ProtocolError("a message whose topic is no UTF-8"))
        except Exception:  # noqa: BLE001 - as in dataReceived
            self._blame(b"?")

    def _granted(self, mid: int, codes: list[ReasonCode]) -> None:
        topic, granted = self._subscribing.pop(mid, ("", None))
        if granted is None:
            return
        if any(code.is_failure for code in codes):
            granted.errback(SubscribeRefused(f"the broker refused the subscription to {topic}"))
        else:
            granted.callback(None)

    def _blame(self, topic: bytes) -> None:
        """Our listener raised. The first time says where, the rest is counted."""
        self._faults += 1
        if self._faults == 1:
            self._log.failure("a message on {topic} could not be handled", topic=topic)

    def _tick(self) -> None:
        self._client.loop_misc()
        if not self._client.holds():
            self._fail(PingTimeout(f"the broker did not answer a ping in {self._client.keepalive} s"))

    def _broken(self, failure: Failure) -> None:
        self._log.failure("keeping the session alive failed", failure)
        self.abortConnection()

    def _fail(self, error: LinkError) -> None:
        if not self._closing:
            self._closing = True
            self._error = Failure(error)
            self._transport.abortConnection()

    def _cancelled(self, _: Deferred[None]) -> None:
        self._waiting = None
        self.abortConnection()

    def _broken_off(self, waiting: Deferred[None], cause: BaseException | None) -> LinkError:
        """Why the peer closed before the login was accepted."""
        if waiting is self.accepted:
            hint = "" if INegotiated.providedBy(self._transport) else ": is this a port with TLS (8883)?"
            return LoginCut(f"the broker closed the connection instead of answering the login{hint}")
        kept = self._transport.getHandle().get_app_data()  # a TLS policy leaves there why it rejected the peer
        return kept if isinstance(kept, LinkError) else _handshake_failed(cause)


def _no_connack(data: bytes) -> ProtocolError:
    if data[0] == _TLS_ALERT:
        return ProtocolError("the peer speaks TLS, and the trust is plaintext: MQTT without TLS is on port 1883")
    return ProtocolError(f"the peer does not speak MQTT: it answered the login with {data[:20]!r}")


def _handshake_failed(cause: BaseException | None) -> HandshakeFailed:
    """From what Twisted says of it: an OpenSSL error (a list of library, function, reason), or a closed connection."""
    if not isinstance(cause, SSL.Error):
        return HandshakeFailed("the peer closed the connection in the TLS handshake: is this port one with TLS (8883)?")
    reasons = ", ".join(error[-1] for error in cause.args[0]) if cause.args and cause.args[0] else "no reason given"
    hint = ": this port does not speak TLS (8883 does)" if any(no in reasons for no in _NO_TLS) else ""
    return HandshakeFailed(f"the TLS handshake failed: {reasons}{hint}")
