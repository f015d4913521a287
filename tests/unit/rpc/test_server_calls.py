"""One call at a time: what a handler, its client and the wire see of each other. In memory, virtual time."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping

import pytest
import structlog
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from minicloud.request_id import current_request_id
from minicloud.rpc.channel import Channel
from minicloud.rpc.config import ChannelConfig, ServerLimits
from minicloud.rpc.server import UNKNOWN_METHOD
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.rpc.support import (
    BOTH_STREAM,
    CANCEL,
    CLIENT_STREAM,
    DATA,
    NO_ERROR,
    RST_STREAM,
    SERVER_STREAM,
    UNARY,
    Recorder,
    Stream,
    answer,
    answer_each,
    call,
    frame_bytes,
    joined,
    make_server,
    message_bytes,
    raw_peer,
    reply,
    request,
    sleep_for_ever,
)


async def status_of(channel: Channel, *, timeout: float | None = None, size: int = 1) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await call(channel, request(size), timeout=timeout)
    return caught.value


# The four cardinalities


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


# Metadata


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
    assert "request_id" not in structlog.contextvars.get_contextvars()


# Deadlines and cancellation


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


# Handlers that fail


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

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
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
        async with joined({UNARY: handler}, translate=translate) as (_, channel):
            error = await status_of(channel)
    assert (error.status, error.message) == (Status.INVALID_ARGUMENT, "no key")
    assert not [line for line in logs if line["log_level"] == "error"]


@pytest.mark.parametrize(
    "error", [GRPCError(Status.ABORTED, "x", ["no message"]), GRPCError(Status.ABORTED, "\ud800")]
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


# Requests that reach no handler, or the wrong way


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({b":path": b"/test.Service/Nope"}, Status.UNIMPLEMENTED, "no such method: /test.Service/Nope"),
        ({b":path": b"/\xff"}, Status.UNIMPLEMENTED, "no such method: /%C3%BF"),
        (
            {b"grpc-encoding": b"snappy"},
            Status.UNIMPLEMENTED,
            "grpc-encoding snappy is not one of identity, gzip",
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
            assert headers["grpc-accept-encoding"] == "identity,gzip"
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


# Flow control


async def test_message_of_50_mb_passes_when_the_limits_permit() -> None:
    async def echo(stream: Stream) -> None:
        asked = await stream.recv_message()
        assert asked is not None
        await stream.send_message(HeartbeatResponse(instructions={"echo": asked.worker_id}))

    limits, config = ServerLimits(max_message_bytes=60 << 20), ChannelConfig(max_message_bytes=60 << 20)
    async with (
        joined({UNARY: echo}, limits=limits, config=config) as (_, channel),
        channel.request(UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse) as stream,
    ):
        await stream.send_message(request(50 << 20), end=True)
        answered = await stream.recv_message()
        assert answered is not None
        assert len(answered.instructions["echo"]) == 50 << 20


async def test_sender_to_a_handler_that_does_not_read_is_held_at_the_window() -> None:
    read = trio.Event()
    sent = []

    async def slow(stream: Stream) -> None:
        await read.wait()
        await stream.send_message(reply(len([message async for message in stream])))

    async with (
        joined({CLIENT_STREAM: slow}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
        trio.open_nursery() as nursery,
    ):

        async def send_all() -> None:
            for _ in range(200):
                await stream.send_message(request(10_000))
                sent.append(1)
            await stream.end()

        nursery.start_soon(send_all)
        await wait_all_tasks_blocked()
        # One window, however long it takes.
        assert len(sent) == 65_535 // 10_000
        read.set()
        assert await stream.recv_message() == reply(200)


async def test_window_is_given_back_as_messages_are_taken() -> None:
    taken, go_on = trio.Event(), trio.Event()
    sent = []

    async def picky(stream: Stream) -> None:
        for _ in range(5):
            await stream.recv_message()
        taken.set()
        await go_on.wait()
        await stream.send_message(reply(1))

    async with (
        joined({CLIENT_STREAM: picky}) as (_, channel),
        channel.request(
            CLIENT_STREAM, Cardinality.STREAM_UNARY, HeartbeatRequest, HeartbeatResponse
        ) as stream,
        trio.open_nursery() as nursery,
    ):

        async def send_all() -> None:
            for _ in range(200):
                await stream.send_message(request(10_000))
                sent.append(1)

        nursery.start_soon(send_all)
        await taken.wait()
        await wait_all_tasks_blocked()
        assert 9 <= len(sent) <= 11  # a window and what has been taken, held back to half a window
        go_on.set()
        assert await stream.recv_message() == reply(1)
        nursery.cancel_scope.cancel()


async def test_handler_that_sends_to_a_client_that_does_not_read_is_held_at_the_window() -> None:
    sent = []

    async def gush(stream: Stream) -> None:
        for n in range(1000):
            await stream.send_message(HeartbeatResponse(instructions={"k": "v" * 1000}))
            sent.append(n)

    async with (
        joined({SERVER_STREAM: gush, UNARY: answer}) as (_, channel),
        channel.request(
            SERVER_STREAM, Cardinality.UNARY_STREAM, HeartbeatRequest, HeartbeatResponse
        ) as stream,
    ):
        await stream.send_message(request(), end=True)
        await stream.recv_message()
        await wait_all_tasks_blocked()
        assert len(sent) < 70
        assert await call(channel) == 1  # others on the same connection go on
        assert len([message async for message in stream]) == 999


@pytest.mark.parametrize(
    ("path", "status"), [(UNARY.encode(), Status.ABORTED), (b"/unknown", Status.UNIMPLEMENTED)]
)
async def test_unread_bytes_of_calls_that_ended_are_given_back(path: bytes, status: Status) -> None:
    async def ignore(stream: Stream) -> None:
        raise GRPCError(Status.ABORTED, "not interested")

    async with raw_peer(make_server({UNARY: ignore})) as peer:
        await peer.start()
        # 4 MB of calls that are never read, over a connection window of 1 MB.
        for n in range(128):
            await peer.request(2 * n + 1, {b":path": path}, body=bytes(16_000), end=False)
            await peer.send(DATA, 1, 2 * n + 1, bytes(16_000))
            assert (await peer.expect_headers(2 * n + 1))["grpc-status"] == str(status.value)
        assert not peer.closed


async def test_peer_is_known_to_handlers() -> None:
    async def handler(stream: Stream) -> None:
        assert stream.peer.addr() is None
        assert stream.peer.cert() is None
        assert str(stream.peer) == "memory"
        assert (stream.user_agent or "").startswith("grpc-python-minicloud/")
        await answer(stream)

    async with joined({UNARY: handler}) as (_, channel):
        await call(channel)


async def test_observer_is_told_method_status_and_duration(autojump_clock: object) -> None:
    async def handler(stream: Stream) -> None:
        await trio.sleep(2)
        await answer(stream)

    recorder = Recorder([])
    async with joined({UNARY: handler}, observer=recorder) as (_, channel):
        await call(channel)
    ((method, status, duration_s),) = recorder.finished
    assert (method, status, round(duration_s, 6)) == (UNARY, Status.OK, 2)
