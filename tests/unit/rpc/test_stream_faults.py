"""A mistake of a peer on one stream ends that stream; another call on its connection goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from minicloud.http2.events import HeadersReceived
from minicloud.wire.gen.minicloud.execution import HeartbeatRequest, HeartbeatResponse
from tests.unit.http2.raw_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    frame_bytes,
)
from tests.unit.rpc.played_server import OK_HEADERS, PlayedServer, PlayedServers, channel_to
from tests.unit.rpc.raw_peer import RawPeer, message_bytes, raw_peer
from tests.unit.rpc.support import CLIENT_STREAM, UNARY, Stream, answer, make_server, reply, request

Headers = Mapping[bytes, bytes]
Encode = Callable[[Headers], bytes]
Frames = Callable[[int, Encode], bytes]

END = END_HEADERS | END_STREAM
PADDED = 0x8
STATUS_3 = {b"grpc-status": b"3"}


def trailers(changed: Headers) -> Frames:
    """Return an answer's headers, a message, and these trailers."""
    return lambda n, encode: (
        frame_bytes(HEADERS, END_HEADERS, n, encode(OK_HEADERS))
        + frame_bytes(DATA, 0, n, message_bytes(bytes(reply(1))))
        + frame_bytes(HEADERS, END, n, encode(changed))
    )


def alone(changed: Headers) -> Frames:
    """Return an answer that is trailers alone."""
    return lambda n, encode: frame_bytes(HEADERS, END, n, encode({**OK_HEADERS, **changed}))


def after_headers(kind: int, flags: int, payload: bytes) -> Frames:
    return lambda n, encode: (
        frame_bytes(HEADERS, END_HEADERS, n, encode(OK_HEADERS)) + frame_bytes(kind, flags, n, payload)
    )


def first(kind: int, flags: int, payload: bytes) -> Frames:
    return lambda n, encode: frame_bytes(kind, flags, n, payload)


def headers_twice(flags: int, one: Headers, two: Headers) -> Frames:
    return lambda n, encode: (
        frame_bytes(HEADERS, flags, n, encode(one)) + frame_bytes(HEADERS, END, n, encode(two))
    )


# Of an answer: the frames, and the status and message of the call (None: any).
ANSWERS: dict[str, tuple[Frames, Status, str | None]] = {
    "message ends with a space": (
        trailers({**STATUS_3, b"grpc-message": b"not accepted: "}),
        Status.INVALID_ARGUMENT,
        "not accepted: ",
    ),
    "message is spaces": (alone({**STATUS_3, b"grpc-message": b" \t"}), Status.INVALID_ARGUMENT, " \t"),
    "status has outer spaces": (alone({b"grpc-status": b" 3\t"}), Status.INVALID_ARGUMENT, None),
    "metadata has outer spaces": (trailers({**STATUS_3, b"k": b"\tv "}), Status.INVALID_ARGUMENT, None),
    "message holds a nul": (
        trailers({**STATUS_3, b"grpc-message": b"a\0b"}),
        Status.INVALID_ARGUMENT,
        "a\0b",
    ),
    "message holds a line break": (
        alone({**STATUS_3, b"grpc-message": b"a\r\nb: c"}),
        Status.INVALID_ARGUMENT,
        None,
    ),
    "name in upper case": (trailers({b"grpc-status": b"5", b"Key": b"v"}), Status.NOT_FOUND, None),
    "name in upper case, status OK": (trailers({b"grpc-status": b"0", b"Key": b"v"}), Status.INTERNAL, None),
    "empty name": (trailers({**STATUS_3, b"": b"v"}), Status.INVALID_ARGUMENT, None),
    "a header of HTTP/1": (alone({**STATUS_3, b"connection": b"close"}), Status.INVALID_ARGUMENT, None),
    "pseudo-header in trailers": (
        trailers({b":status": b"200", b"grpc-status": b"0"}),
        Status.INTERNAL,
        None,
    ),
    "unknown pseudo-header": (alone({b":what": b"x", b"grpc-status": b"0"}), Status.INTERNAL, None),
    "no :status": (
        lambda n, encode: frame_bytes(HEADERS, END, n, encode({b"grpc-status": b"0"})),
        Status.INTERNAL,
        None,
    ),
    "status of no number": (alone({b"grpc-status": b"x"}), Status.UNKNOWN, None),
    "status below 0": (alone({b"grpc-status": b"-1"}), Status.UNKNOWN, None),
    "status empty": (alone({b"grpc-status": b""}), Status.UNKNOWN, None),
    "status too large": (alone({b"grpc-status": b"9" * 5000}), Status.UNKNOWN, None),
    "details of no base64": (
        alone({**STATUS_3, b"grpc-status-details-bin": b"***"}),
        Status.INVALID_ARGUMENT,
        None,
    ),
    "trailers that do not end the stream": (
        lambda n, encode: (
            frame_bytes(HEADERS, END_HEADERS, n, encode(OK_HEADERS))
            + frame_bytes(HEADERS, END_HEADERS, n, encode(STATUS_3))
        ),
        Status.INTERNAL,
        None,
    ),
    "end without trailers": (after_headers(DATA, END_STREAM, b""), Status.UNKNOWN, None),
    "data before headers": (first(DATA, 0, message_bytes(b"")), Status.INTERNAL, None),
    "data that ends before headers": (first(DATA, END_STREAM, b""), Status.INTERNAL, None),
    "content-length of no number": (alone({**STATUS_3, b"content-length": b"x"}), Status.INTERNAL, None),
    "content-length too small": (
        lambda n, encode: (
            frame_bytes(HEADERS, END_HEADERS, n, encode({**OK_HEADERS, b"content-length": b"3"}))
            + frame_bytes(DATA, 0, n, message_bytes(b"long"))
        ),
        Status.INTERNAL,
        None,
    ),
    "informational answer that ends the stream": (
        lambda n, encode: frame_bytes(HEADERS, END, n, encode({b":status": b"100"})),
        Status.INTERNAL,
        None,
    ),
    "informational answer after the final one": (
        headers_twice(END_HEADERS, OK_HEADERS, {b":status": b"103"}),
        Status.INTERNAL,
        None,
    ),
    "second trailers": (
        headers_twice(END, {**OK_HEADERS, **STATUS_3}, STATUS_3),
        Status.INVALID_ARGUMENT,
        None,
    ),
    "data after the end": (
        lambda n, encode: alone(STATUS_3)(n, encode) + frame_bytes(DATA, 0, n, b"x" * 100),
        Status.INVALID_ARGUMENT,
        None,
    ),
    "reset after the end": (
        lambda n, encode: alone(STATUS_3)(n, encode) + frame_bytes(RST_STREAM, 0, n, bytes(4)),
        Status.INVALID_ARGUMENT,
        None,
    ),
    "malformed and reset at once": (
        lambda n, encode: (
            frame_bytes(HEADERS, END_HEADERS, n, encode({**OK_HEADERS, b"Key": b"v"}))
            + frame_bytes(RST_STREAM, 0, n, bytes(4))
        ),
        Status.INTERNAL,
        None,
    ),
    "reset without an error": (first(RST_STREAM, 0, bytes(4)), Status.INTERNAL, None),
    "reset with an unknown error": (first(RST_STREAM, 0, b"\xff" * 4), Status.INTERNAL, None),
    "window update of 0": (first(WINDOW_UPDATE, 0, bytes(4)), Status.INTERNAL, None),
    "window over the most": (first(WINDOW_UPDATE, 0, b"\x7f\xff\xff\xff"), Status.INTERNAL, None),
    "priority over itself": (
        lambda n, encode: frame_bytes(PRIORITY, 0, n, n.to_bytes(4, "big") + b"\0"),
        Status.INTERNAL,
        None,
    ),
    "message of an unknown flag": (after_headers(DATA, 0, b"\x07\0\0\0\0"), Status.INTERNAL, None),
    "compressed without an encoding": (after_headers(DATA, 0, b"\1\0\0\0\0"), Status.INTERNAL, None),
    "message cut short": (
        lambda n, encode: (
            after_headers(DATA, 0, message_bytes(b"ab", size=9))(n, encode)
            + frame_bytes(HEADERS, END, n, encode({b"grpc-status": b"0"}))
        ),
        Status.INTERNAL,
        None,
    ),
}


@pytest.mark.parametrize("sending", [False, True], ids=["sent", "sending"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_answer_that_breaks_a_rule_ends_its_call_and_no_other(name: str, sending: bool) -> None:
    frames, status, message = ANSWERS[name]
    servers = PlayedServers()
    failures: list[GRPCError] = []
    async with channel_to(servers.connect) as channel:

        async def victim() -> None:
            path, kind = (
                (CLIENT_STREAM, Cardinality.STREAM_UNARY) if sending else (UNARY, Cardinality.UNARY_UNARY)
            )
            with pytest.raises(GRPCError) as caught:  # noqa: PT012
                async with channel.request(path, kind, HeartbeatRequest, HeartbeatResponse) as stream:
                    await stream.send_message(request(), end=not sending)
                    await stream.recv_trailing_metadata()
            failures.append(caught.value)

        async def bystander() -> None:
            async with channel.request(
                UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse
            ) as stream:
                await stream.send_message(request(), end=True)
                assert await stream.recv_message() == reply(7)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(victim)
                server = await servers.next()
                broken = await server.request()
                nursery.start_soon(bystander)
                other = await server.request()
                await _send(server, frames(broken, lambda h: encoded(server, h)))
                await trio.testing.wait_all_tasks_blocked()
                await server.respond(other, message=bytes(reply(7)))
            async with trio.open_nursery() as nursery:  # and a later call finds the connection as it was
                nursery.start_soon(bystander)
                await server.respond(await server.request(), message=bytes(reply(7)))
    assert servers.connects == 1
    assert [failure.status for failure in failures] == [status]
    if message is not None:
        assert failures[0].message == message


def encoded(server: PlayedServer, headers: Headers) -> bytes:
    block: bytes = server.connection._engine._h2.encoder.encode(list(headers.items()))
    return block


async def _send(server: PlayedServer, frames: bytes) -> None:
    await server.flush()
    await server.stream.send_all(frames)


# Of a request: its frames, and the RST_STREAM that answers them.
REQUESTS: dict[str, tuple[Callable[[RawPeer, int], bytes], int]] = {
    "name in upper case": (lambda peer, n: opened(peer, n, {b"Key": b"v"}), PROTOCOL_ERROR),
    "value with a nul": (lambda peer, n: opened(peer, n, {b"key": b"a\0"}), PROTOCOL_ERROR),
    "value with a line break": (lambda peer, n: opened(peer, n, {b"key": b"a\nb"}), PROTOCOL_ERROR),
    "a header of HTTP/1": (lambda peer, n: opened(peer, n, {b"connection": b"close"}), PROTOCOL_ERROR),
    "te of another coding": (lambda peer, n: opened(peer, n, {b"te": b"gzip"}), PROTOCOL_ERROR),
    "no :path": (lambda peer, n: opened(peer, n, {b":path": None}), PROTOCOL_ERROR),
    "empty :path": (lambda peer, n: opened(peer, n, {b":path": b""}), PROTOCOL_ERROR),
    ":path with a space": (lambda peer, n: opened(peer, n, {b":path": b" /x"}), PROTOCOL_ERROR),
    ":status": (lambda peer, n: opened(peer, n, {b":status": b"200"}), PROTOCOL_ERROR),
    "content-length of no number": (
        lambda peer, n: opened(peer, n, {b"content-length": b"x"}),
        PROTOCOL_ERROR,
    ),
    "content-length too small": (
        lambda peer, n: opened(peer, n, {b"content-length": b"1"}) + frame_bytes(DATA, 0, n, bytes(5)),
        PROTOCOL_ERROR,
    ),
    "content-length too large": (
        lambda peer, n: (
            opened(peer, n, {b"content-length": b"9"}) + frame_bytes(DATA, END_STREAM, n, bytes(5))
        ),
        PROTOCOL_ERROR,
    ),
    "trailers that do not end the stream": (
        lambda peer, n: (
            opened(peer, n) + frame_bytes(HEADERS, END_HEADERS, n, peer._encoder.encode([(b"k", b"v")]))
        ),
        PROTOCOL_ERROR,
    ),
    "pseudo-header in trailers": (
        lambda peer, n: (
            opened(peer, n) + frame_bytes(HEADERS, END, n, peer._encoder.encode([(b":path", b"/")]))
        ),
        PROTOCOL_ERROR,
    ),
    "data after the end": (
        lambda peer, n: (
            opened(peer, n) + frame_bytes(DATA, END_STREAM, n, b"") + frame_bytes(DATA, 0, n, b"x")
        ),
        STREAM_CLOSED,
    ),
    "headers after the end": (
        lambda peer, n: opened(peer, n) + frame_bytes(DATA, END_STREAM, n, b"") + opened(peer, n),
        STREAM_CLOSED,
    ),
    "more than the window": (
        lambda peer, n: (
            opened(peer, n, {b":path": b"/test.Service/ClientStream"})
            + frame_bytes(DATA, 0, n, message_bytes(bytes(12_000), size=100_000)) * 6
        ),
        3,
    ),
    "window update of 0": (
        lambda peer, n: opened(peer, n) + frame_bytes(WINDOW_UPDATE, 0, n, bytes(4)),
        PROTOCOL_ERROR,
    ),
    "window over the most": (
        lambda peer, n: opened(peer, n) + frame_bytes(WINDOW_UPDATE, 0, n, b"\x7f\xff\xff\xff"),
        3,
    ),
    "priority over itself": (
        lambda peer, n: opened(peer, n) + frame_bytes(PRIORITY, 0, n, n.to_bytes(4, "big") + b"\0"),
        PROTOCOL_ERROR,
    ),
    "headers that depend on themselves": (
        lambda peer, n: frame_bytes(
            HEADERS, END_HEADERS | 0x20, n, n.to_bytes(4, "big") + b"\0" + peer.header_block(None)
        ),
        PROTOCOL_ERROR,
    ),
    "malformed, in pieces": (lambda peer, n: in_pieces(n, peer.header_block({b"Key": b"v"})), PROTOCOL_ERROR),
}


def opened(peer: RawPeer, stream_id: int, changed: Mapping[bytes, bytes | None] | None = None) -> bytes:
    return frame_bytes(HEADERS, END_HEADERS, stream_id, peer.header_block(changed))


def in_pieces(stream_id: int, block: bytes) -> bytes:
    return frame_bytes(HEADERS, 0, stream_id, block[:9]) + frame_bytes(
        CONTINUATION, END_HEADERS, stream_id, block[9:]
    )


@pytest.mark.parametrize("name", REQUESTS)
async def test_request_that_breaks_a_rule_is_reset_and_calls_beside_it_go_on(name: str) -> None:
    frames, code = REQUESTS[name]
    go_on = trio.Event()

    async def slow(stream: Stream) -> None:
        await go_on.wait()
        await answer(stream)

    server = make_server({UNARY: slow, CLIENT_STREAM: slow})
    with trio.fail_after(5):
        async with raw_peer(server) as peer:
            await peer.start()
            await peer.request(1)
            await peer.stream.send_all(frames(peer, 3))
            assert (await peer.expect(RST_STREAM, 3)).error_code == code
            await trio.testing.wait_all_tasks_blocked()
            assert server.active_calls == 1
            go_on.set()
            await peer.expect_headers(1)
            assert (await peer.expect_headers(1))["grpc-status"] == "0"
            await peer.request(5)
            await peer.expect_headers(5)
            assert (await peer.expect_headers(5))["grpc-status"] == "0"


async def test_metadata_with_outer_spaces_is_stripped() -> None:
    seen: list[dict[str, str | bytes]] = []

    async def look(stream: Stream) -> None:
        seen.append(dict(stream.metadata))
        await answer(stream)

    async with raw_peer(make_server({UNARY: look})) as peer:
        await peer.start()
        spaced = {b"key": b" \tv w ", b"data-bin": b" AAE=\t", b"grpc-timeout": b" 5S ", b"te": b"trailers "}
        await peer.request(1, {**spaced, b"content-type": b"application/grpc ", b"user-agent": b" me"})
        await peer.expect_headers(1)
        assert (await peer.expect_headers(1))["grpc-status"] == "0"
    assert seen == [{"key": "v w", "data-bin": b"\0\1"}]


async def test_window_of_the_connection_survives_streams_that_break_rules() -> None:
    """The streams carry 4 MB over a window of 1 MB."""
    async with raw_peer(make_server({UNARY: answer})) as peer:
        await peer.start()
        for n in range(1, 161, 2):
            await peer.stream.send_all(
                opened(peer, n, {b"content-length": b"1"}) + frame_bytes(DATA, 0, n, bytes(16_000)) * 3
            )
            assert (await peer.expect(RST_STREAM, n)).error_code == PROTOCOL_ERROR
        await peer.request(1001)
        await peer.expect_headers(1001)
        assert (await peer.expect_headers(1001))["grpc-status"] == "0"


async def test_flood_of_padding_is_no_work() -> None:
    server = make_server({UNARY: answer})
    async with raw_peer(server) as peer:
        await peer.start()
        await peer.request(1, end=False)
        await peer.stream.send_all(frame_bytes(DATA, PADDED, 1, b"\x03\0\0\0") * 2000)
        frames = await peer.expect_close()
    assert frames[-1].payload[4:8] == (0xB).to_bytes(4, "big")


async def test_headers_of_a_late_answer_leave_the_compression_in_step() -> None:
    """The table of a later call's headers is right though the first answer was malformed."""
    servers = PlayedServers()
    async with channel_to(servers.connect) as channel, trio.open_nursery() as nursery:
        metadata: list[object] = []

        async def caller() -> None:
            async with channel.request(
                UNARY, Cardinality.UNARY_UNARY, HeartbeatRequest, HeartbeatResponse
            ) as stream:
                await stream.send_message(request(), end=True)
                await stream.recv_initial_metadata()
                assert stream.initial_metadata is not None
                metadata.append(stream.initial_metadata["seen"])
                await stream.recv_message()

        async def failing_caller() -> None:
            with pytest.raises(GRPCError):
                await caller()

        nursery.start_soon(failing_caller)
        server = await servers.next()
        broken = await server.request()
        bad = encoded(server, {**OK_HEADERS, b"seen": b"value", b"Key": b"v"})
        await _send(server, frame_bytes(HEADERS, END_HEADERS, broken, bad))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(caller)
        event = await server.expect(HeadersReceived)
        good = encoded(server, {**OK_HEADERS, b"seen": b"value"})
        message = frame_bytes(DATA, 0, event.stream_id, message_bytes(bytes(reply(1))))
        await _send(server, frame_bytes(HEADERS, END_HEADERS, event.stream_id, good) + message)
        await server.respond(event.stream_id, message=None)
    assert metadata == ["value"]
