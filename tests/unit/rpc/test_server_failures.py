"""Handlers fail, and requests that reach no handler, or the wrong way, are answered."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError
from structlog.testing import capture_logs

from minicloud.request_id import show_request_id
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.interceptors import translating
from minicloud.rpc.server_connection import UNKNOWN_METHOD
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import NO_ERROR, RST_STREAM
from tests.unit.rpc.raw_peer import message_bytes, raw_peer
from tests.unit.rpc.support import (
    SERVER_STREAM,
    UNARY,
    Recorder,
    Stream,
    answer,
    call,
    joined,
    make_server,
    reply,
    request,
    status_of,
)


async def test_grpc_error_of_a_handler_is_the_status() -> None:
    async def handler(stream: Stream) -> None:
        raise GRPCError(Status.NOT_FOUND, "kein Ärger\n100%", b"details")

    async with joined({UNARY: handler}) as (_, channel):
        error = await status_of(channel)
    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "kein Ärger\n100%", b"details")


async def test_grpc_error_out_of_a_nursery_of_the_handler_is_the_status() -> None:
    async def fail() -> None:
        raise GRPCError(Status.ABORTED, "inside")

    async def handler(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()

    async with joined({UNARY: handler}) as (_, channel):
        assert (await status_of(channel)).status is Status.ABORTED


async def test_exception_of_a_handler_is_unknown_without_its_text_and_one_error_line() -> None:
    async def handler(stream: Stream) -> None:
        await stream.recv_message()
        raise RuntimeError("the password is 1234")

    with capture_logs(processors=[show_request_id]) as logs:
        async with joined({UNARY: handler}) as (_, channel):
            with pytest.raises(GRPCError) as caught:
                await call(channel, metadata={"x-request-id": "req-1"})
            assert caught.value.status is Status.UNKNOWN
            assert "1234" not in str(caught.value)
            with pytest.raises(GRPCError):  # and the connection still serves
                await call(channel)
    errors = [line for line in logs if line["log_level"] == "error"]
    assert [line["event"] for line in errors] == ["rpc_handler_failed"] * 2
    assert errors[0]["request_id"] == "req-1"
    assert errors[0]["method"] == UNARY
    assert isinstance(errors[0]["exc_info"], RuntimeError)


async def test_exception_of_a_handler_is_translated_by_what_the_server_was_given() -> None:
    def translate(exc: Exception) -> GRPCError | None:
        return GRPCError(Status.INVALID_ARGUMENT, "no key") if isinstance(exc, KeyError) else None

    async def handler(stream: Stream) -> None:
        raise KeyError("x")

    with capture_logs() as logs:
        async with joined({UNARY: handler}, interceptors=[translating(translate)]) as (_, channel):
            error = await status_of(channel)
    assert (error.status, error.message) == (Status.INVALID_ARGUMENT, "no key")
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_call_that_fails_before_its_request_ends_gets_trailers_alone_and_a_reset() -> None:
    async def handler(stream: Stream) -> None:
        raise GRPCError(Status.ABORTED, "enough")

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1, {b"x-request-id": b"mine"}, end=False)
        headers = await peer.expect_headers(1)
        assert (headers[":status"], headers["grpc-status"], headers["x-request-id"]) == ("200", "10", "mine")
        assert (await peer.expect(RST_STREAM, 1)).error_code == NO_ERROR


@pytest.mark.parametrize(
    "error",
    [GRPCError(Status.ABORTED, "x", ["no message"]), GRPCError("none", "x")],  # type: ignore[arg-type]
)
async def test_error_that_cannot_be_sent_fails_its_own_call_only(error: GRPCError) -> None:
    async def handler(stream: Stream) -> None:
        raise error

    with capture_logs() as logs:
        async with joined({UNARY: handler}) as (server, channel):
            for _ in range(2):
                assert (await status_of(channel)).status is Status.UNKNOWN
            assert server.open_connections == 1
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["rpc_handler_failed"] * 2


async def test_message_cut_short_by_an_error_gives_the_error(autojump_clock: object) -> None:
    async def handler(stream: Stream) -> None:
        await stream.send_message(HeartbeatResponse(instructions={"k": "v" * 200_000}))

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1, {b"grpc-timeout": b"1S"})  # and no window for all of it
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.DEADLINE_EXCEEDED.value)


async def test_unary_request_read_again_is_at_its_end() -> None:
    async def handler(stream: Stream) -> None:
        requests = [message async for message in stream]
        await stream.send_message(reply(len(requests)))

    async with joined({UNARY: handler}) as (_, channel):
        assert await call(channel) == 1


async def test_unary_handler_without_a_reply_is_internal() -> None:
    async def handler(stream: Stream) -> None:
        await stream.recv_message()

    with capture_logs() as logs:
        async with joined({UNARY: handler}) as (_, channel):
            assert (await status_of(channel)).status is Status.INTERNAL
    assert "rpc_handler_sent_no_reply" in [line["event"] for line in logs]


async def test_failure_after_messages_comes_after_the_messages() -> None:
    async def handler(stream: Stream) -> None:
        await stream.send_message(reply(1))
        await stream.send_message(reply(2))
        raise GRPCError(Status.DATA_LOSS, "that was all")

    async with (
        joined({SERVER_STREAM: handler}) as (_, channel),
        channel.request(
            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        await stream.send_message(request(), end=True)
        received = [await stream.recv_message(), await stream.recv_message()]
        with pytest.raises(GRPCError) as caught:
            await stream.recv_message()
    assert received == [reply(1), reply(2)]
    assert caught.value.status is Status.DATA_LOSS


async def test_handler_out_of_order_is_told() -> None:
    problems: list[str] = []

    async def attempt(operation: Callable[[], object], stream: Stream) -> None:
        try:
            await operation()  # type: ignore[misc]
        except (ProtocolError, TypeError) as exc:
            problems.append(str(exc))

    async def handler(stream: Stream) -> None:
        await attempt(stream.send_trailing_metadata, stream)
        await attempt(lambda: stream.send_message("text"), stream)  # type: ignore[arg-type]
        await stream.send_initial_metadata()
        await attempt(stream.send_initial_metadata, stream)
        await stream.send_message(reply(1))
        await attempt(lambda: stream.send_message(reply(2)), stream)
        await stream.send_trailing_metadata()
        await attempt(stream.send_trailing_metadata, stream)
        await attempt(lambda: stream.send_message(reply(3)), stream)

    async with joined({UNARY: handler}) as (_, channel):
        assert await call(channel) == 1
    assert problems == [
        "a unary answer with status OK wants one message",
        "message is a str, want a HeartbeatResponse",
        "initial metadata was already sent",
        "the message of a unary answer was already sent",
        "the call has ended",
        "the call has ended",
    ]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("nope ", "nope%20"),
        (" \t nope", "%20%09 nope"),
        (" ", "%20"),
        ("\0\x7f\n%", "%00%7F%0A%25"),
        ("a\ud800b", "a?b"),
        ("x" * 5000, "x" * 4096),
        ("Ä" * 1000, "%C3%84" * 682 + "%C3"),
    ],
)
async def test_error_message_of_any_text_is_sent_as_a_header_may_be(text: str, sent: str) -> None:
    async def handler(stream: Stream) -> None:
        raise GRPCError(Status.ABORTED, text)

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1)
        assert (await peer.expect_headers(1))["grpc-message"] == sent


async def test_metadata_is_sent_without_outer_spaces() -> None:
    async def handler(stream: Stream) -> None:
        await stream.send_initial_metadata(metadata={"key": " v w  "})
        await answer(stream)

    async with raw_peer(make_server({UNARY: handler})) as peer:
        await peer.start()
        await peer.request(1)
        assert (await peer.expect_headers(1))["key"] == "v w"


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({b":path": b"/test.Service/Nope"}, Status.UNIMPLEMENTED, "no such method: /test.Service/Nope"),
        ({b":path": b"/\xff"}, Status.UNIMPLEMENTED, "no such method: /%C3%BF"),
        (
            {b"grpc-encoding": b"snappy"},
            Status.UNIMPLEMENTED,
            "grpc-encoding snappy is not one of identity, deflate, gzip",
        ),
        (
            {b"grpc-timeout": b"soon"},
            Status.INVALID_ARGUMENT,
            "grpc-timeout 'soon' is not 1 to 8 digits and one of H, M, S, m, u, n",
        ),
    ],
)
async def test_request_that_cannot_be_served_gets_trailers_alone(
    changed: Mapping[bytes, bytes], status: Status, message: str
) -> None:
    recorder = Recorder([])
    async with raw_peer(make_server({UNARY: answer}, observer=recorder)) as peer:
        await peer.start()
        await peer.request(1, changed, end=False)
        headers = await peer.expect_headers(1)
        assert headers[":status"] == "200"
        assert headers["content-type"] == "application/grpc"
        assert (headers["grpc-status"], headers["grpc-message"]) == (str(status.value), message)
        if b"grpc-encoding" in changed:
            assert headers["grpc-accept-encoding"] == "identity,deflate,gzip"
        # The rest of the request is not wanted.
        assert (await peer.expect(RST_STREAM, 1)).error_code == NO_ERROR
    known = UNARY if b":path" not in changed else UNKNOWN_METHOD
    assert [(method, found) for method, found, _ in recorder.finished] == [(known, status)]


@pytest.mark.parametrize(
    ("changed", "http_status"),
    [
        ({b":method": b"GET"}, "405"),
        ({b"content-type": None}, "415"),
        ({b"content-type": b"application/json"}, "415"),
        ({b"content-type": b"application/grpc+json"}, "415"),
        ({b"content-type": b"application/grpc-web"}, "415"),
    ],
)
async def test_request_that_is_not_grpc_gets_an_http_status(
    changed: Mapping[bytes, bytes | None], http_status: str
) -> None:
    async with raw_peer(make_server({UNARY: answer})) as peer:
        await peer.start()
        await peer.request(1, changed)
        headers = await peer.expect_headers(1)
        assert headers[":status"] == http_status
        assert "grpc-status" not in headers


@pytest.mark.parametrize(
    "content_type", [b"application/grpc", b"application/grpc+proto", b"application/grpc; x=y"]
)
async def test_request_in_any_spelling_of_grpc_is_served(content_type: bytes) -> None:
    async with raw_peer(make_server({UNARY: answer})) as peer:
        await peer.start()
        await peer.request(1, {b"content-type": content_type})
        assert (await peer.expect_headers(1))[":status"] == "200"
        assert (await peer.expect_headers(1))["grpc-status"] == "0"


@pytest.mark.parametrize(
    ("body", "changed", "status"),
    [
        (b"", {}, Status.INTERNAL),  # no message
        (b"\0\0", {}, Status.INTERNAL),
        (message_bytes(b"\x0a\x02\xff\xff"), {}, Status.INTERNAL),  # not protobuf
        (b"\7\0\0\0\0", {}, Status.INTERNAL),
        (message_bytes(b"", compressed=True), {}, Status.INTERNAL),  # with no grpc-encoding
        (message_bytes(b"junk", compressed=True), {b"grpc-encoding": b"gzip"}, Status.INTERNAL),
        (message_bytes(b"", size=1001), {}, Status.RESOURCE_EXHAUSTED),
        (
            message_bytes(gzip.compress(bytes(100_000), mtime=0), compressed=True),
            {b"grpc-encoding": b"gzip"},
            Status.RESOURCE_EXHAUSTED,
        ),
        (
            message_bytes(gzip.compress(bytes(request(500)), mtime=0), compressed=True),
            {b"grpc-encoding": b"gzip"},
            Status.OK,
        ),
        (message_bytes(bytes(request(500))), {b"grpc-encoding": b"gzip"}, Status.OK),
        (
            message_bytes(zlib.compress(bytes(request(500))), compressed=True),
            {b"grpc-encoding": b"deflate"},
            Status.OK,
        ),
        (
            message_bytes(zlib.compress(bytes(100_000)), compressed=True),
            {b"grpc-encoding": b"deflate"},
            Status.RESOURCE_EXHAUSTED,
        ),
        (
            message_bytes(gzip.compress(bytes(request(500)), mtime=0), compressed=True),
            {b"grpc-encoding": b"deflate"},
            Status.INTERNAL,
        ),
    ],
)
async def test_request_body_decides_the_status(
    body: bytes, changed: Mapping[bytes, bytes], status: Status
) -> None:
    async with raw_peer(make_server({UNARY: answer}, limits=ServerLimits(max_message_bytes=1000))) as peer:
        await peer.start()
        await peer.request(1, changed, body)
        headers = await peer.expect_headers(1)
        if "grpc-status" not in headers:
            headers = await peer.expect_headers(1)
        assert headers["grpc-status"] == str(status.value)


async def test_message_over_the_limit_is_refused_on_its_prefix() -> None:
    async with raw_peer(make_server({UNARY: answer}, limits=ServerLimits(max_message_bytes=1000))) as peer:
        await peer.start()
        await peer.request(1, body=message_bytes(b"", size=1 << 31), end=False)
        assert (await peer.expect_headers(1))["grpc-status"] == str(Status.RESOURCE_EXHAUSTED.value)
