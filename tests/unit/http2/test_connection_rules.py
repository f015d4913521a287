"""Peers that break the rules of HTTP/2 or exceed its limits are dropped, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack import Encoder

from minicloud.http2.config import Http2Limits
from minicloud.http2.connection import PREFACE, Connection
from minicloud.http2.events import (
    ConnectionFailed,
    Event,
    HeadersReceived,
    StreamReset,
)
from minicloud.http2.frames import MAX_FRAME_BYTES
from tests.unit.http2.connection_pair import BLOCK, LIMITS, REQUEST, RESPONSE, of, received
from tests.unit.http2.raw_frames import (
    ACK,
    COMPRESSION_ERROR,
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
    received(server, PREFACE + frame_bytes(SETTINGS, 0, 0), 0)
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
    events = received(server, data, 0)
    if PREFACE.startswith(data):
        assert not events
    else:
        assert failure(events).error_code == PROTOCOL_ERROR
        assert received(server, PREFACE, 0) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame_bytes(DATA, 0, 1, bytes(MAX_FRAME_BYTES + 1)), FRAME_SIZE_ERROR),
        (frame_bytes(DATA, 0, 1, b"x"), PROTOCOL_ERROR),  # an idle stream
        (frame_bytes(HEADERS, END_HEADERS, 2, BLOCK), PROTOCOL_ERROR),  # a server's id
        (frame_bytes(HEADERS, END_HEADERS, 0, BLOCK), PROTOCOL_ERROR),
        (frame_bytes(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
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
        (frame_bytes(HEADERS, 0, 1) + frame_bytes(CONTINUATION, 0, 1) * 2000, PROTOCOL_ERROR),
        (frame_bytes(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    ],
)
def test_server_answers_a_broken_rule_with_goaway(data: bytes, code: int) -> None:
    server = ready_server()
    assert failure(received(server, data, 0)).error_code == code
    assert goaway_code(server) == code
    assert received(server, b"anything", 0) == []
    assert server.output_bytes == 0


def test_header_bomb_is_refused() -> None:
    encoder = Encoder()
    server = ready_server()
    bomb = encoder.encode([*REQUEST, (b"k", b"v" * 4000)]) + encoder.encode([(b"k", b"v" * 4000)]) * 16
    assert (
        failure(received(server, frame_bytes(HEADERS, END_HEADERS, 1, bomb), 0)).error_code
        == ENHANCE_YOUR_CALM
    )


@pytest.mark.parametrize("over", [0, 1])
def test_header_list_over_the_limit_is_said_to_be_and_the_connection_goes_on(over: int) -> None:
    server, encoder = ready_server(), Encoder()
    others = sum(len(name) + len(value) + 32 for name, value in REQUEST)
    value = b"v" * (LIMITS.max_header_list_bytes - others - len(b"k") - 32 + over)
    blocks = [encoder.encode([*REQUEST, (b"k", value)]), encoder.encode(REQUEST)]
    large, next_one = (
        of(HeadersReceived, received(server, block_frames(stream_id, block), 0))
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
    (reset,) = of(StreamReset, received(server, frame_bytes(HEADERS, END_HEADERS, 1, block), 0))
    assert (reset.stream_id, reset.reason) == (1, "malformed: a header of HTTP/1")
    assert server.data_to_send() == frame_bytes(RST_STREAM, 0, 1, b"\0\0\0\1")
    assert server.open_streams == 0
    good = Encoder().encode(REQUEST)
    assert len(received(server, frame_bytes(HEADERS, END_HEADERS, 3, good), 0)) == 1


def flood(
    frame: Callable[[int], bytes], limits: Http2Limits = LIMITS, count: int = 20_000
) -> tuple[int, Connection]:
    """Return the number of frames after which the server dropped the connection."""
    server = ready_server(limits)
    received(server, frame_bytes(HEADERS, END_HEADERS, 1, Encoder().encode(REQUEST)), 0)
    for n in range(count):
        for event in received(server, frame(n), 0):
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
    assert taken == LIMITS.junk_burst


@pytest.mark.parametrize(
    "changed", [{b"content-length": b"x"}, {b"content-length": b"1", b"k": b"v"}], ids=["headers", "data"]
)
def test_flood_of_streams_that_break_a_rule_is_ended(changed: dict[bytes, bytes]) -> None:
    encoder = Encoder()

    def broken(n: int) -> bytes:
        block = encoder.encode([*REQUEST, *changed.items()])
        stream_id = 2 * n + 3
        return frame_bytes(HEADERS, END_HEADERS, stream_id, block) + frame_bytes(DATA, 0, stream_id, b"xy")

    taken, _ = flood(broken)
    assert taken == LIMITS.junk_burst


def test_resets_spread_over_time_are_no_flood() -> None:
    server = ready_server()
    block = Encoder().encode(REQUEST)
    for n in range(3000):
        stream_id, now_s = 2 * n + 1, n / LIMITS.resets_per_s
        data = frame_bytes(HEADERS, END_HEADERS, stream_id, block)
        events = received(server, data + frame_bytes(RST_STREAM, 0, stream_id, bytes(4)), now_s)
        assert [type(event) for event in events] == [HeadersReceived, StreamReset]


def test_pings_are_counted_only_while_nothing_is_sent() -> None:
    ping = frame_bytes(PING, 0, 0, bytes(8))
    server = ready_server()
    block = Encoder().encode(REQUEST)
    for n in range(50):  # a client that measures the path while it is answered
        stream_id = 2 * n + 1
        assert not of(
            ConnectionFailed, received(server, frame_bytes(HEADERS, 5, stream_id, block) + ping, n / 100)
        )
        server.send_headers(stream_id, RESPONSE, end_stream=True)
    for n in range(50):  # and one that keeps a quiet connection alive, not too often
        assert not of(ConnectionFailed, received(server, ping, 10 + n * LIMITS.min_ping_interval_s))
    events = [event for n in range(4) for event in received(server, ping, 1000 + n)]
    assert failure(events).reason == "too many pings"
    assert server.data_to_send().endswith(b"too_many_pings")


def test_pings_in_time_but_for_jitter_are_no_flood() -> None:
    """The pings come every 10 s, some milliseconds early or late, for a day."""
    server, ping = ready_server(), frame_bytes(PING, 0, 0, bytes(8))
    for n in range(8640):
        jitter_s = (-0.02, 0.015, 0.0)[n % 3]
        at_s = n * LIMITS.min_ping_interval_s + jitter_s
        assert not of(ConnectionFailed, received(server, ping, at_s))


def test_strikes_of_pings_age() -> None:
    """Three pings at once, now and then, are the peer measuring the path."""
    server, ping = ready_server(), frame_bytes(PING, 0, 0, bytes(8))
    for n in range(100):
        assert not of(ConnectionFailed, received(server, ping * 3, n * 40))
    assert failure(received(server, ping * 4, 10_000)).reason == "too many pings"


def test_pings_of_half_the_interval_are_a_flood() -> None:
    server, ping = ready_server(), frame_bytes(PING, 0, 0, bytes(8))
    events = [event for n in range(12) for event in received(server, ping, 5 * n)]
    assert failure(events).reason == "too many pings"


def test_sending_a_frame_of_a_call_forgives_the_pings_before_it() -> None:
    server, ping = ready_server(), frame_bytes(PING, 0, 0, bytes(8))
    server.receive(frame_bytes(HEADERS, END_HEADERS, 1, BLOCK), 0)
    for n in range(100):
        assert not of(ConnectionFailed, received(server, ping * 3, n / 1000))
        if n == 0:
            server.send_headers(1, RESPONSE)
        else:
            server.send_data(1, b"x")


def test_server_does_bounded_work_in_a_turn() -> None:
    server, encoder = ready_server(), Encoder()
    requests = b"".join(
        frame_bytes(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, encoder.encode(REQUEST)) for n in range(50)
    )
    turns = [server.receive(requests, 0)]
    while server.has_more:
        turns.append(server.receive(b"", 0))
    assert [len(turn) for turn in turns] == [10] * 5
    assert [event.stream_id for turn in turns for event in of(HeadersReceived, turn)] == list(
        range(1, 101, 2)
    )


@pytest.mark.parametrize("kind", [PING, PRIORITY, WINDOW_UPDATE])
def test_small_frames_are_taken_a_hundred_a_turn(kind: int) -> None:
    payload = {PING: bytes(8), PRIORITY: bytes(5), WINDOW_UPDATE: b"\0\0\0\1"}[kind]
    server = ready_server(Http2Limits(min_ping_interval_s=0))
    server.receive(frame_bytes(kind, 0, 1 if kind == PRIORITY else 0, payload) * 250, 0)
    seen = [server.frames_received]
    while server.has_more:
        server.receive(b"", 0)
        seen.append(server.frames_received)
    assert seen == [101, 201, 251]  # its SETTINGS among them


def test_goaway_on_a_stream_ends_the_connection() -> None:
    server = ready_server()
    server.receive(frame_bytes(HEADERS, END_HEADERS, 1, BLOCK), 0)
    assert failure(server.receive(frame_bytes(GOAWAY, 0, 1, bytes(8)), 0)).error_code == PROTOCOL_ERROR
    assert goaway_code(server) == PROTOCOL_ERROR


def test_goaway_in_a_header_block_ends_the_connection() -> None:
    server = ready_server()
    opened = frame_bytes(HEADERS, 0, 1, BLOCK[:5])
    assert (
        failure(server.receive(opened + frame_bytes(GOAWAY, 0, 0, bytes(8)), 0)).error_code == PROTOCOL_ERROR
    )


def test_events_before_a_broken_rule_are_not_lost() -> None:
    server = ready_server()
    events = server.receive(
        frame_bytes(HEADERS, END_HEADERS, 1, BLOCK) + frame_bytes(PING, 0, 1, bytes(8)), 0
    )
    assert [type(event) for event in events] == [HeadersReceived, ConnectionFailed]
