"""The sans-io connection works: a client machine is joined to a server machine."""

from __future__ import annotations

import pytest

from minicloud.http2.config import Http2Limits
from minicloud.http2.connection import PREFACE, Connection
from minicloud.http2.events import (
    ConnectionFailed,
    DataReceived,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    WindowOpened,
)
from minicloud.http2.frames import MAX_STREAM_ID
from tests.unit.http2.connection_pair import LIMITS, REQUEST, RESPONSE, Pair, of, received
from tests.unit.http2.raw_frames import SETTINGS, frame_bytes


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
    events = received(pair.server, pair.client.data_to_send(), 0)
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
    pair.client._engine._h2.remote_settings[3] = 100
    pair.client._engine._h2.remote_settings.acknowledge()
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
    received(server, PREFACE + frame_bytes(SETTINGS, 0, 0, b"\0\1\x7f\xff\xff\xff"), 0)
    assert server._engine._h2.encoder.header_table_size == 4096
