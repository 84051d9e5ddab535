"""The frames of a nucleus' socket, AWS' event-stream encoding: bytes in, frames out, and back.

All numbers are big-endian::

    u32 total | u32 length of headers | u32 CRC of the first 8 bytes | headers | payload | u32 CRC of all before it
    header:  u8 length of name | name | u8 type | value

Three headers are in every frame and say what it is; they are fields of :class:`Frame` here, the rest is in ``headers``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

#: Bytes of a frame at most, and of its headers.
MAX_FRAME = 24 * 1024 * 1024
MAX_HEADERS = 128 * 1024

CONNECTION_ACCEPTED = 1
TERMINATE_STREAM = 2

_PRELUDE = struct.Struct(">II")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")
#: What is in a frame besides headers and payload.
_OVERHEAD = 16
_TYPE, _FLAGS, _STREAM = ":message-type", ":message-flags", ":stream-id"


class Malformed(Exception):
    """These bytes are no frame, and nothing after them can be trusted."""


class MessageType(IntEnum):
    """What a frame is."""

    APPLICATION_MESSAGE = 0
    APPLICATION_ERROR = 1
    PING = 2
    PING_RESPONSE = 3
    CONNECT = 4
    CONNECT_ACK = 5
    PROTOCOL_ERROR = 6
    INTERNAL_ERROR = 7


class HeaderType(IntEnum):
    """What the value of a header is."""

    TRUE = 0
    FALSE = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    BYTES = 6
    STRING = 7
    TIMESTAMP = 8
    UUID = 9


class Header(NamedTuple):
    """A value with its type: bool, int (a timestamp is in ms), bytes, str, or a UUID."""

    type: HeaderType
    value: bool | int | bytes | str | UUID


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. Stream 0 is the connection itself."""

    type: MessageType
    flags: int = 0
    stream: int = 0
    headers: Mapping[str, Header] = field(default_factory=dict)
    payload: bytes = b""

    def text(self, name: str) -> str | None:
        """The value of a header that is a string, or None."""
        header = self.headers.get(name)
        return header.value if header is not None and isinstance(header.value, str) else None


_NUMBERS = {
    HeaderType.INT8: struct.Struct(">b"),
    HeaderType.INT16: struct.Struct(">h"),
    HeaderType.INT32: struct.Struct(">i"),
    HeaderType.INT64: struct.Struct(">q"),
    HeaderType.TIMESTAMP: struct.Struct(">q"),
}
_TYPES = {kind.value: kind for kind in MessageType}


def text(value: str) -> Header:
    """A header with a string."""
    return Header(HeaderType.STRING, value)


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    headers = b"".join(
        _encode_header(name, header)
        for name, header in (
            (_TYPE, Header(HeaderType.INT32, frame.type)),
            (_FLAGS, Header(HeaderType.INT32, frame.flags)),
            (_STREAM, Header(HeaderType.INT32, frame.stream)),
            *frame.headers.items(),
        )
    )
    prelude = _PRELUDE.pack(_OVERHEAD + len(headers) + len(frame.payload), len(headers))
    data = prelude + _U32.pack(crc32(prelude)) + headers + frame.payload
    return data + _U32.pack(crc32(data))


class Decoder:
    """Frames out of bytes that come in pieces; a frame above ``limit`` bytes is malformed."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._waiting = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole with these bytes. After a :class:`Malformed` the stream is lost."""
        data = self._waiting + data
        frames, start = [], 0
        while len(data) - start >= _PRELUDE.size + _U32.size:
            total, headers = _PRELUDE.unpack_from(data, start)
            if _U32.unpack_from(data, start + _PRELUDE.size)[0] != crc32(data[start : start + _PRELUDE.size]):
                raise Malformed("the checksum of a frame's lengths is wrong")
            if total > self._limit or headers > MAX_HEADERS or total < headers + _OVERHEAD:
                raise Malformed(f"a frame of {total} bytes with {headers} bytes of headers")
            if len(data) - start < total:
                break
            frames.append(_decode(data[start : start + total], headers))
            start += total
        self._waiting = data[start:]
        return frames


def _decode(data: bytes, length: int) -> Frame:
    if _U32.unpack_from(data, len(data) - _U32.size)[0] != crc32(data[: -_U32.size]):
        raise Malformed("the checksum of a frame is wrong")
    start = _PRELUDE.size + _U32.size
    headers = _decode_headers(data[start : start + length])
    numbers = []
    for name in (_TYPE, _FLAGS, _STREAM):
        header = headers.pop(name, None)
        if header is None or header.type is not HeaderType.INT32:
            raise Malformed(f"a frame without {name}")
        numbers.append(int(header.value))
    kind = _TYPES.get(numbers[0])
    if kind is None:
        raise Malformed(f"a frame of type {numbers[0]}")
    return Frame(kind, numbers[1], numbers[2], headers, data[start + length : -_U32.size])


def _encode_header(name: str, header: Header) -> bytes:
    encoded = name.encode()
    start = bytes([len(encoded)]) + encoded + bytes([header.type])
    kind, value = header
    if kind in _NUMBERS:
        return start + _NUMBERS[kind].pack(value)
    if isinstance(value, UUID):
        return start + value.bytes
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return start + _U16.pack(len(value)) + value
    return start


def _decode_headers(data: bytes) -> dict[str, Header]:
    headers: dict[str, Header] = {}
    at = 0
    try:
        while at < len(data):
            end = at + 1 + data[at]
            name = data[at + 1 : end].decode()
            kind = HeaderType(data[end])
            at = end + 1
            value: bool | int | bytes | str | UUID
            if kind in _NUMBERS:
                value = _NUMBERS[kind].unpack_from(data, at)[0]
                at += _NUMBERS[kind].size
            elif kind in (HeaderType.BYTES, HeaderType.STRING):
                (size,) = _U16.unpack_from(data, at)
                at += _U16.size + size
                raw = data[at - size : at]
                if len(raw) != size:
                    raise ValueError("a header is cut off")
                value = raw.decode() if kind is HeaderType.STRING else raw
            elif kind is HeaderType.UUID:
                value = UUID(bytes=data[at : at + 16])
                at += 16
            else:
                value = kind is HeaderType.TRUE
            if name in headers:
                raise ValueError(f"{name} stands twice")
            headers[name] = Header(kind, value)
    except (ValueError, IndexError, struct.error) as error:
        raise Malformed(f"the headers of a frame: {error}") from error
    return headers
