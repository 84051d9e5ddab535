"""MQTT 3.1.1 on the wire, from the broker's side: frames out of bytes, packets out of frames, and the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

#: The longest frame that is taken from a client, in bytes behind its header; a GX's broker has the same limit.
LIMIT = 16 * 1024 * 1024


class Malformed(ValueError):
    """What came is not MQTT 3.1.1; the message says in what way."""


class UnsupportedVersion(Malformed):
    """A CONNECT of another protocol version, such as MQTT 5."""


class Packet(IntEnum):
    """The kinds of control packets: the high half of a frame's first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


#: The low half of the first byte where the standard fixes it to something else than 0.
_FIXED_FLAGS = {Packet.PUBREL: 2, Packet.SUBSCRIBE: 2, Packet.UNSUBSCRIBE: 2}


class Code(IntEnum):
    """What a CONNACK says."""

    ACCEPTED = 0
    BAD_VERSION = 1
    BAD_CLIENT_ID = 2
    NOT_AUTHORISED = 5


# Bytes to frames


class Reader:
    """Bytes in, in any fragments; whole frames out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        """How many bytes have come and not yet gone out in a frame."""
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self) -> tuple[Packet, int, bytes] | None:
        """The next frame as (packet, flags, body), or None until more bytes have come. Raises :class:`Malformed`."""
        data = self._data
        if not data:
            return None
        kind, flags = data[0] >> 4, data[0] & 0x0F
        if not Packet.CONNECT <= kind <= Packet.DISCONNECT:
            raise Malformed(f"packet type {kind}")
        packet = Packet(kind)
        if packet is not Packet.PUBLISH and flags != _FIXED_FLAGS.get(packet, 0):
            raise Malformed(f"flags {flags} in {packet.name}")
        length, start, more = 0, 1, True
        while more:
            if start > 4:
                raise Malformed("a length of more than four bytes")
            if start >= len(data):
                return None
            length |= (data[start] & 0x7F) << 7 * (start - 1)
            more = data[start] > 0x7F
            start += 1
        if length > LIMIT:
            raise Malformed(f"a frame of {length} bytes")
        if len(data) < start + length:
            return None
        body = bytes(data[start : start + length])
        del data[: start + length]
        return packet, flags, body


class _Body:
    """Takes a frame's body apart, from its start."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def __bool__(self) -> bool:
        return self._at < len(self._body)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._body):
            raise Malformed("a packet that ends too early")
        taken, self._at = self._body[self._at : end], end
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    def byte(self) -> int:
        return self.take(1)[0]

    def word(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def identifier(self) -> int:
        identifier = self.word()
        if not identifier:
            raise Malformed("packet identifier 0")
        return identifier

    def data(self) -> bytes:
        return self.take(self.word())

    def text(self) -> str:
        try:
            text = self.data().decode()
        except UnicodeDecodeError:
            raise Malformed("a text that is not UTF-8") from None
        if "\0" in text:
            raise Malformed("a text with a NUL in it")
        return text

    def end(self) -> None:
        if self:
            raise Malformed("bytes behind the end of a packet")


# Frames to packets


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH. ``identifier`` is 0 with QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    identifier: int = 0


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT. ``keepalive`` in seconds, 0: none."""

    client_id: str
    clean: bool
    keepalive: int
    username: str | None
    password: bytes | None = field(repr=False)
    will: Message | None


def read_connect(data: bytes) -> Connect:
    body = _Body(data)
    protocol = body.text(), body.byte()
    if protocol not in (("MQTT", 4), ("MQIsdp", 3)):
        raise UnsupportedVersion(f"protocol {protocol[0]!r} version {protocol[1]}")
    flags, keepalive, client_id = body.byte(), body.word(), body.text()
    will = None
    if flags & 0x04:
        topic, payload = body.text(), body.data()
        will = Message(_checked_topic(topic), payload, _checked_qos(flags >> 3 & 3), bool(flags & 0x20))
    elif flags & 0x38:
        raise Malformed("flags for a will in a CONNECT without one")
    username = body.text() if flags & 0x80 else None
    if flags & 0x40 and username is None:
        raise Malformed("a password without a user name")
    password = body.data() if flags & 0x40 else None
    if flags & 0x01:
        raise Malformed("the reserved flag in CONNECT")
    body.end()
    return Connect(client_id, bool(flags & 0x02), keepalive, username, password, will)


def read_publish(flags: int, data: bytes) -> Message:
    body = _Body(data)
    qos = _checked_qos(flags >> 1 & 3)
    topic = _checked_topic(body.text())
    identifier = body.identifier() if qos else 0
    return Message(topic, body.rest(), qos, bool(flags & 1), identifier)


def read_subscribe(data: bytes) -> tuple[int, list[tuple[str, int]]]:
    """The packet identifier, and (filter, QoS) of each subscription."""
    body = _Body(data)
    identifier, wanted = body.identifier(), []
    while body:
        wanted.append((body.text(), _checked_qos(body.byte())))
    if not wanted:
        raise Malformed("a SUBSCRIBE for nothing")
    return identifier, wanted


def read_unsubscribe(data: bytes) -> tuple[int, list[str]]:
    """The packet identifier and the filters."""
    body = _Body(data)
    identifier, unwanted = body.identifier(), []
    while body:
        unwanted.append(body.text())
    if not unwanted:
        raise Malformed("an UNSUBSCRIBE from nothing")
    return identifier, unwanted


def read_identifier(data: bytes) -> int:
    """What PUBACK, PUBREC, PUBREL and PUBCOMP hold."""
    body = _Body(data)
    identifier = body.identifier()
    body.end()
    return identifier


def read_nothing(data: bytes) -> None:
    """What PINGREQ and DISCONNECT hold."""
    _Body(data).end()


def _checked_qos(qos: int) -> int:
    if qos > 2:
        raise Malformed(f"QoS {qos}")
    return qos


def _checked_topic(topic: str) -> str:
    if not topic or "+" in topic or "#" in topic:
        raise Malformed(f"a message to {topic!r}")
    return topic


# Packets to bytes


def text(value: str) -> bytes:
    """A text as it stands in a packet, its length in front. Raises OverflowError above 65,535 bytes."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def frame(packet: Packet, flags: int, body: bytes) -> bytes:
    head, length = bytearray((packet << 4 | flags,)), len(body)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def publish(topic: bytes, payload: bytes, retain: bool = False) -> bytes:
    """A PUBLISH with QoS 0; the topic as :func:`text` made it."""
    length = len(topic) + len(payload)
    if length < 0x80:  # nearly all of a GX's
        return bytes((0x30 | retain, length)) + topic + payload
    return frame(Packet.PUBLISH, retain, topic + payload)


def connack(code: Code) -> bytes:
    """Sessions are never kept, so "session present" is always 0."""
    return frame(Packet.CONNACK, 0, bytes((0, code)))


def acknowledgement(packet: Packet, identifier: int, codes: bytes = b"") -> bytes:
    """PUBACK, PUBREC, PUBCOMP, UNSUBACK, or a SUBACK with a code for each subscription."""
    return frame(packet, _FIXED_FLAGS.get(packet, 0), identifier.to_bytes(2, "big") + codes)


PINGRESP = frame(Packet.PINGRESP, 0, b"")
