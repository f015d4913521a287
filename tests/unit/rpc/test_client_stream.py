"""A client's streams take answers of every kind, keep deadlines and can be cancelled."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError
from h2.errors import ErrorCodes
from trio.testing import wait_all_tasks_blocked

from minicloud.http2.config import Http2Limits
from minicloud.http2.events import HeadersReceived, StreamReset
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.metadata import percent_encode
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
)
from tests.unit.rpc.played_server import OK_HEADERS, PlayedServers, channel_to, failing, unary
from tests.unit.rpc.support import (
    BOTH_STREAM,
    CLIENT_STREAM,
    UNARY,
    Stream,
    answer,
    answer_each,
    call,
    joined,
    reply,
    request,
)


async def answered_with(
    headers: Mapping[bytes, bytes], *, end: bool = True, trailers: Mapping[bytes, bytes] | None = None
) -> GRPCError:
    """Return the error of a call that is answered with these headers, and trailers if any."""
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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**OK_HEADERS, b"grpc-status": b"5"}, Status.NOT_FOUND),
        ({**OK_HEADERS, b"grpc-status": b"99"}, Status.UNKNOWN),
        ({**OK_HEADERS, b"grpc-status": b"0"}, Status.INTERNAL),  # OK and no reply
        (OK_HEADERS, Status.UNKNOWN),  # no status at all
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
            **OK_HEADERS,
            b"grpc-status": b"13",
            b"grpc-message": percent_encode("Äpfel\n"),
            b"grpc-status-details-bin": b"AAE",
        }
    )
    assert (error.message, error.details) == ("Äpfel\n", b"\0\1")


@pytest.mark.parametrize("lost", [False, True], ids=["call reset", "connection lost"])
async def test_failure_that_was_caught_is_not_raised_again_at_the_end_of_the_block(lost: bool) -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            async with unary(channel) as stream:
                await stream.send_message(request(), end=True)
                with pytest.raises(GRPCError):
                    await stream.recv_message()

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        if lost:
            await server.stream.aclose()
        else:
            server.connection.reset(stream_id, ErrorCodes.INTERNAL_ERROR)
            await server.flush()


async def test_call_that_has_been_answered_leaves_its_stream_to_another_though_it_is_still_held() -> None:
    servers = PlayedServers(Http2Limits(max_concurrent_streams=1))
    other_answered = trio.Event()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def holder() -> None:
            async with unary(channel) as stream:
                await stream.send_message(request(), end=True)
                await stream.recv_trailing_metadata()
                await other_answered.wait()

        async def other() -> None:
            await call(channel)
            other_answered.set()

        nursery.start_soon(holder)
        server = await servers.next()
        first = await server.request()
        nursery.start_soon(other)
        await wait_all_tasks_blocked()
        await server.respond(first)  # and not a frame more: no window is given back
        await server.respond(await server.request())


async def test_message_cut_short_by_trailers_gives_their_status() -> None:
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:

        async def caller() -> None:
            assert (await failing(channel)).status is Status.DATA_LOSS

        nursery.start_soon(caller)
        server = await servers.next()
        stream_id = await server.request()
        server.connection.send_headers(stream_id, list(OK_HEADERS.items()))
        server.connection.send_data(stream_id, b"\0\0\0\0\x09half")
        server.connection.send_headers(stream_id, [(b"grpc-status", b"15")], end_stream=True)
        await server.flush()


async def test_trailers_without_a_status_are_unknown() -> None:
    assert (await answered_with(OK_HEADERS, end=False, trailers={b"x": b"y"})).status is Status.UNKNOWN


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
