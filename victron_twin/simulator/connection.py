"""One client of the broker: its packets, its subscriptions, what waits to be written to it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from victron_twin.simulator import frames
from victron_twin.simulator.filters import is_filter
from victron_twin.simulator.frames import Code, Connect, Malformed, Message, Packet, UnsupportedVersion
from victron_twin.simulator.policy import Login

if TYPE_CHECKING:
    from victron_twin.simulator.broker import Broker

#: Bytes that wait for a slow reader before messages to it are dropped.
QUEUE_LIMIT = 8 * 1024 * 1024
#: Bytes that do not wait for the end of the turn.
PIECE = 256 * 1024
#: Bytes that a client may send ahead of the answer to its CONNECT.
AHEAD_LIMIT = 1024 * 1024
#: Seconds for a link to say CONNECT.
CONNECT_TIMEOUT = 20.0


class Link(Protocol):
    """What the broker needs of a byte stream. Neither method calls back before it returns, but for pause and resume."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """End the stream after what was written has gone."""


class _State(Enum):
    NEW = "no CONNECT yet"
    DECIDING = "the policy's verdict is to be told"
    OPEN = "logged in"
    CLOSED = "closed"


class Connection:
    """One link and the client behind it."""

    _log = Logger()

    def __init__(self, broker: Broker, link: Link) -> None:
        self.client_id = ""
        self.subscriptions: dict[str, None] = {}
        self._broker, self._link = broker, link
        self._reader = frames.Reader()
        self._state = _State.NEW
        self._queue: list[bytes] = []
        self._queued = 0
        self._woken = self._paused = False
        self._keepalive = 0
        self._will: Message | None = None
        self._releasing: set[int] = set()  # QoS 2 messages that were taken and not yet released
        self._heard = broker.clock.seconds()
        self._timer: IDelayedCall | None = broker.clock.callLater(CONNECT_TIMEOUT, self.close, "no CONNECT")

    # What the link calls.

    def received(self, data: bytes) -> None:
        """Bytes from the client, in any fragments. Never raises: what is wrong closes the link and is logged."""
        if self._state is _State.CLOSED:
            return
        self._heard = self._broker.clock.seconds()
        self._reader.feed(data)
        self._read()

    def lost(self) -> None:
        """The link has ended."""
        self._end(will=True)

    def pause(self) -> None:
        """The link is full: keep what is to be written."""
        self._paused = True

    def resume(self) -> None:
        """The link takes more."""
        self._paused = False
        self.flush()

    # What the broker calls.

    def deliver(self, data: bytes) -> None:
        """Queue a message, or drop it if the reader is too far behind."""
        if self._queued + len(data) <= QUEUE_LIMIT:
            self._send(data)

    def flush(self) -> None:
        """Write what is queued in one piece."""
        self._woken = False
        if self._queue and not self._paused:
            data = b"".join(self._queue)
            self._queue.clear()
            self._queued = 0
            self._link.write(data)

    def close(self, reason: str, will: bool = True) -> None:
        """End the link, for a reason that stands in the log."""
        if self._state is not _State.CLOSED:
            self._log.info("closing the link to {client}: {reason}", client=self._name, reason=reason)
            self._part(will)

    def _refuse(self, reason: str) -> None:
        """End the link because of what the client sent."""
        self._log.warn("closing the link to {client}, which sent {reason}", client=self._name, reason=reason)
        self._part(will=True)

    @property
    def _name(self) -> str:
        return repr(self.client_id) if self.client_id else "a client"

    def _part(self, will: bool) -> None:
        self._paused = False  # the link keeps the last bytes itself
        self.flush()
        self._end(will)
        self._link.close()

    def _end(self, will: bool) -> None:
        if self._state is _State.CLOSED:
            return
        last_will = self._will if will and self._state is _State.OPEN else None
        self._state = _State.CLOSED
        self._stop_timer()
        self._queue.clear()
        self._broker.leave(self)
        if last_will is not None:
            self._take(last_will)

    def _send(self, data: bytes) -> None:
        if self._state is _State.CLOSED:
            return
        self._queue.append(data)
        self._queued += len(data)
        if self._queued >= PIECE:
            self.flush()
        elif not self._woken:
            self._woken = True
            self._broker.wake(self)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # The client's packets.

    def _read(self) -> None:
        try:
            while self._state in (_State.NEW, _State.OPEN):
                frame = self._reader.next()
                if frame is None:
                    return
                self._handle(*frame)
            if self._state is _State.DECIDING and len(self._reader) > AHEAD_LIMIT:
                raise Malformed("too much ahead of the answer to its CONNECT")
        except UnsupportedVersion as error:
            self._send(frames.connack(Code.BAD_VERSION))
            self._refuse(str(error))
        except Malformed as error:
            self._refuse(str(error))
        except Exception:  # noqa: BLE001 - logged; an error of ours ends this link and no other
            self._log.failure("handling what {client} sent", client=self._name)
            self.close("an error of our own")

    def _handle(self, packet: Packet, flags: int, body: bytes) -> None:
        if (packet is Packet.CONNECT) is not (self._state is _State.NEW):
            raise Malformed(f"{packet.name} where it has no place")
        match packet:
            case Packet.CONNECT:
                self._connect(frames.read_connect(body))
            case Packet.PUBLISH:
                self._publish(frames.read_publish(flags, body))
            case Packet.PUBREL:
                identifier = frames.read_identifier(body)
                self._releasing.discard(identifier)
                self._send(frames.acknowledgement(Packet.PUBCOMP, identifier))
            case Packet.SUBSCRIBE:
                self._subscribe(*frames.read_subscribe(body))
            case Packet.UNSUBSCRIBE:
                self._unsubscribe(*frames.read_unsubscribe(body))
            case Packet.PINGREQ:
                frames.read_nothing(body)
                self._send(frames.PINGRESP)
            case Packet.DISCONNECT:
                frames.read_nothing(body)
                self._part(will=False)
            case Packet.PUBACK | Packet.PUBREC | Packet.PUBCOMP:
                frames.read_identifier(body)  # an answer to nothing: we send QoS 0
            case _:
                raise Malformed(f"{packet.name} from a client")

    def _connect(self, connect: Connect) -> None:
        self._stop_timer()
        if not connect.client_id and not connect.clean:
            self._send(frames.connack(Code.BAD_CLIENT_ID))
            self.close("a session without a client id")
            return
        self.client_id = connect.client_id or self._broker.new_client_id()
        self._keepalive, self._will = connect.keepalive, connect.will
        verdict = self._broker.policy.login(Login(self.client_id, connect.username, connect.password))
        self._state = _State.DECIDING
        if verdict.delay > 0:
            self._timer = self._broker.clock.callLater(verdict.delay, self._decided, verdict.accepted)
        else:
            self._decided(verdict.accepted)

    def _decided(self, accepted: bool) -> None:
        if not accepted:
            self._send(frames.connack(Code.NOT_AUTHORISED))
            self.close("login refused")
            return
        self._state = _State.OPEN
        self._broker.enter(self, self.client_id)
        self._send(frames.connack(Code.ACCEPTED))
        self._heard = self._broker.clock.seconds()
        self._watch()
        self._read()

    def _watch(self) -> None:
        if not self._keepalive or self._state is _State.CLOSED:
            return
        left = self._heard + 1.5 * self._keepalive - self._broker.clock.seconds()
        if left > 0.001:  # less is an error of rounding, and would be waited for without end
            self._timer = self._broker.clock.callLater(left, self._watch)
        else:
            self.close(f"nothing heard in 1.5 times its keepalive of {self._keepalive} s")

    def _publish(self, message: Message) -> None:
        if message.qos < 2 or message.identifier not in self._releasing:
            self._take(message)
        if message.qos == 1:
            self._send(frames.acknowledgement(Packet.PUBACK, message.identifier))
        elif message.qos == 2:
            self._releasing.add(message.identifier)
            self._send(frames.acknowledgement(Packet.PUBREC, message.identifier))

    def _take(self, message: Message) -> None:
        try:
            self._broker.take(message)
        except Exception:  # noqa: BLE001 - logged; the client is not to blame
            self._log.failure("the GX failed on a message to {topic}", topic=message.topic)

    def _subscribe(self, identifier: int, wanted: list[tuple[str, int]]) -> None:
        for text, _ in wanted:
            if not is_filter(text):
                raise Malformed(f"a subscription to {text!r}")
        self.subscriptions.update((text, None) for text, _ in wanted)
        self._broker.reroute()
        self._send(frames.acknowledgement(Packet.SUBACK, identifier, bytes(len(wanted))))
        for text, _ in wanted:
            for topic, payload in self._broker.retained(text):
                self.deliver(frames.publish(frames.text(topic), payload, retain=True))

    def _unsubscribe(self, identifier: int, unwanted: list[str]) -> None:
        for text in unwanted:
            self.subscriptions.pop(text, None)
        self._broker.reroute()
        self._send(frames.acknowledgement(Packet.UNSUBACK, identifier))
