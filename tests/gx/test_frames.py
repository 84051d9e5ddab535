"""However a stream comes in pieces, the same comes out of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gx.wires import length, message
from victron_twin.gx.frames import Frames, Malformed, Message, Oversized

LIMIT = 300

topics = st.binary(max_size=40)
payloads = st.one_of(st.binary(max_size=30), st.integers(100, 700).map(bytes))


@st.composite
def publishes(draw: st.DrawFn) -> tuple[bytes, Message | Oversized | bytes]:
    """A PUBLISH as bytes, and what must come of it."""
    topic, payload, retained = draw(topics), draw(payloads), draw(st.booleans())
    frame = message(topic, payload, 0x31 if retained else 0x30)
    return frame, Oversized(topic, len(payload)) if len(frame) > LIMIT else (topic, payload, retained)


@st.composite
def others(draw: st.DrawFn) -> tuple[bytes, bytes]:
    first = draw(st.integers(0, 255).filter(lambda byte: byte & 0xFE != 0x30))
    body = draw(st.binary(max_size=200))
    frame = bytes([first]) + length(len(body)) + body
    return frame, frame


streams = st.lists(st.one_of(publishes(), others()), max_size=12)

malformed = st.one_of(
    st.just(b""),
    st.sampled_from([b"\x30\x00", b"\x31\x01\x00", b"\x30\x04\x00\x03ab", b"\x20\x80\x80\x80\x80\x01"]),
    st.just(b"\x20" + length(LIMIT) + bytes(LIMIT)),
    st.just(b"\x30" + length(LIMIT) + b"\xff\xff" + bytes(LIMIT)),
    st.binary(max_size=20),
)


def read(pieces: list[bytes]) -> tuple[list[Message | Oversized | bytes], str]:
    """All that comes out, and the error that ended it."""
    frames, out = Frames(LIMIT), []
    try:
        for piece in pieces:
            for item in frames.feed(piece):
                out.append(item)  # noqa: PERF402 - what came before an error counts
    except Malformed as error:
        return out, str(error)
    return out, ""


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(streams)
def test_everything_comes_out_once_and_in_order(stream: list[tuple[bytes, Message | Oversized | bytes]]) -> None:
    out, error = read([b"".join(frame for frame, _ in stream)])
    assert error == ""
    assert out == [item for _, item in stream]
    assert [type(item) for item in out] == [type(item) for _, item in stream]


@given(streams, malformed, st.lists(st.integers(0, 10_000), max_size=30))
def test_any_fragmentation_gives_the_same(
    stream: list[tuple[bytes, Message | Oversized | bytes]], tail: bytes, cuts: list[int]
) -> None:
    data = b"".join(frame for frame, _ in stream) + tail
    whole = read([data])
    assert read(cut(data, cuts)) == whole
    assert read([bytes([byte]) for byte in data]) == whole
    assert whole[0][: len(stream)] == [item for _, item in stream]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x30\x01\x00", "topic"),
        (b"\x30\x04\x00\x03ab", "topic"),
        (b"\x30\xff\xff\xff\xff\x01", "four bytes"),
        (b"\x90" + length(400), "403"),
    ],
)
def test_what_is_no_mqtt_is_named(data: bytes, says: str) -> None:
    assert says in read([data])[1]


def test_a_large_frame_in_small_pieces_takes_linear_time() -> None:
    frames = Frames(1 << 21)
    data = message(b"N/x", bytes(1 << 20))
    out = [item for at in range(0, len(data), 16) for item in frames.feed(data[at : at + 16])]
    assert out == [(b"N/x", bytes(1 << 20), False)]
