"""Arbitrary bytes give events in bounded memory, and no exception."""

from __future__ import annotations

from random import Random

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.http2.connection import PREFACE, Connection
from minicloud.http2.events import (
    ConnectionFailed,
)
from minicloud.http2.frames import MAX_FRAME_BYTES, MAX_STREAM_ID
from tests.unit.http2.connection_pair import BLOCK, LIMITS, REQUEST, RESPONSE, Pair, received
from tests.unit.http2.raw_frames import SETTINGS, frame_bytes


def check_bounded(connection: Connection) -> None:
    assert connection.output_bytes < 200_000
    if connection.failed:  # all of it is about to go
        return
    assert len(connection._inbox) <= MAX_FRAME_BYTES + 9
    assert len(connection._engine._h2.incoming_buffer._data) <= MAX_FRAME_BYTES + 9
    blocks = connection._engine._h2.incoming_buffer._headers_buffer
    assert sum(len(frame.data) for frame in blocks) <= LIMITS.max_header_block_bytes


def feed(connection: Connection, pieces: list[bytes]) -> None:
    """Feed `pieces` and check that the failure, if any, is the only one and comes last."""
    failed = False
    for piece in pieces:
        events = received(connection, piece, 0)
        check_bounded(connection)
        assert not (failed and events)
        for event in events[:-1]:
            assert not isinstance(event, ConnectionFailed)
        failed = failed or bool(events and isinstance(events[-1], ConnectionFailed))
    assert failed == connection.failed


@settings(deadline=None)
@given(st.booleans(), st.lists(st.binary(max_size=400), max_size=6))
def test_any_bytes_give_events_and_no_exception(client: bool, pieces: list[bytes]) -> None:
    connection = Connection(client=client, limits=LIMITS, now_s=0)
    if not client:
        received(connection, PREFACE, 0)
    feed(connection, pieces)


_FRAMES = st.builds(
    lambda kind, flags, stream_id, payload: frame_bytes(kind, flags, stream_id, payload),
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x25, 0x2D, 0xFF]),
    st.sampled_from([0, 1, 1, 2, 3, 5, MAX_STREAM_ID]),
    st.one_of(
        st.binary(max_size=30),
        st.just(BLOCK),
        st.just(Encoder().encode(RESPONSE)),
        st.sampled_from([bytes(4), bytes(8), b"\0\0\0\1", b"\0\4\0\0\0\1", b"\0\5\0\0\x40\0"]),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(_FRAMES, max_size=12), st.booleans())
def test_any_frames_give_events_and_no_exception(client: bool, frames: list[bytes], at_once: bool) -> None:
    connection = Connection(client=client, limits=LIMITS, now_s=0)
    first = frame_bytes(SETTINGS, 0, 0)
    received(connection, first if client else PREFACE + first, 0)
    if client:
        connection.open_stream(REQUEST)
        connection.open_stream(REQUEST)
    feed(connection, [b"".join(frames)] if at_once else frames)
    for stream_id in (1, 2, 3, 5):  # whatever has happened, the owner may go on as if it had not
        if not client:
            connection.send_headers(stream_id, RESPONSE)
        connection.send_data(stream_id, b"data", end_stream=True)
        connection.acknowledge(stream_id, 0)
        connection.reset(stream_id, 8)
    connection.go_away(0)
    check_bounded(connection)


def conversation() -> bytes:
    """Return the bytes that a well-behaved client sends for two calls."""
    pair = Pair()
    said = []
    for size in (10, 30_000):
        stream_id = pair.client.open_stream(REQUEST)
        pair.client.send_data(stream_id, bytes(size), end_stream=False)
        pair.client.send_data(stream_id, b"end", end_stream=True)
        data = pair.client.data_to_send()
        said.append(data)
        received(pair.server, data, 0)
    return b"".join(said)


_CONVERSATION = conversation()


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_valid_conversation_with_bytes_changed_gives_events_and_no_exception(seed: int) -> None:
    random = Random(seed)
    data = bytearray(_CONVERSATION)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(PREFACE), len(data))
        change = random.randrange(3)
        if change == 0:
            data[at] = random.randrange(256)
        elif change == 1:
            del data[at : at + random.randint(1, 40)]
        else:
            data[at:at] = random.randbytes(random.randint(1, 40))
    cuts = sorted(random.randrange(len(data)) for _ in range(4))
    pieces = [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    feed(Connection(client=False, limits=LIMITS, now_s=0), pieces)
