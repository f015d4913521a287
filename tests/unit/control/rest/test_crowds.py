"""Real sockets: more clients come than there are places for, and clients that do not read (DESIGN 49)."""

from __future__ import annotations

import gc
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import h11
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.control.rest import connection as connection_module
from minicloud.control.rest import pieces
from minicloud.control.rest import server as server_module
from minicloud.control.rest.connection import RESERVE_TIMEOUT_S, Connection
from minicloud.control.rest.http1 import Http1
from minicloud.control.rest.pieces import PIECE_BYTES
from minicloud.control.rest.seats import FAIR_IDLE_S, MAX_ANSWER_BYTES, SeatLimits, Seats
from minicloud.control.rest.server import MAX_TURNED_AWAY, serve_rest
from minicloud.net.listening import bind_tcp
from tests.unit.control.rest.kit import HttpClient, Rest, until

SMALL = SeatLimits(ordinary=8, reserve=4)
SSE = {"accept": "text/event-stream"}


@pytest.fixture
def jumping_clock(mock_clock: MockClock) -> MockClock:
    mock_clock.autojump_threshold = 0.05
    return mock_clock


@asynccontextmanager
async def from_address(address: str, port: int) -> AsyncIterator[HttpClient]:
    """Return a client at another address of this machine."""
    sock = trio.socket.socket()
    await sock.bind((address, 0))
    await sock.connect(("127.0.0.1", port))
    async with trio.SocketStream(sock) as stream:
        yield HttpClient(stream)


async def streams(stack: AsyncExitStack, port: int, count: int, address: str = "127.0.0.1") -> list[int]:
    """Have so many clients ask for the stream of events and stay; return the codes they get."""
    answered = []
    for _ in range(count):
        client = await stack.enter_async_context(from_address(address, port))
        await client.send("GET", "/api/events", SSE)
        answered.append((await client.receive_head()).status)
    return answered


async def test_streams_that_take_all_they_can_leave_probes_operators_and_others_their_places(
    jumping_clock: MockClock,
) -> None:
    rest = Rest(limits=SMALL)
    rest.readiness.mark_ready()
    rest.register("w1")
    async with rest.served() as port, AsyncExitStack() as stack:
        codes = await streams(stack, port, 12)
        assert codes.count(200) == SMALL.streams_per_peer
        assert codes.count(503) == 12 - SMALL.streams_per_peer
        for method, path in (
            ("GET", "/livez"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("GET", "/api/workers"),
            ("POST", "/api/workers/w1/cordon"),
        ):
            async with HttpClient.connected(port) as client:
                assert (await client.request(method, path)).status == 200, path
        async with from_address("127.0.0.2", port) as other:
            await other.send("GET", "/api/events", SSE)
            assert (await other.receive_head()).status == 200


async def test_reserve_answers_once_a_connection_and_serves_no_pages_and_no_streams(
    jumping_clock: MockClock,
) -> None:
    rest = Rest(limits=SMALL)
    rest.store.gate = trio.Event()
    rest.register("w1")
    async with rest.served() as port, AsyncExitStack() as stack:
        for _ in range(SMALL.per_peer):  # all wait for the disk
            client = await stack.enter_async_context(HttpClient.connected(port))
            await client.send("POST", "/api/workers/w1/drain")
        await trio.sleep(FAIR_IDLE_S)
        for path, headers, code in (
            ("/livez", None, 200),
            ("/api/workers/w1", None, 200),
            ("/docs", None, 503),
            ("/docs/docs.js", None, 503),
            ("/openapi.json", None, 503),
            ("/api/events", SSE, 503),
            ("/nothing", None, 404),
        ):
            async with HttpClient.connected(port) as client:
                answer = await client.request("GET", path, headers)
                assert answer.status == code, path
                assert answer.headers["connection"] == "close"
                assert await client.stream.receive_some() == b""
        for _ in range(SMALL.operations):
            client = await stack.enter_async_context(HttpClient.connected(port))
            await client.send("POST", "/api/workers/w1/cordon")
        await trio.sleep(0.1)
        async with HttpClient.connected(port) as client:
            assert (await client.request("POST", "/api/workers/w1/cordon")).status == 503
        async with HttpClient.connected(port) as client:
            assert (await client.request("GET", "/livez")).status == 200
        rest.store.gate.set()


async def test_connections_that_ask_for_nothing_give_way_to_a_probe(jumping_clock: MockClock) -> None:
    rest = Rest(limits=SMALL)
    async with rest.served() as port, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(HttpClient.connected(port)) for _ in range(SMALL.per_peer)]
        await idle[-1].stream.send_all(b"GET /livez HTTP/1.1\r\nhost")  # slowly
        await trio.sleep(FAIR_IDLE_S)
        async with HttpClient.connected(port) as client:
            assert (await client.request("GET", "/livez")).status == 200
            assert await idle[0].stream.receive_some() == b""
        assert rest.seats.open <= SMALL.ordinary


async def test_connection_for_which_there_is_no_place_is_told_so(jumping_clock: MockClock) -> None:
    rest = Rest(limits=SMALL)
    with capture_logs() as lines:
        async with rest.served() as port, AsyncExitStack() as stack:
            for _ in range(SMALL.per_peer + SMALL.reserve):
                await stack.enter_async_context(HttpClient.connected(port))
            await until(lambda: rest.seats.open == SMALL.per_peer + SMALL.reserve)
            async with HttpClient.connected(port) as client:
                answer = await client.request("GET", "/livez")
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert json.loads(answer.body)["status"] == 503
                assert await client.stream.receive_some() == b""
    full = [line for line in lines if line["event"] == "http_connections_full"]
    assert [line["peer"] for line in full] == ["127.0.0.1"]


async def test_no_more_than_so_many_are_told_that_there_is_no_place(jumping_clock: MockClock) -> None:
    rest = Rest(limits=SMALL)
    told = 0
    with capture_logs():
        async with rest.served() as port, AsyncExitStack() as stack:
            for _ in range(SMALL.per_peer + SMALL.reserve):
                await stack.enter_async_context(HttpClient.connected(port))
            await until(lambda: rest.seats.open == SMALL.per_peer + SMALL.reserve)
            refused = [
                await stack.enter_async_context(from_address("127.0.0.1", port))
                for _ in range(MAX_TURNED_AWAY + 4)
            ]
            for client in refused:
                with suppress(trio.BrokenResourceError):
                    told += (await client.stream.receive_some()).startswith(b"HTTP/1.1 503 ")
    assert told == MAX_TURNED_AWAY


@asynccontextmanager
async def only_the_reserve_left(rest: Rest, port: int) -> AsyncIterator[None]:
    """Take all seats that this address may have by requests that wait for the disk."""
    rest.store.gate = trio.Event()
    async with AsyncExitStack() as stack:
        for _ in range(SMALL.per_peer):
            client = await stack.enter_async_context(HttpClient.connected(port))
            await client.send("POST", "/api/workers/w0000/drain")
        await until(lambda: rest.seats.open == SMALL.per_peer)
        await trio.sleep(0.1)
        yield
        rest.store.gate.set()


async def test_reserve_cuts_off_sooner_who_sends_no_request(jumping_clock: MockClock) -> None:
    rest = Rest(limits=SMALL)
    rest.register("w0000")
    async with (
        rest.served() as port,
        only_the_reserve_left(rest, port),
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        begun_s = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - begun_s == pytest.approx(RESERVE_TIMEOUT_S, abs=1)


async def test_reserve_cuts_off_sooner_who_does_not_read(jumping_clock: MockClock) -> None:
    rest = Rest(limits=SMALL)
    rest.register(*(f"w{number:04}" for number in range(3000)), metadata={"zone": "x" * 2000})
    with capture_logs() as lines:
        async with rest.served() as port, only_the_reserve_left(rest, port), unread(port, "/api/workers"):
            await until(lambda: rest.seats.answer_bytes > 0)
            await trio.sleep(RESERVE_TIMEOUT_S + 1)
            assert (rest.seats.open, rest.seats.answer_bytes) == (SMALL.per_peer, 0)
    stalled = [line for line in lines if line["event"] == "http_client_stalled"]
    assert [line["timeout_s"] for line in stalled] == [RESERVE_TIMEOUT_S]


# Clients that do not read


@asynccontextmanager
async def unread(port: int, target: str) -> AsyncIterator[trio.SocketStream]:
    """Return a client that sends a request and does not read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await stream.socket.connect(("127.0.0.1", port))
        await stream.send_all(f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        yield stream
        await stream.aclose()


@pytest.mark.parametrize("target", ["/api/workers", "/metrics", "/api/events?limit=10000"])
async def test_long_answer_nobody_reads_holds_two_pieces_and_what_it_is_made_from(target: str) -> None:
    rest = Rest(per_worker=True)
    for number in range(3000):
        rest.register(f"w{number:04}", metadata={"zone": "x" * 2000})
    async with rest.served() as port:
        async with unread(port, target):
            await until(lambda: rest.seats.answer_bytes > 0)
            assert rest.seats.answer_bytes <= 2 * PIECE_BYTES + 8 * 3000
        await until(lambda: rest.seats.answer_bytes == 0)


async def test_answers_beyond_the_budget_are_refused_and_short_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "_HELD_BYTES", MAX_ANSWER_BYTES // 2)
    rest = Rest()
    rest.register(*(f"w{number:04}" for number in range(3000)), metadata={"zone": "x" * 2000})
    async with rest.served() as port, unread(port, "/api/workers"):
        await until(lambda: rest.seats.answer_bytes > 0)
        async with HttpClient.connected(port) as client:
            refused = await client.request("GET", "/api/workers")
            assert refused.status == 503
            assert b"set a limit" in refused.body
            assert (await client.request("GET", "/api/workers?limit=1")).status == 200


async def test_files_of_the_docs_are_one_copy_for_all() -> None:
    rest = Rest()
    routes: Any = rest.app.view_functions["docs_file"]
    async with rest.app.test_request_context("/docs/swagger-ui-bundle.js"):
        first, second = await routes("swagger-ui-bundle.js"), await routes("swagger-ui-bundle.js")
    assert first.response.data is second.response.data
    assert len(first.response.data) > 1_000_000


async def rest_of(client: HttpClient) -> None:
    while await client.receive_data():
        pass


async def test_history_read_too_slowly_to_be_whole_is_broken_off() -> None:
    rest = Rest(capacity=4000)
    for number in range(4000):
        rest.register(f"w{number:04}", endpoint=f"{'x' * 200}.example:9091")
    with capture_logs() as lines:
        async with rest.served() as port, HttpClient.connected(port) as client:
            await client.send("GET", "/api/events?limit=4000")
            await client.receive_head()
            first = await client.receive_data()
            assert first.startswith(b'[{"eventId":1,')
            for number in range(4000):
                rest.register(f"v{number:04}")
            with pytest.raises(h11.RemoteProtocolError, match="peer closed connection"):
                await rest_of(client)
    assert [line["event"] for line in lines if line["log_level"] != "debug"][-1:] == [
        "http_answer_broken_off"
    ]


# However a connection ends, nothing of it stays counted


async def leaves_at_once(stream: trio.SocketStream) -> None:
    pass


async def resets(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
    await stream.receive_some()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def leaves_a_stream(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
    await stream.receive_some()


async def half_closes_a_stream(stream: trio.SocketStream) -> None:
    await leaves_a_stream(stream)
    await stream.send_eof()


async def leaves_a_long_answer(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /api/workers HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    await stream.receive_some()


async def resets_a_long_answer(stream: trio.SocketStream) -> None:
    await leaves_a_long_answer(stream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def leaves_in_a_body(stream: trio.SocketStream) -> None:
    await stream.send_all(
        b"POST /api/workers/w1/drain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{"
    )


async def speaks_tls(stream: trio.SocketStream) -> None:
    await stream.send_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


async def asks_for_a_failure(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /fails HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")


async def asks_for_a_broken_answer(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /breaks HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")


WAYS = [
    leaves_at_once,
    resets,
    leaves_a_stream,
    half_closes_a_stream,
    leaves_a_long_answer,
    resets_a_long_answer,
    leaves_in_a_body,
    speaks_tls,
    asks_for_a_failure,
    asks_for_a_broken_answer,
]


def failing(app: Any) -> Any:
    """Add to `app` a path at which it fails, and one whose answer no server can send."""
    inner = app.asgi_app

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fails":
            raise RuntimeError("on purpose")
        if scope["path"] == "/breaks":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"bad\n", b"")]})
            await send({"type": "http.response.body", "body": b"x"})
        await inner(scope, receive, send)

    app.asgi_app = outer
    return app


@pytest.mark.parametrize("way", WAYS)
async def test_connection_that_ends_in_any_way_is_not_counted_any_more(
    way: Callable[[trio.SocketStream], Awaitable[None]], jumping_clock: MockClock
) -> None:
    rest = Rest(limits=SMALL)
    rest.register(*(f"w{number:04}" for number in range(1000)))
    failing(rest.app)
    empty = {name: repr(value) for name, value in vars(rest.seats).items()}
    with capture_logs():
        async with rest.served() as port:
            for _ in range(2 * (SMALL.ordinary + SMALL.reserve)):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    with suppress(trio.BrokenResourceError):
                        await way(stream)
                await until(lambda: rest.seats.open == 0)
            assert {name: repr(value) for name, value in vars(rest.seats).items()} == empty
            async with HttpClient.connected(port) as client:
                assert (await client.request("GET", "/livez")).status == 200


class FailingConnection(Connection):
    """A `FailingConnection` fails after it has served its client."""

    async def run(self) -> None:
        await super().run()
        raise RuntimeError("on purpose")


async def test_connection_that_fails_is_not_counted_any_more(
    jumping_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "Connection", FailingConnection)
    rest = Rest(limits=SMALL)
    with capture_logs() as lines:
        async with rest.served() as port:
            for _ in range(2 * (SMALL.ordinary + SMALL.reserve)):
                async with HttpClient.connected(port) as client:
                    assert (await client.request("GET", "/livez")).status == 200
                await until(lambda: rest.seats.open == 0)
    failed = [line for line in lines if line["log_level"] == "error"]
    assert {line["event"] for line in failed} == {"http_connection_failed"}


async def test_connections_of_a_server_that_is_cancelled_are_not_counted_any_more() -> None:
    rest = Rest(limits=SMALL)
    seats = Seats(SMALL)
    async with trio.open_nursery() as nursery:
        listeners = await bind_tcp(["127.0.0.1"], 0, "HTTP", "--http-port")
        serve = partial(serve_rest, rest.app, listeners, readiness=rest.readiness, seats=seats)
        port = await nursery.start(serve)
        async with AsyncExitStack() as stack:
            assert await streams(stack, port, 2) == [200, 200]
            nursery.cancel_scope.cancel()
    assert (seats.open, seats.streams) == (0, 0)


async def test_client_that_reads_nothing_loses_its_connection_and_its_seat(
    jumping_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "SEND_TIMEOUT_S", 3.0)
    rest = Rest()
    rest.register(*(f"w{number:04}" for number in range(3000)), metadata={"zone": "x" * 2000})
    with capture_logs() as lines:
        async with rest.served() as port, unread(port, "/api/workers"):
            await until(lambda: rest.seats.answer_bytes > 0)
            await trio.sleep(4)
            assert (rest.seats.open, rest.seats.answer_bytes) == (0, 0)
    assert [line["event"] for line in lines if line["log_level"] != "debug"][-1:] == ["http_client_stalled"]


async def test_closed_connections_are_freed_without_the_collector(jumping_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    gc.collect()
    gc.disable()
    try:
        with capture_logs():
            async with rest.served() as port:
                for way in (leaves_at_once, leaves_a_stream, leaves_in_a_body, speaks_tls):
                    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                        await way(stream)
                async with HttpClient.connected(port) as client:
                    assert (await client.request("GET", "/api/workers")).status == 200
                await until(lambda: rest.seats.open == 0)
        assert [found for found in gc.get_objects() if isinstance(found, Connection | Http1)] == []
    finally:
        gc.enable()
