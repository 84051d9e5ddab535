"""MQTT 3.1.1 frames out of a byte stream, with the commonest one, a QoS 0 PUBLISH, decoded on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Topic, payload, and whether the broker had it stored (the retain bit). A bare tuple: this is the hot path.
Message = tuple[bytes, bytes, bool]

#: Frames above this are not held in memory. The largest payload seen on a GX is 200 kB.
FRAME_LIMIT = 1 << 20

_QOS_0 = 0x30


class Malformed(ValueError):
    """The bytes are no MQTT; the text says what is wrong. Nothing can be read after them."""


class Oversized(NamedTuple):
    """A QoS 0 message above the limit; its payload of ``size`` bytes is passed over."""

    topic: bytes
    size: int


class Frames:
    """Splits a stream into frames, however it comes in pieces.

    What it yields: a :data:`Message` for each QoS 0 PUBLISH, :class:`Oversized` for one above the limit, and the
    whole frame as ``bytes`` for everything else.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self._limit = limit
        self._held: list[bytes] = []  # the pieces of an incomplete frame, together `_size` bytes
        self._size = 0
        self._wanted = 0  # below this many bytes there is nothing to do
        self._skip = 0  # bytes of an oversized payload still to come

    def feed(self, data: bytes) -> Iterator[Message | Oversized | bytes]:
        """Take the next bytes of the stream; exhaust what is returned before the next call, or make none.

        Raises:
            Malformed: after everything before the malformed frame was yielded.
        """
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        if self._held:
            self._held.append(data)
            self._size += len(data)
            if self._size < self._wanted:
                return
            data = b"".join(self._held)
            self._held.clear()

        start, end = 0, len(data)
        wanted = 2  # bytes from `start` on, before more can be said
        while end - start >= 2:
            first = data[start]
            length = data[start + 1]
            body = start + 2
            if length & 0x80:
                if (header := _long_length(data, start, end)) is None:
                    wanted = end - start + 1
                    break
                length, body = header
            stop = body + length
            publish = first & 0xFE == _QOS_0
            if stop - start > self._limit:
                if not publish:
                    raise Malformed(f"a frame of type {first >> 4} and {stop - start} bytes, at most {self._limit}")
                if end < body + 2:
                    wanted = body + 2 - start
                    break
                payload = _payload(data, body, stop)
                if end < payload:
                    wanted = payload - start
                    break
                yield Oversized(data[body + 2 : payload], stop - payload)
                start = min(stop, end)
                self._skip = stop - start
                continue
            if stop > end:
                wanted = stop - start
                break
            if publish:
                payload = _payload(data, body, stop)
                yield data[body + 2 : payload], data[payload:stop], first & 1 == 1
            else:
                yield data[start:stop]
            start = stop
        if start < end:
            self._held.append(data[start:])
            self._size = end - start
            self._wanted = wanted


def _payload(data: bytes, body: int, stop: int) -> int:
    """Where the payload of a PUBLISH begins: behind the topic, which has two bytes of length before it."""
    if stop - body >= 2:
        payload = body + 2 + (data[body] << 8 | data[body + 1])
        if payload <= stop:
            return payload
    raise Malformed(f"a PUBLISH whose topic does not fit in its {stop - body} bytes")


def _long_length(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """The length of two to four bytes that begins behind ``start`` and where it ends; None if it is not all here."""
    length = 0
    for n, byte in enumerate(data[start + 1 : min(start + 5, end)]):
        length |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return length, start + 2 + n
    if end >= start + 5:
        raise Malformed("a frame whose length has more than four bytes")
    return None
