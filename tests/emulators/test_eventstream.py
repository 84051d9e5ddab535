"""The frames: round trips, pieces, and what is refused."""

from __future__ import annotations

import contextlib
import struct
from functools import partial
from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulators.eventstream import Decoder, Frame, Header, HeaderType, Malformed, MessageType, encode, text

INTEGERS = {HeaderType.INT8: 8, HeaderType.INT16: 16, HeaderType.INT32: 32, HeaderType.INT64: 64}


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


HEADERS = st.one_of(
    st.just(Header(HeaderType.TRUE, True)),
    st.just(Header(HeaderType.FALSE, False)),
    *(signed(bits).map(partial(Header, kind)) for kind, bits in INTEGERS.items()),
    signed(64).map(lambda value: Header(HeaderType.TIMESTAMP, value)),
    st.binary(max_size=300).map(lambda value: Header(HeaderType.BYTES, value)),
    st.text(max_size=80).map(text),
    st.uuids().map(lambda value: Header(HeaderType.UUID, value)),
)
FRAMES = st.builds(
    Frame,
    st.sampled_from(MessageType),
    signed(32),
    signed(32),
    st.dictionaries(st.text(max_size=60).filter(lambda name: not name.startswith(":")), HEADERS, max_size=5),
    st.binary(max_size=500),
)


@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(0, 4000), max_size=6))
def test_frames_come_back_whatever_the_pieces(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(encode, frames))
    decoder = Decoder()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    got = [frame for start, end in pairwise(bounds) for frame in decoder.feed(data[start:end])]
    assert got == frames


@given(FRAMES, st.data())
def test_no_flipped_bit_goes_unnoticed(frame: Frame, data: st.DataObject) -> None:
    good = encode(frame)
    at = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8
    with pytest.raises(Malformed):
        # A changed length may ask for more bytes: the checksum of the lengths says so at once.
        Decoder().feed(bytes(bad))


@given(st.binary(max_size=200))
def test_rubbish_raises_nothing_else(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        Decoder().feed(data)


@given(st.binary(max_size=60))
def test_rubbish_with_right_checksums_raises_nothing_else(headers: bytes) -> None:
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    data = prelude + struct.pack(">I", crc32(prelude)) + headers
    with contextlib.suppress(Malformed):
        Decoder().feed(data + struct.pack(">I", crc32(data)))


def test_a_known_frame() -> None:
    """A connect as the SDK sends it, byte by byte."""
    frame = Frame(MessageType.CONNECT, headers={":version": text("0.1.0")}, payload=b'{"authToken": "t"}')
    headers = (
        b"\x0d:message-type\x04\x00\x00\x00\x04"
        b"\x0e:message-flags\x04\x00\x00\x00\x00"
        b"\x0a:stream-id\x04\x00\x00\x00\x00"
        b"\x08:version\x07\x00\x050.1.0"
    )
    prelude = struct.pack(">II", 16 + len(headers) + 18, len(headers))
    data = prelude + struct.pack(">I", crc32(prelude)) + headers + b'{"authToken": "t"}'
    assert encode(frame) == data + struct.pack(">I", crc32(data))
    assert frame.text(":version") == "0.1.0"
    assert frame.text("operation") is None


def test_a_frame_above_the_limit_is_refused_before_it_is_there() -> None:
    data = encode(Frame(MessageType.PING, payload=bytes(1000)))
    assert len(Decoder(len(data)).feed(data)) == 1
    with pytest.raises(Malformed, match="a frame of"):
        Decoder(len(data) - 1).feed(data[:12])


def test_a_frame_of_an_unknown_type_is_refused() -> None:
    data = bytearray(encode(Frame(MessageType.PING)))
    at = data.index(b":message-type\x04") + len(b":message-type\x04") + 3
    data[at] = 42
    data[-4:] = struct.pack(">I", crc32(bytes(data[:-4])))
    with pytest.raises(Malformed, match="of type 42"):
        Decoder().feed(bytes(data))
