"""The client: connecting, failing, trying again, and what it makes of servers of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError
from h2.errors import ErrorCodes
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.rpc.backoff import Backoff
from minicloud.rpc.channel import Channel, Connect, open_channel
from minicloud.rpc.client_stream import ClientStream
from minicloud.rpc.config import ChannelConfig, Http2Limits, Timeouts
from minicloud.rpc.events import DataReceived, GoAwayReceived, HeadersReceived, StreamReset
from minicloud.rpc.metadata import percent_encode
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    WorkerManagementServiceBase,
    WorkerManagementServiceStub,
)
from tests.unit.rpc.support import (
    BOTH_STREAM,
    CLIENT_STREAM,
    UNARY,
    PlayedServers,
    Stream,
    answer,
    answer_each,
    call,
    connect_to,
    joined,
    make_server,
    reply,
    request,
    sleep_for_ever,
)

# No jitter to speak of, so that times can be told.
STEADY = Backoff(initial_s=10, max_s=10)


class Late(Random):
    """Draws the longest delay."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def channel_to(*connects: Connect, config: ChannelConfig | None = None) -> AsyncIterator[Channel]:
    async with trio.open_nursery() as nursery:
        yield Channel(nursery, connects, random=Late(), config=config)
        nursery.cancel_scope.cancel()


async def refuse() -> trio.abc.Stream:
    raise ConnectionRefusedError("nobody there")


async def hang() -> trio.abc.Stream:
    await trio.sleep_forever()
    raise AssertionError


async def failing(channel: Channel, *, timeout: float | None = None) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await call(channel, timeout=timeout)
    return caught.value


def unary(channel: Channel) -> ClientStream[HeartbeatRequest, HeartbeatResponse]:
    return channel.request(UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse)


# Connecting


async def test_channel_connects_with_its_first_call_and_only_once() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        assert servers.connects == 0
        for _ in range(3):
            nursery.start_soon(call, channel)
        server = await servers.next()
        for _ in range(3):
            await server.respond(await server.request())
    assert servers.connects == 1


async def test_caller_that_gives_up_does_not_end_the_connecting_of_others() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as first:
                first.start_soon(call, channel)
                await wait_all_tasks_blocked()
                nursery.start_soon(call, channel)
                await wait_all_tasks_blocked()
                scope.cancel()
        server = await servers.next()
        await server.respond(await server.request())
    assert servers.connects == 1


async def test_addresses_are_tried_in_turn_beginning_with_the_last_that_worked(
    autojump_clock: object,
) -> None:
    tried = []

    async def first() -> trio.abc.Stream:
        tried.append(1)
        return await refuse()

    servers = PlayedServers()

    async def second() -> trio.abc.Stream:
        tried.append(2)
        return await servers.connect()

    async with channel_to(first, second) as channel:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, channel)
                server = await servers.next()
                await server.respond(await server.request())
            await server.stream.aclose()
            await wait_all_tasks_blocked()
    assert tried == [1, 2, 2]


async def test_call_fails_at_once_when_no_address_lets_us_in(autojump_clock: object) -> None:
    async with channel_to(refuse, refuse) as channel:
        started_s = trio.current_time()
        error = await failing(channel)
        assert (error.status, error.message) == (
            Status.UNAVAILABLE,
            "cannot connect: nobody there; nobody there",
        )
        assert trio.current_time() == started_s


async def test_calls_during_the_backoff_fail_at_once_and_after_it_connect_again(
    autojump_clock: object,
) -> None:
    attempts = []

    async def count() -> trio.abc.Stream:
        attempts.append(trio.current_time())
        return await refuse()

    async with channel_to(count, config=ChannelConfig(backoff=Backoff(initial_s=1, max_s=4))) as channel:
        started_s = trio.current_time()
        while trio.current_time() < started_s + 20:
            assert (await failing(channel)).status is Status.UNAVAILABLE
            await trio.sleep(0.25)
    assert [round(at_s - started_s) for at_s in attempts] == [0, 1, 3, 7, 11, 15, 19]


async def test_call_that_cannot_connect_within_its_deadline_is_unavailable(autojump_clock: object) -> None:
    async with channel_to(hang) as channel:
        started_s = trio.current_time()
        assert (await failing(channel, timeout=3)).status is Status.UNAVAILABLE
        assert trio.current_time() - started_s == pytest.approx(3)


async def test_connecting_is_given_up_after_its_timeout(autojump_clock: object) -> None:
    async with channel_to(hang, config=ChannelConfig(connect_timeout_s=4)) as channel:
        started_s = trio.current_time()
        error = await failing(channel)
        assert error.message == "cannot connect: timed out after 4 s"
        assert trio.current_time() - started_s == pytest.approx(4)


async def test_server_that_never_sends_settings_is_passed_over(autojump_clock: object) -> None:
    async def mute() -> trio.abc.Stream:
        near, _ = memory_stream_pair()
        return near

    servers = PlayedServers()
    config = ChannelConfig(connect_timeout_s=4)
    async with channel_to(mute, servers.connect, config=config) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        server = await servers.next()
        await server.respond(await server.request())


async def test_server_that_speaks_something_else_is_unavailable(autojump_clock: object) -> None:
    async def http1() -> trio.abc.Stream:
        near, far = memory_stream_pair()
        await far.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return near

    async with channel_to(http1) as channel:
        error = await failing(channel)
        assert error.status is Status.UNAVAILABLE
        assert (error.message or "").startswith("cannot connect: no HTTP/2 there")


async def test_call_told_to_wait_waits_through_failures(autojump_clock: object) -> None:
    servers = PlayedServers()
    attempts = []

    async def late() -> trio.abc.Stream:
        attempts.append(1)
        if len(attempts) < 4:
            return await refuse()
        return await servers.connect()

    config = ChannelConfig(wait_for_ready=True, backoff=STEADY)
    async with channel_to(late, config=config) as channel, trio.open_nursery() as nursery:
        started_s = trio.current_time()
        nursery.start_soon(call, channel)
        server = await servers.next()
        assert trio.current_time() - started_s == pytest.approx(30)
        await server.respond(await server.request())


async def test_server_that_lets_in_and_throws_out_is_not_asked_again_and_again(
    autojump_clock: object,
) -> None:
    attempts = []

    async def thrown_out() -> trio.abc.Stream:
        attempts.append(trio.current_time())
        servers = PlayedServers()
        near = await servers.connect()
        server = await servers.next()
        server.connection.go_away(0)
        await server.flush()
        await server.stream.aclose()
        return near

    async with channel_to(thrown_out, config=ChannelConfig(backoff=STEADY)) as channel:
        for _ in range(30):
            assert (await failing(channel)).status is Status.UNAVAILABLE
            await trio.sleep(1)
    assert len(attempts) <= 4


async def test_lost_connection_fails_its_calls_and_the_next_call_connects_again() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, channel)
            server = await servers.next()
            await server.request()
            await server.stream.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await servers.next()
            await server.respond(await server.request())
    assert servers.connects == 2


async def test_sender_held_at_the_window_is_told_when_its_connection_is_lost(autojump_clock: object) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(GRPCError) as caught, trio.fail_after(60):
                await call(channel, request(200_000))
            assert caught.value.status is Status.UNAVAILABLE

        nursery.start_soon(caller)
        server = await servers.next()
        await server.request()
        await wait_all_tasks_blocked()
        await server.stream.aclose()


async def test_closed_channel_makes_no_calls() -> None:
    async with joined({UNARY: answer}) as (_, channel):
        await call(channel)
        assert channel.connected
        channel.close()
        assert (await failing(channel)).message == "the channel is closed"


async def test_channel_says_goodbye_when_its_block_ends() -> None:
    server = make_server({UNARY: answer})
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, await trio.open_tcp_listeners(0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with open_channel([("127.0.0.1", port)], random=Random(1)) as channel:
            assert await call(channel, request(5)) == 5
        await wait_all_tasks_blocked()
        assert server.open_connections == 0
        nursery.cancel_scope.cancel()


async def test_error_in_the_channels_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_channel([("127.0.0.1", 1)], random=Random(1)):
            raise KeyError("mine")


# Answers of every kind


async def answered_with(
    headers: Mapping[bytes, bytes], *, end: bool = True, trailers: Mapping[bytes, bytes] | None = None
) -> GRPCError:
    """What a call comes to that is answered with these headers, and trailers if any."""
    servers = PlayedServers()
    errors = []
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            errors.append(await failing(channel))

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        server.connection.send_headers(stream_id, list(headers.items()), end_stream=end)
        if trailers is not None:
            server.connection.send_headers(stream_id, list(trailers.items()), end_stream=True)
        await server.flush()
    return errors[0]


_OK = {b":status": b"200", b"content-type": b"application/grpc"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**_OK, b"grpc-status": b"5"}, Status.NOT_FOUND),
        ({**_OK, b"grpc-status": b"99"}, Status.UNKNOWN),
        ({**_OK, b"grpc-status": b"0"}, Status.INTERNAL),  # OK and no reply
        (_OK, Status.UNKNOWN),  # no status at all
        ({b":status": b"503"}, Status.UNAVAILABLE),
        ({b":status": b"404", b"content-type": b"text/html"}, Status.UNIMPLEMENTED),
        ({b":status": b"200", b"content-type": b"text/html"}, Status.UNKNOWN),
        ({b":status": b"401", b"grpc-status": b"7"}, Status.PERMISSION_DENIED),
    ],
)
async def test_answer_without_a_message_gives_its_status(
    headers: Mapping[bytes, bytes], status: Status
) -> None:
    assert (await answered_with(headers)).status is status


async def test_answer_that_is_not_grpc_fails_before_its_body_ends() -> None:
    assert (await answered_with({b":status": b"502"}, end=False)).status is Status.UNAVAILABLE


async def test_error_message_is_decoded_and_details_handed_out() -> None:
    error = await answered_with(
        {
            **_OK,
            b"grpc-status": b"13",
            b"grpc-message": percent_encode("Äpfel\n"),
            b"grpc-status-details-bin": b"AAE",
        }
    )
    assert (error.message, error.details) == ("Äpfel\n", b"\0\1")


async def test_message_cut_short_by_trailers_gives_their_status() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            assert (await failing(channel)).status is Status.DATA_LOSS

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        server.connection.send_headers(stream_id, list(_OK.items()))
        server.connection.send_data(stream_id, b"\0\0\0\0\x09half")
        server.connection.send_headers(stream_id, [(b"grpc-status", b"15")], end_stream=True)
        await server.flush()


async def test_trailers_without_a_status_are_unknown() -> None:
    assert (await answered_with(_OK, end=False, trailers={b"x": b"y"})).status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCodes.CANCEL, Status.CANCELLED),
        (ErrorCodes.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCodes.INTERNAL_ERROR, Status.INTERNAL),
    ],
)
async def test_reset_by_the_server_gives_its_status(code: ErrorCodes, status: Status) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            assert (await failing(channel)).status is status

        nursery.start_soon(caller)
        server = await servers.next()
        server.connection.reset(await server.request(), code)
        await server.flush()


async def test_reply_that_does_not_parse_or_is_too_large_fails_the_call() -> None:
    servers = PlayedServers()
    statuses = []
    config = ChannelConfig(max_message_bytes=100)
    async with channel_to(servers.connect, config=config) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            statuses.extend([(await failing(channel)).status for _ in range(2)])

        nursery.start_soon(caller)
        server = await servers.next()
        await server.respond(await server.request(), message=b"\x28")
        await server.respond(await server.request(), message=bytes(101))
    assert statuses == [Status.INTERNAL, Status.RESOURCE_EXHAUSTED]


# Deadlines and cancellation


async def test_call_sends_its_deadline_and_resets_the_stream_when_it_passes(autojump_clock: object) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            started_s = trio.current_time()
            assert (await failing(channel, timeout=2.5)).status is Status.DEADLINE_EXCEEDED
            assert trio.current_time() - started_s == pytest.approx(2.5)

        nursery.start_soon(caller)
        server = await servers.next()
        assert dict((await server.expect(HeadersReceived)).headers)[b"grpc-timeout"] == b"2500000u"
        assert (await server.expect(StreamReset)).error_code == ErrorCodes.CANCEL


async def test_call_cancelled_or_left_resets_its_stream() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            async with unary(channel) as stream:
                await stream.send_message(request(), end=True)
                await stream.cancel()
            with pytest.raises(KeyError):  # noqa: PT012
                async with unary(channel) as stream:
                    await stream.send_message(request(), end=True)
                    raise KeyError

        nursery.start_soon(caller)
        server = await servers.next()
        for _ in range(2):
            assert (await server.expect(StreamReset)).error_code == ErrorCodes.CANCEL


async def test_streaming_answer_not_read_to_its_end_is_given_up() -> None:
    async with joined({BOTH_STREAM: answer_each}) as (server, channel):
        async with channel.request(
            BOTH_STREAM, Cardinality.STREAM_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream:
            await stream.send_message(request(4))
            async for message in stream:
                assert message == reply(4)
                break
        await wait_all_tasks_blocked()
        assert server.active_calls == 0


@pytest.mark.parametrize("status", [Status.OK, Status.ABORTED])
async def test_sender_learns_that_the_server_has_ended_the_call(status: Status) -> None:
    async def hang_up(stream: Stream) -> None:
        await stream.send_message(reply(1))
        await stream.send_trailing_metadata(status=status)

    async with (
        joined({CLIENT_STREAM: hang_up}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        await stream.send_message(request())
        await wait_all_tasks_blocked()
        if status is Status.OK:
            await stream.send_message(request())
        else:
            with pytest.raises(GRPCError) as caught:
                await stream.send_message(request())
            assert caught.value.status is status


async def test_call_whose_deadline_passes_while_it_is_sent_again_resets_both_streams(
    autojump_clock: object,
) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            with pytest.raises(GRPCError) as caught:
                await call(channel, request(200_000), timeout=5)  # more than a window
            assert caught.value.status is Status.DEADLINE_EXCEEDED

        nursery.start_soon(caller)
        server = await servers.next()
        server.connection.reset(await server.request(), ErrorCodes.REFUSED_STREAM)
        again = await server.request()
        reset = await server.expect(StreamReset)
        assert (reset.stream_id, reset.error_code) == (again, ErrorCodes.CANCEL)


async def test_stream_out_of_order_is_told() -> None:
    async with (
        joined({CLIENT_STREAM: answer}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        assert stream.initial_metadata is None
        assert stream.trailing_metadata is None
        await stream.send_request()
        with pytest.raises(ProtocolError):
            await stream.send_request()
        with pytest.raises(TypeError):
            await stream.send_message(reply(1))  # type: ignore[arg-type]
        await stream.send_message(request(3))
        await stream.end()
        with pytest.raises(ProtocolError):
            await stream.end()
        with pytest.raises(ProtocolError):
            await stream.send_message(request())
        assert await stream.recv_message() == reply(3)


@pytest.mark.parametrize("metadata", [{"grpc-x": "1"}, {"k": "line\nbreak"}, {"k-bin": "text"}])
async def test_metadata_that_cannot_be_sent_is_refused(metadata: Mapping[str, str]) -> None:
    async with joined({UNARY: answer}) as (_, channel):
        with pytest.raises((ValueError, TypeError)):
            await call(channel, metadata=dict(metadata))


# Again


async def test_refused_call_is_sent_again_once() -> None:
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
            for _ in range(2):
                server.connection.reset(await server.request(), ErrorCodes.REFUSED_STREAM)
            await server.flush()


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
        server.connection.send_headers(stream_id, list(_OK.items()))
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


# Connections that die quietly


async def test_keepalive_that_is_not_answered_fails_the_calls(autojump_clock: object) -> None:
    servers = PlayedServers()
    config = ChannelConfig(timeouts=Timeouts(keepalive_s=30, keepalive_timeout_s=10))
    async with channel_to(servers.connect, config=config) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            started_s = trio.current_time()
            error = await failing(channel)
            assert error.status is Status.UNAVAILABLE
            assert "keepalive" in (error.message or "")
            assert trio.current_time() - started_s == pytest.approx(40)

        nursery.start_soon(caller)
        server = await servers.next()
        await server.request()


async def test_goaway_with_an_error_is_logged() -> None:
    servers = PlayedServers()
    with capture_logs() as logs:
        async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
            nursery.start_soon(call, channel)
            server = await servers.next()
            stream_id = await server.request()
            server.connection.go_away(stream_id, ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings")
            await server.respond(stream_id)
    (line,) = [line for line in logs if line["event"] == "rpc_server_sent_goaway"]
    assert line["debug"] == "too_many_pings"


async def test_server_that_stops_loses_no_call_of_a_channel(autojump_clock: object) -> None:
    async def slow(stream: Stream) -> None:
        await trio.sleep(1)
        await answer(stream)

    old, new = make_server({UNARY: slow}), make_server({UNARY: slow})
    async with trio.open_nursery() as nursery:
        current = [old]

        async def connect() -> trio.abc.Stream:
            return await connect_to(current[0], nursery)()

        channel = Channel(nursery, [connect], random=Random(1))
        answers: list[int] = []

        async def caller() -> None:
            answers.extend([await call(channel, request(7)) for _ in range(10)])

        async with trio.open_nursery() as callers:
            for _ in range(20):
                callers.start_soon(caller)
            await trio.sleep(4.5)
            current[0] = new
            await old.stop(grace_s=30)
            assert old.active_calls == 0
        assert answers == [7] * 200
        nursery.cancel_scope.cancel()


# Generated code, as it is


async def test_generated_stub_and_service_base_are_carried_unchanged() -> None:
    class Service(WorkerManagementServiceBase):
        async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
            return HeartbeatResponse(acknowledged=True, next_heartbeat_ms=len(message.worker_id))

    server = Server([Service()], random=Random(1))
    async with trio.open_nursery() as nursery:
        channel = Channel(nursery, [connect_to(server, nursery)], random=Random(1))
        stub = channel.stub(WorkerManagementServiceStub)
        assert await stub.heartbeat(request(6), timeout=5) == HeartbeatResponse(
            acknowledged=True, next_heartbeat_ms=6
        )
        with pytest.raises(GRPCError) as caught:
            await stub.list_workers(ListWorkersRequest())
        assert caught.value.status is Status.UNIMPLEMENTED
        nursery.cancel_scope.cancel()


async def test_handler_asleep_is_cancelled_when_the_channel_closes() -> None:
    async with joined({UNARY: sleep_for_ever}) as (server, channel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, channel)
            await wait_all_tasks_blocked()
            channel.close()
        await wait_all_tasks_blocked()
        assert (server.active_calls, server.open_connections) == (0, 0)
