"""Calls that the server reports as unprocessed are sent again, whole, and a few times at most."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from minicloud.http2.config import Http2Limits
from minicloud.http2.events import DataReceived, GoAwayReceived, StreamReset
from minicloud.rpc.config import ChannelConfig
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
)
from tests.unit.rpc.played_server import OK_HEADERS, PlayedServers, channel_to, failing
from tests.unit.rpc.raw_peer import message_bytes
from tests.unit.rpc.support import BOTH_STREAM, CLIENT_STREAM, answer_each, call, joined, reply, request


async def test_refused_call_is_sent_again_at_once_and_then_after_pauses_three_times_in_all(
    autojump_clock: MockClock,
) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await servers.next()
            first = await server.request()
            server.connection.reset(first, ErrorCodes.REFUSED_STREAM)
            again = await server.request()
            data = await server.expect(DataReceived)
            assert (data.stream_id, data.data, data.end_stream) == (
                again,
                b"\0\0\0\0\3" + bytes(request()),
                True,
            )
            await server.respond(again)
        async with trio.open_nursery() as nursery:

            async def caller() -> None:
                assert (await failing(channel)).status is Status.UNAVAILABLE

            nursery.start_soon(caller)
            seen_s = []
            for _ in range(4):
                stream_id = await server.request()
                seen_s.append(trio.current_time())
                server.connection.reset(stream_id, ErrorCodes.REFUSED_STREAM)
            await server.flush()
        first_s, second_s, third_s, fourth_s = seen_s
        assert second_s == first_s
        assert 0 < third_s - second_s <= 0.05
        assert 0 < fourth_s - third_s <= 0.1 + 1e-9


async def test_call_above_the_last_of_a_goaway_is_sent_again_elsewhere_and_others_finish() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        server = await servers.next()
        first = await server.request()
        nursery.start_soon(call, channel)
        await server.request()
        server.connection.go_away(first)
        await server.flush()
        other = await servers.next()
        await other.respond(await other.request())
        nursery.start_soon(call, channel)  # new calls go to the new connection
        await other.respond(await other.request())
        assert len(channel._all) == 2
        await server.respond(first)
        with pytest.raises(EOFError):
            await server.expect(GoAwayReceived)
        await wait_all_tasks_blocked()
        assert len(channel._all) == 1
    assert servers.connects == 2


async def test_reset_after_an_answer_has_begun_is_not_tried_again() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            assert (await failing(channel)).status is Status.UNAVAILABLE

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        server.connection.send_headers(stream_id, list(OK_HEADERS.items()))
        server.connection.reset(stream_id, ErrorCodes.REFUSED_STREAM)
        await server.flush()


async def test_request_over_the_retry_buffer_is_not_sent_again() -> None:
    servers = PlayedServers()
    config = ChannelConfig(retry_buffer_bytes=10)
    async with channel_to(servers.connect, config=config) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(GRPCError) as caught:
                await call(channel, request(50))
            assert caught.value.status is Status.UNAVAILABLE

        nursery.start_soon(caller)
        server = await servers.next()
        server.connection.reset(await server.request(), ErrorCodes.REFUSED_STREAM)
        await server.flush()


async def test_refused_stream_of_messages_is_sent_again_whole_and_goes_on() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        refused = trio.Event()

        async def caller() -> None:
            async with channel.request(
                CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
            ) as stream:
                for size in (1, 2):
                    await stream.send_message(request(size))
                await refused.wait()
                await stream.send_message(request(3))
                await stream.end()
                assert await stream.recv_message() == reply(9)

        nursery.start_soon(caller)
        server = await servers.next()
        first = await server.request()
        server.connection.reset(first, ErrorCodes.REFUSED_STREAM)
        await server.flush()
        await wait_all_tasks_blocked()
        refused.set()
        again = await server.request()
        received = b""
        while not (data := await server.expect(DataReceived)).end_stream:
            received += data.data
        received += data.data
        expected = [bytes(request(size)) for size in (1, 2, 3)]
        assert received == b"".join(b"\0\0\0\0" + bytes([len(one)]) + one for one in expected)
        await server.respond(again, message=bytes(reply(9)))


async def test_stream_that_outgrows_the_retry_buffer_while_it_is_sent_again_fails() -> None:
    servers = PlayedServers()
    config = ChannelConfig(retry_buffer_bytes=150_000)
    async with channel_to(servers.connect, config=config) as channel, trio.open_nursery() as nursery:
        more = trio.Event()
        statuses = []

        async def status_of(operation: Awaitable[object]) -> None:
            with pytest.raises(GRPCError) as caught:
                await operation
            statuses.append(caught.value.status)

        async def caller() -> None:
            async with (
                channel.request(
                    CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
                ) as stream,
                trio.open_nursery() as tasks,
            ):
                tasks.start_soon(status_of, stream.recv_message())
                await stream.send_message(request(100_000))
                await more.wait()
                await status_of(stream.send_message(request(60_000)))

        nursery.start_soon(caller)
        server = await servers.next()
        first = await server.request()
        received = 0
        while received < 100_000:
            data = await server.expect(DataReceived)
            received += len(data.data)
            server.connection.acknowledge(first, data.flow_bytes)
        server.connection.reset(first, ErrorCodes.REFUSED_STREAM)
        again = await server.request()  # its receiver sends it again, as far as the window goes
        await wait_all_tasks_blocked()
        more.set()
        await wait_all_tasks_blocked()
        server.connection.acknowledge(again, 65_535)
        assert (await server.expect(StreamReset)).stream_id == again
    assert statuses == [Status.UNAVAILABLE, Status.UNAVAILABLE]


async def test_task_that_sends_and_one_that_receives_open_one_stream_together() -> None:
    async with (
        joined({BOTH_STREAM: answer_each}) as (server, channel),
        channel.request(
            BOTH_STREAM, Cardinality.STREAM_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(stream.recv_message)
        nursery.start_soon(stream.send_message, request())
        await wait_all_tasks_blocked()
        assert server.active_calls == 1


async def test_calls_beyond_what_the_server_grants_wait_for_others_to_end() -> None:
    servers = PlayedServers(Http2Limits(max_concurrent_streams=2))
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(call, channel)
        server = await servers.next()
        open_at_once = []
        for _ in range(5):
            stream_id = await server.request()
            await wait_all_tasks_blocked()
            open_at_once.append(server.connection.open_streams)
            await server.respond(stream_id)
        assert max(open_at_once) <= 2


async def test_call_that_has_an_answer_is_not_sent_again_after_a_goaway() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            async with channel.request(
                BOTH_STREAM, Cardinality.STREAM_STREAM, HeartbeatRequest, HeartbeatResponse
            ) as stream:
                await stream.send_message(request(1))
                assert await stream.recv_message() == reply(1)
                with pytest.raises(GRPCError) as caught:
                    await stream.recv_message()
            assert caught.value.status is Status.UNAVAILABLE

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        server.connection.send_headers(stream_id, list(OK_HEADERS.items()))
        server.connection.send_data(stream_id, message_bytes(bytes(reply(1))))
        await server.flush()
        await wait_all_tasks_blocked()
        server.connection.go_away(0)  # which says it never looked at the call
        await server.flush()
        await wait_all_tasks_blocked()
    assert servers.connects == 1
