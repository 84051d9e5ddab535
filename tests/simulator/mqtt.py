"""The client's half of MQTT 3.1.1, written out by hand: what tests send to a broker, and what they read back."""

from __future__ import annotations

from twisted.internet.task import Clock

from victron_twin.simulator.broker import Broker
from victron_twin.simulator.frames import Packet, Reader

Frame = tuple[Packet, int, bytes]

PING = b"\xc0\x00"
PONG: Frame = (Packet.PINGRESP, 0, b"")
DISCONNECT = b"\xe0\x00"


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def frame(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes((digit | (0x80 if rest else 0),))
        if not rest:
            return bytes((first,)) + length + body


def connect(
    client_id: str = "test",
    username: str | None = None,
    password: str | None = None,
    keepalive: int = 0,
    will: tuple[str, bytes] | None = None,
    retain_will: bool = False,
    clean: bool = True,
    protocol: bytes = text("MQTT") + b"\x04",
) -> bytes:
    flags, payload = 2 * clean, text(client_id)
    if will is not None:
        flags |= 0x04 | 0x20 * retain_will
        payload += text(will[0]) + text(will[1])
    if username is not None:
        flags |= 0x80
        payload += text(username)
    if password is not None:
        flags |= 0x40
        payload += text(password)
    return frame(0x10, protocol + bytes((flags,)) + keepalive.to_bytes(2, "big") + payload)


def subscribe(*filters: str, identifier: int = 1) -> bytes:
    return frame(0x82, identifier.to_bytes(2, "big") + b"".join(text(f) + b"\0" for f in filters))


def unsubscribe(*filters: str, identifier: int = 2) -> bytes:
    return frame(0xA2, identifier.to_bytes(2, "big") + b"".join(map(text, filters)))


def publish(topic: str, payload: bytes, qos: int = 0, retain: bool = False, identifier: int = 0) -> bytes:
    numbered = identifier.to_bytes(2, "big") if qos else b""
    return frame(0x30 | qos << 1 | retain, text(topic) + numbered + payload)


def release(identifier: int) -> bytes:
    return frame(0x62, identifier.to_bytes(2, "big"))


def connack(code: int) -> Frame:
    return Packet.CONNACK, 0, bytes((0, code))


def message(topic: str, payload: bytes, retain: bool = False) -> Frame:
    """A PUBLISH with QoS 0, as it is read back."""
    return Packet.PUBLISH, int(retain), text(topic) + payload


def frames_in(data: bytes) -> list[Frame]:
    reader, found = Reader(), []
    reader.feed(data)
    while (next_one := reader.next()) is not None:
        found.append(next_one)
    assert not len(reader), "half a frame"
    return found


class Client:
    """A client on a link of its own: what the broker wrote, and whether it closed."""

    def __init__(self, clock: Clock, broker: Broker, hello: bytes = b"") -> None:
        self.writes: list[bytes] = []
        self.closed = False
        self._clock = clock
        self.connection = broker.attach(self)
        if hello:
            self.say(hello)

    def write(self, data: bytes) -> None:
        assert not self.closed, "written to after it was closed"
        self.writes.append(data)

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True

    def say(self, *data: bytes) -> list[Frame]:
        """Send; what has come by the end of the turn."""
        for piece in data:
            self.connection.received(piece)
        return self.hear()

    def hear(self) -> list[Frame]:
        self._clock.advance(0)
        heard, self.writes = b"".join(self.writes), []
        return frames_in(heard)
