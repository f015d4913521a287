"""The sans-io connection: a client machine joined to a server machine, and bytes of every kind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.rpc.config import Http2Limits
from minicloud.rpc.connection import MAX_FRAME_BYTES, MAX_STREAM_ID, PREFACE, Connection
from minicloud.rpc.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    WindowOpened,
)
from tests.unit.rpc.support import (
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
    REQUEST_HEADERS,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame_bytes,
)

REQUEST = list(REQUEST_HEADERS.items())
RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
LIMITS = Http2Limits()


class Pair:
    """Two ends; `settle` carries bytes to and fro until there are none."""

    def __init__(self, client_limits: Http2Limits = LIMITS, server_limits: Http2Limits = LIMITS) -> None:
        self.client = Connection(client=True, limits=client_limits, now_s=0)
        self.server = Connection(client=False, limits=server_limits, now_s=0)
        self.at_client: list[Event] = []
        self.at_server: list[Event] = []

    def settle(self, chunk: int = 1 << 20) -> None:
        while self.client.output_bytes or self.server.output_bytes:
            for source, sink, events in (
                (self.client, self.server, self.at_server),
                (self.server, self.client, self.at_client),
            ):
                data = source.data_to_send()
                for start in range(0, len(data), chunk):
                    events.extend(sink.receive(data[start : start + chunk], 0))

    def opened(self) -> int:
        self.settle()
        stream_id = self.client.open_stream(REQUEST)
        self.settle()
        return stream_id


E = TypeVar("E")


def of(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_call_passes_both_ways_however_the_bytes_are_cut(chunk: int) -> None:
    pair = Pair()
    pair.settle(chunk)
    stream_id = pair.client.open_stream(REQUEST)
    assert pair.client.send_data(stream_id, b"question", end_stream=True) == 8
    pair.settle(chunk)
    pair.server.send_headers(stream_id, RESPONSE)
    pair.server.send_data(stream_id, b"answer")
    pair.server.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
    pair.settle(chunk)
    (head,) = of(HeadersReceived, pair.at_server)
    assert [tuple(header) for header in head.headers] == REQUEST
    (data,) = of(DataReceived, pair.at_server)
    assert (data.data, data.end_stream) == (b"question", True)
    response, trailers = of(HeadersReceived, pair.at_client)
    assert (response.end_stream, trailers.end_stream) == (False, True)
    assert [data.data for data in of(DataReceived, pair.at_client)] == [b"answer"]
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_data_beyond_the_window_waits_until_it_is_given_back() -> None:
    pair = Pair()
    stream_id = pair.opened()
    sent = 0
    while fitted := pair.client.send_data(stream_id, bytes(100_000 - sent), end_stream=True):
        sent += fitted
    assert sent == LIMITS.stream_window_bytes
    pair.settle()
    assert pair.client.send_data(stream_id, b"x") == 0
    received = sum(event.flow_bytes for event in of(DataReceived, pair.at_server))
    pair.server.acknowledge(stream_id, received)
    pair.settle()
    assert of(WindowOpened, pair.at_client)
    while sent < 100_000:
        sent += pair.client.send_data(stream_id, bytes(100_000 - sent), end_stream=True)
    pair.settle()
    assert of(DataReceived, pair.at_server)[-1].end_stream


def test_end_of_a_stream_needs_no_window() -> None:
    pair = Pair()
    stream_id = pair.opened()
    while pair.client.send_data(stream_id, bytes(LIMITS.stream_window_bytes)):
        pass
    pair.client.send_data(stream_id, b"", end_stream=True)
    pair.settle()
    assert of(DataReceived, pair.at_server)[-1].end_stream


def test_reset_reaches_the_other_end_and_sending_after_it_does_nothing() -> None:
    pair = Pair()
    stream_id = pair.opened()
    pair.client.reset(stream_id, 8)
    pair.settle()
    assert of(StreamReset, pair.at_server) == [StreamReset(stream_id, 8)]
    pair.server.send_headers(stream_id, RESPONSE)
    assert pair.server.send_data(stream_id, b"late") == 4
    pair.server.reset(stream_id, 0)
    assert pair.server.output_bytes == 0


def test_answer_to_a_stream_reset_in_the_same_bytes_does_nothing() -> None:
    pair = Pair()
    pair.settle()
    stream_id = pair.client.open_stream(REQUEST)
    pair.client.reset(stream_id, 8)
    events = pair.server.receive(pair.client.data_to_send(), 0)
    assert [type(event) for event in events] == [HeadersReceived, StreamReset]
    pair.server.send_headers(stream_id, RESPONSE, end_stream=True)
    assert pair.server.output_bytes == 0


def test_streams_go_on_after_goaway_sent_and_received() -> None:
    pair = Pair()
    stream_id = pair.opened()
    pair.server.go_away(MAX_STREAM_ID)
    pair.server.go_away(stream_id, 0, b"why")
    pair.settle()
    assert of(GoAwayReceived, pair.at_client) == [
        GoAwayReceived(MAX_STREAM_ID, 0, b""),
        GoAwayReceived(stream_id, 0, b"why"),
    ]
    pair.client.send_data(stream_id, b"still here", end_stream=True)
    pair.settle()
    pair.server.send_headers(stream_id, RESPONSE)
    pair.server.send_data(stream_id, b"so am I")
    pair.server.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
    pair.settle()
    assert [event.data for event in of(DataReceived, pair.at_client)] == [b"so am I"]
    assert not of(ConnectionFailed, pair.at_client + pair.at_server)


def test_stream_limit_is_advertised_and_streams_beyond_it_reach_the_owner() -> None:
    pair = Pair(server_limits=Http2Limits(max_concurrent_streams=2))
    pair.opened()
    pair.opened()
    assert not pair.client.can_open_stream
    # A client that does not care: the owner sees the stream and refuses it; the connection goes on.
    pair.client._h2.remote_settings[3] = 100
    pair.client._h2.remote_settings.acknowledge()
    third = pair.opened()
    assert len(of(HeadersReceived, pair.at_server)) == 3
    assert pair.server.refuse(third) is None
    pair.settle()
    assert of(StreamReset, pair.at_client) == [StreamReset(third, 7)]
    assert not of(ConnectionFailed, pair.at_client + pair.at_server)


def test_ping_is_answered() -> None:
    pair = Pair()
    pair.settle()
    pair.client.ping(b"12345678")
    pair.settle()
    assert of(PingAcked, pair.at_client) == [PingAcked(b"12345678")]


def test_peer_with_an_endless_header_table_does_not_make_ours_grow() -> None:
    server = Connection(client=False, limits=LIMITS, now_s=0)
    server.receive(PREFACE + frame_bytes(SETTINGS, 0, 0, b"\0\1\x7f\xff\xff\xff"), 0)
    assert server._h2.encoder.header_table_size == 4096


# Peers that break the rules


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


BLOCK = Encoder().encode(REQUEST)


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
            frame_bytes(HEADERS, 0, 1, bytes(9000)) + frame_bytes(CONTINUATION, 0, 1, bytes(9000)),
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
    bomb = encoder.encode([*REQUEST, (b"k", b"v" * 4000)]) + encoder.encode([(b"k", b"v" * 4000)]) * 3000
    assert (
        failure(server.receive(frame_bytes(HEADERS, END_HEADERS, 1, bomb), 0)).error_code == ENHANCE_YOUR_CALM
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


# Any bytes at all


def check_bounded(connection: Connection) -> None:
    assert connection.output_bytes < 200_000
    if connection.failed:  # all of it is about to go
        return
    assert len(connection._inbox) <= MAX_FRAME_BYTES + 9
    assert len(connection._h2.incoming_buffer._data) <= MAX_FRAME_BYTES + 9
    blocks = connection._h2.incoming_buffer._headers_buffer
    assert sum(len(frame.data) for frame in blocks) <= LIMITS.max_header_list_bytes


def feed(connection: Connection, pieces: list[bytes]) -> None:
    """The failure, if any, comes last and is the only one; nothing follows it."""
    failed = False
    for piece in pieces:
        events = connection.receive(piece, 0)
        check_bounded(connection)
        assert not (failed and events)
        for event in events[:-1]:
            assert not isinstance(event, ConnectionFailed)
        failed = failed or bool(events and isinstance(events[-1], ConnectionFailed))
    assert failed == connection.failed


@given(st.booleans(), st.lists(st.binary(max_size=400), max_size=6))
def test_any_bytes_give_events_and_no_exception(client: bool, pieces: list[bytes]) -> None:
    connection = Connection(client=client, limits=LIMITS, now_s=0)
    if not client:
        connection.receive(PREFACE, 0)
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


@settings(max_examples=400)
@given(st.booleans(), st.lists(_FRAMES, max_size=12), st.booleans())
def test_any_frames_give_events_and_no_exception(client: bool, frames: list[bytes], at_once: bool) -> None:
    connection = Connection(client=client, limits=LIMITS, now_s=0)
    first = frame_bytes(SETTINGS, 0, 0)
    connection.receive(first if client else PREFACE + first, 0)
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
    """What a well-behaved client says in two calls."""
    pair = Pair()
    said = []
    for size in (10, 30_000):
        stream_id = pair.client.open_stream(REQUEST)
        pair.client.send_data(stream_id, bytes(size), end_stream=False)
        pair.client.send_data(stream_id, b"end", end_stream=True)
        data = pair.client.data_to_send()
        said.append(data)
        pair.server.receive(data, 0)
    return b"".join(said)


_CONVERSATION = conversation()


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
