"""Calls work for a handler and its client, in memory and on virtual time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from grpclib.const import Cardinality, Status
from trio.testing import wait_all_tasks_blocked

from minicloud.request_id import current_request_id
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import CANCEL, RST_STREAM, frame_bytes
from tests.unit.rpc.raw_peer import raw_peer
from tests.unit.rpc.support import (
    BOTH_STREAM,
    CLIENT_STREAM,
    SERVER_STREAM,
    UNARY,
    Recorder,
    Stream,
    answer,
    answer_each,
    call,
    joined,
    make_server,
    reply,
    request,
    sleep_for_ever,
    status_of,
)


async def test_unary_call_is_answered() -> None:
    async with joined({UNARY: answer}) as (server, channel):
        assert await call(channel, request(7)) == 7
        assert (server.open_connections, server.active_calls) == (1, 0)


async def test_server_stream_is_read_to_its_end() -> None:
    async def count(stream: Stream) -> None:
        asked = await stream.recv_message()
        assert asked is not None
        for n in range(len(asked.worker_id)):
            await stream.send_message(reply(n))

    async with (
        joined({SERVER_STREAM: count}) as (_, channel),
        channel.request(
            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        await stream.send_message(request(5), end=True)
        assert [message.next_heartbeat_ms async for message in stream] == [0, 1, 2, 3, 4]


async def test_client_stream_is_read_to_its_end() -> None:
    async def total(stream: Stream) -> None:
        await stream.send_message(reply(sum([len(message.worker_id) async for message in stream])))

    async with (
        joined({CLIENT_STREAM: total}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        for size in (1, 2, 3):
            await stream.send_message(request(size))
        await stream.end()
        assert await stream.recv_message() == reply(6)


async def test_streams_both_ways_take_turns() -> None:
    async with (
        joined({BOTH_STREAM: answer_each}) as (_, channel),
        channel.request(
            BOTH_STREAM, Cardinality.STREAM_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        for size in (3, 0, 9):
            await stream.send_message(request(size))
            assert await stream.recv_message() == reply(size)
        await stream.end()
        assert await stream.recv_message() is None


async def test_metadata_passes_both_ways() -> None:
    seen: list[Mapping[str, str | bytes]] = []

    async def handler(stream: Stream) -> None:
        seen.append(dict(stream.metadata))
        first: dict[str, str | bytes] = {"first": "1", "raw-bin": b"\0\xff"}
        await stream.send_initial_metadata(metadata=first)
        await stream.send_message(reply(1))
        await stream.send_trailing_metadata(metadata={"last": "2"})

    given: dict[str, str | bytes] = {"key": "value", "key-bin": b"\1\2", "x-request-id": "abc"}
    async with (
        joined({UNARY: handler}) as (_, channel),
        channel.request(
            UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse, metadata=given
        ) as stream,
    ):
        await stream.send_message(request(), end=True)
        await stream.recv_initial_metadata()
        assert stream.initial_metadata is not None
        assert dict(stream.initial_metadata) == {"first": "1", "raw-bin": b"\0\xff", "x-request-id": "abc"}
        await stream.recv_trailing_metadata()
        assert stream.trailing_metadata is not None
        assert dict(stream.trailing_metadata) == {"last": "2"}
    assert seen == [given]


async def test_request_id_is_bound_for_the_handler_and_answered() -> None:
    bound = []

    async def handler(stream: Stream) -> None:
        bound.append(current_request_id())
        await answer(stream)

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1, {b"x-request-id": b"one"})
        assert (await peer.expect_headers(1))["x-request-id"] == "one"
        await peer.request(3, {b"x-request-id": b"not\ttwo"})
        made = (await peer.expect_headers(3))["x-request-id"]
        assert bound == ["one", made]
        assert len(made) == 16
        # Trailers alone carry it too.
        await peer.request(5, {b":path": b"/nowhere", b"x-request-id": b"three"})
        assert (await peer.expect_headers(5))["x-request-id"] == "three"
    assert current_request_id() == ""


async def test_deadline_of_the_client_ends_the_handler(autojump_clock: object) -> None:
    ended_s = []

    async def handler(stream: Stream) -> None:
        assert stream.deadline is not None
        assert stream.deadline.time_remaining() == pytest.approx(3)
        try:
            await trio.sleep_forever()
        finally:
            ended_s.append(trio.current_time())

    async with raw_peer(make_server({UNARY: handler})) as peer:
        started_s = trio.current_time()
        await peer.start()
        await peer.request(1, {b"grpc-timeout": b"3S"})
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.DEADLINE_EXCEEDED.value)
        assert ended_s == [pytest.approx(started_s + 3)]


async def test_deadline_is_kept_by_a_client_whose_server_ignores_it(autojump_clock: object) -> None:
    async def stubborn(stream: Stream) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(50)

    async with joined({UNARY: stubborn}) as (_, channel):
        started_s = trio.current_time()
        assert (await status_of(channel, timeout=2)).status is Status.DEADLINE_EXCEEDED
        assert trio.current_time() - started_s == pytest.approx(2)


async def test_handler_that_raises_as_its_deadline_passes_gives_deadline_exceeded(
    autojump_clock: object,
) -> None:
    async def handler(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("on the way out")

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1, {b"grpc-timeout": b"3S"})
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.DEADLINE_EXCEEDED.value)
        await peer.request(3, {b":path": b"/still/served"})
        assert (await peer.expect_headers(3))["grpc-status"] == str(Status.UNIMPLEMENTED.value)


async def test_reset_by_the_client_cancels_the_handler_and_nothing_else() -> None:
    events: list[str] = []

    async def handler(stream: Stream) -> None:
        events.append("started")
        try:
            await trio.sleep_forever()
        finally:
            events.append("cancelled")

    recorder = Recorder([])
    async with raw_peer(make_server({UNARY: handler}, observer=recorder)) as peer:
        await peer.start()
        await peer.request(1)
        await peer.request(3)
        await wait_all_tasks_blocked()
        await peer.send(RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big"))
        await wait_all_tasks_blocked()
        assert events == ["started", "started", "cancelled"]
        assert [status for _, status, _ in recorder.finished] == [Status.CANCELLED]


async def test_reset_together_with_its_request_cancels_the_handler() -> None:
    recorder = Recorder([])
    async with raw_peer(make_server({UNARY: sleep_for_ever}, observer=recorder)) as peer:
        await peer.start()
        block = peer.header_block()
        reset = frame_bytes(RST_STREAM, 0, 1, CANCEL.to_bytes(4, "big"))
        await peer.stream.send_all(frame_bytes(1, 4, 1, block) + reset)
        await wait_all_tasks_blocked()
        assert [status for _, status, _ in recorder.finished] == [Status.CANCELLED]


async def test_caller_that_is_cancelled_cancels_the_handler() -> None:
    cancelled = trio.Event()

    async def handler(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with joined({UNARY: handler}) as (server, channel):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, channel)
                await wait_all_tasks_blocked()
                assert server.active_calls == 1
                scope.cancel()
        await cancelled.wait()
        await wait_all_tasks_blocked()
        assert (server.active_calls, server.open_connections) == (0, 1)


async def test_connection_lost_cancels_its_handlers() -> None:
    recorder = Recorder([])
    server = make_server({UNARY: sleep_for_ever}, observer=recorder)
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1)
        await wait_all_tasks_blocked()
        await peer.stream.aclose()
        await wait_all_tasks_blocked()
        assert (server.active_calls, server.open_connections) == (0, 0)
    assert [status for _, status, _ in recorder.finished] == [Status.CANCELLED]


async def test_handler_that_cancels_its_call_resets_the_stream() -> None:
    async def handler(stream: Stream) -> None:
        await stream.cancel()

    async with joined({UNARY: handler}) as (_, channel):
        assert (await status_of(channel)).status is Status.CANCELLED
