"""Peers that break the rules of HTTP/2 or the limits of patience, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack import Encoder

from minicloud.rpc.config import Http2Limits
from minicloud.rpc.connection import MAX_FRAME_BYTES, PREFACE, Connection
from minicloud.rpc.events import (
    ConnectionFailed,
    Event,
    HeadersReceived,
    StreamReset,
)
from tests.unit.rpc.connection_pair import BLOCK, LIMITS, REQUEST, RESPONSE, of
from tests.unit.rpc.raw_peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame_bytes,
)


def ready_server(limits: Http2Limits = LIMITS) -> Connection:
    server = Connection(client=False, limits=limits, now_s=0)
    server.receive(PREFACE + frame_bytes(SETTINGS, 0, 0), 0)
    server.data_to_send()
    return server


def failure(events: list[Event]) -> ConnectionFailed:
    assert isinstance(events[-1], ConnectionFailed), events
    return events[-1]


def goaway_code(connection: Connection) -> int:
    out = connection.data_to_send()
    at = out.rindex(b"\7\0\0\0\0\0", 3)  # type and flags of a GOAWAY, stream 0
    return int.from_bytes(out[at + 10 : at + 14], "big")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"P", b"PRI * HTTP/2.0\r\n\r\nSX", bytes(1000)]
)
def test_server_told_something_else_than_the_preface_fails(data: bytes) -> None:
    server = Connection(client=False, limits=LIMITS, now_s=0)
    events = server.receive(data, 0)
    if PREFACE.startswith(data):
        assert not events
    else:
        assert failure(events).error_code == PROTOCOL_ERROR
        assert server.receive(PREFACE, 0) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame_bytes(DATA, 0, 1, bytes(MAX_FRAME_BYTES + 1)), FRAME_SIZE_ERROR),
        (frame_bytes(DATA, 0, 1, b"x"), PROTOCOL_ERROR),  # an idle stream
        (frame_bytes(HEADERS, END_HEADERS, 2, BLOCK), PROTOCOL_ERROR),  # a server's id
        (frame_bytes(HEADERS, END_HEADERS, 0, BLOCK), PROTOCOL_ERROR),
        (frame_bytes(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), PROTOCOL_ERROR),
        (frame_bytes(CONTINUATION, END_HEADERS, 1, BLOCK), PROTOCOL_ERROR),
        (frame_bytes(HEADERS, 0, 1, BLOCK) + frame_bytes(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (frame_bytes(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"), 3),  # FLOW_CONTROL_ERROR
        (frame_bytes(SETTINGS, 0, 0, b"\0"), FRAME_SIZE_ERROR),
        (frame_bytes(SETTINGS, 0, 1), PROTOCOL_ERROR),
        (frame_bytes(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (frame_bytes(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (frame_bytes(5, END_HEADERS, 1, bytes(4) + BLOCK), PROTOCOL_ERROR),  # a client's push
        (
            frame_bytes(HEADERS, 0, 1, bytes(9000)) + frame_bytes(CONTINUATION, 0, 1, bytes(9000)) * 7,
            ENHANCE_YOUR_CALM,
        ),
        (frame_bytes(HEADERS, 0, 1) + frame_bytes(CONTINUATION, 0, 1) * 100, PROTOCOL_ERROR),
        (frame_bytes(HEADERS, 0, 1) + frame_bytes(CONTINUATION, 0, 1) * 2000, ENHANCE_YOUR_CALM),
        (frame_bytes(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    ],
)
def test_server_answers_a_broken_rule_with_goaway(data: bytes, code: int) -> None:
    server = ready_server()
    assert failure(server.receive(data, 0)).error_code == code
    assert goaway_code(server) == code
    assert server.receive(b"anything", 0) == []
    assert server.output_bytes == 0


def test_header_bomb_is_refused() -> None:
    encoder = Encoder()
    server = ready_server()
    bomb = encoder.encode([*REQUEST, (b"k", b"v" * 4000)]) + encoder.encode([(b"k", b"v" * 4000)]) * 16
    assert (
        failure(server.receive(frame_bytes(HEADERS, END_HEADERS, 1, bomb), 0)).error_code == ENHANCE_YOUR_CALM
    )


@pytest.mark.parametrize("over", [0, 1])
def test_header_list_over_the_limit_is_said_to_be_and_the_connection_goes_on(over: int) -> None:
    server, encoder = ready_server(), Encoder()
    others = sum(len(name) + len(value) + 32 for name, value in REQUEST)
    value = b"v" * (LIMITS.max_header_list_bytes - others - len(b"k") - 32 + over)
    blocks = [encoder.encode([*REQUEST, (b"k", value)]), encoder.encode(REQUEST)]
    large, next_one = (
        of(HeadersReceived, server.receive(block_frames(stream_id, block), 0))
        for stream_id, block in zip((1, 3), blocks, strict=True)
    )
    assert [event.too_large for event in large] == [bool(over)]
    assert [event.too_large for event in next_one] == [False]


def block_frames(stream_id: int, block: bytes) -> bytes:
    return frame_bytes(HEADERS, 0, stream_id, block[:16_000]) + frame_bytes(
        CONTINUATION, END_HEADERS, stream_id, block[16_000:]
    )


def test_malformed_request_ends_its_stream_and_not_the_connection() -> None:
    server = ready_server()
    block = Encoder().encode([*REQUEST, (b"connection", b"close")])
    assert server.receive(frame_bytes(HEADERS, END_HEADERS, 1, block), 0) == []
    assert server.data_to_send() == frame_bytes(RST_STREAM, 0, 1, b"\0\0\0\1")
    assert server.open_streams == 0
    good = Encoder().encode(REQUEST)
    assert len(server.receive(frame_bytes(HEADERS, END_HEADERS, 3, good), 0)) == 1


def flood(
    frame: Callable[[int], bytes], limits: Http2Limits = LIMITS, count: int = 20_000
) -> tuple[int, Connection]:
    """How many frames it took until the server had enough."""
    server = ready_server(limits)
    server.receive(frame_bytes(HEADERS, END_HEADERS, 1, Encoder().encode(REQUEST)), 0)
    for n in range(count):
        for event in server.receive(frame(n), 0):
            if isinstance(event, ConnectionFailed):
                assert event.error_code == ENHANCE_YOUR_CALM
                return n, server
    raise AssertionError("a flood passed")


@pytest.mark.parametrize(
    "frame",
    [
        frame_bytes(SETTINGS, 0, 0),
        frame_bytes(SETTINGS, ACK, 0),
        frame_bytes(PING, 0, 0, bytes(8)),
        frame_bytes(PING, ACK, 0, bytes(8)),
        frame_bytes(PRIORITY, 0, 1, bytes(5)),
        frame_bytes(DATA, 0, 1),
        frame_bytes(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"),
        frame_bytes(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frame_bytes(0xEE, 0, 0),
    ],
)
def test_flood_of_frames_that_help_no_call_is_ended(frame: bytes) -> None:
    taken, server = flood(lambda n: frame)
    assert taken <= LIMITS.idle_frame_burst
    assert server.output_bytes < 50_000


def test_rapid_reset_is_ended() -> None:
    block = Encoder().encode(REQUEST)

    def open_and_reset(n: int) -> bytes:
        stream_id = 2 * n + 3
        opened = frame_bytes(HEADERS, END_HEADERS | END_STREAM, stream_id, block)
        return opened + frame_bytes(RST_STREAM, 0, stream_id, b"\0\0\0\x08")

    taken, _ = flood(open_and_reset)
    assert taken == LIMITS.reset_burst


def test_flood_of_malformed_requests_is_ended() -> None:
    block = Encoder().encode([*REQUEST, (b"connection", b"close")])
    taken, _ = flood(lambda n: frame_bytes(HEADERS, END_HEADERS, 2 * n + 3, block))
    assert taken == LIMITS.reset_burst


def test_resets_spread_over_time_are_no_flood() -> None:
    server = ready_server()
    block = Encoder().encode(REQUEST)
    for n in range(3000):
        stream_id, now_s = 2 * n + 1, n / LIMITS.resets_per_s
        data = frame_bytes(HEADERS, END_HEADERS, stream_id, block)
        events = server.receive(data + frame_bytes(RST_STREAM, 0, stream_id, bytes(4)), now_s)
        assert [type(event) for event in events] == [HeadersReceived, StreamReset]


def test_pings_are_counted_only_while_nothing_is_sent() -> None:
    ping = frame_bytes(PING, 0, 0, bytes(8))
    server = ready_server()
    block = Encoder().encode(REQUEST)
    for n in range(50):  # a client that measures the path while it is answered
        stream_id = 2 * n + 1
        assert not of(
            ConnectionFailed, server.receive(frame_bytes(HEADERS, 5, stream_id, block) + ping, n / 100)
        )
        server.send_headers(stream_id, RESPONSE, end_stream=True)
    for n in range(50):  # and one that keeps a quiet connection alive, not too often
        assert not of(ConnectionFailed, server.receive(ping, 10 + n * LIMITS.min_ping_interval_s))
    events = [event for n in range(4) for event in server.receive(ping, 1000 + n)]
    assert failure(events).reason == "too many pings"
    assert server.data_to_send().endswith(b"too_many_pings")
