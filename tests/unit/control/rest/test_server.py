"""Real sockets: the REST server withstands its clients, and stops in order.

Where a timeout is waited for, the clock jumps to it once nothing has happened for `JUMP_AFTER_S` real
seconds: long enough for bytes to cross the loopback.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.control.rest import connection, envelope
from minicloud.control.rest.connection import IDLE_TIMEOUT_S, SEND_TIMEOUT_S
from minicloud.control.rest.events import KEEP_ALIVE_S
from minicloud.control.rest.http1 import MAX_HEAD_BYTES
from minicloud.control.rest.server import serve_rest
from minicloud.net.listening import bind_tcp
from tests.unit.control.rest.kit import HttpClient, Rest, until
from tests.unit.control.test_metrics import samples

JUMP_AFTER_S = 0.05

SSE = {"accept": "text/event-stream"}


@pytest.fixture
def jumping_clock(mock_clock: MockClock) -> MockClock:
    mock_clock.autojump_threshold = JUMP_AFTER_S
    return mock_clock


async def read_to_end(stream: trio.SocketStream) -> bytes:
    """Return all bytes until the connection ends, in whichever way; fail where it does not."""
    received = b""
    with trio.fail_after(60), suppress(trio.BrokenResourceError):
        while data := await stream.receive_some():
            received += data
    return received


def status_and_problem(raw: bytes) -> tuple[bytes, dict[str, object]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    problem: dict[str, object] = json.loads(body)
    return head.split(b" ")[1], problem


@asynccontextmanager
async def stalled_reader(rest: Rest, port: int) -> AsyncIterator[trio.SocketStream]:
    """Return a client that asks for more than any socket buffers and reads none of it."""
    rest.register(*(f"w{number}" for number in range(2000)), metadata={"zone": "x" * 4000})
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        await stream.socket.connect(("127.0.0.1", port))
        await stream.send_all(b"GET /api/workers HTTP/1.1\r\nhost: x\r\n\r\n")
        yield stream
        await stream.aclose()


# Requests


async def test_requests_on_one_connection_are_answered_in_turn() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port, HttpClient.connected(port) as client:
        assert (await client.request("GET", "/livez")).status == 200
        assert (await client.request("GET", "/nothing")).status == 404
        head = await client.request("HEAD", "/api/workers/w1")
        assert head.status == 200
        assert not head.body
        assert int(head.headers["content-length"]) > 100
        removed = await client.request("DELETE", "/api/workers/w1")
        assert removed.status == 204
        assert not {"content-length", "content-type"} & set(removed.headers)
        assert "server" not in removed.headers


async def test_connection_to_be_closed_is_closed_after_the_answer(jumping_clock: MockClock) -> None:
    async with Rest().served() as port, HttpClient.connected(port) as client:
        assert (await client.request("GET", "/livez", {"connection": "close"})).status == 200
        assert await read_to_end(client.stream) == b""
        assert trio.current_time() < 1


async def test_chunked_body_over_the_limit_is_answered_though_the_client_goes_on_sending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The client sends 19 MB before it reads. On a busy machine that takes longer than a server waits.
    monkeypatch.setattr(connection, "LINGER_S", 60.0)
    monkeypatch.setattr(envelope, "LINGER_S", 60.0)
    rest = Rest()
    async with rest.served() as port, HttpClient.connected(port) as client:
        await client.send_chunks("/api/workers/w1/drain", 300, b"x" * 65536)
        answer = await client.receive()
    assert answer.status == 413
    assert json.loads(answer.body)["status"] == 413


async def test_chunked_body_within_the_limit_is_read_to_its_end() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port, HttpClient.connected(port) as client:
        await client.send_chunks("/api/workers/w1/drain", 9, b"x" * 100_000)
        assert (await client.receive()).status == 422
        await client.send_chunks("/api/workers/w1/drain", 3, b"  ")
        assert (await client.receive()).status == 400
        assert (await client.request("GET", "/livez")).status == 200


async def test_chunked_body_is_put_together() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port, HttpClient.connected(port) as client:
        await client.send_chunks("/api/workers/w1/drain", 1, b'{"reason":', b' "its', b' disk"}')
        assert json.loads((await client.receive()).body)["adminReason"] == "its disk"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * (2 * MAX_HEAD_BYTES), b"431"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
    ],
)
async def test_malformed_request_is_a_problem_and_the_end_of_its_connection(
    sent: bytes, status: bytes
) -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(sent)
        code, problem = status_and_problem(await read_to_end(stream))
    assert code == status
    assert str(problem["status"]).encode() == status


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_offer_of_another_protocol_is_answered_in_http_1(upgrade: str) -> None:
    offer = {
        "connection": "upgrade, http2-settings",
        "upgrade": upgrade,
        "http2-settings": "AAMAAABkAAQAAP__",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    async with Rest().served() as port, HttpClient.connected(port) as client:
        assert (await client.request("GET", "/livez", offer)).status == 200


async def test_http_2_by_prior_knowledge_is_turned_down() -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        with trio.fail_after(5):
            raw = await read_to_end(stream)
    assert raw.startswith(b"HTTP/1.1 505 ")


# Clients that hold a connection


async def test_connection_without_a_request_is_closed(jumping_clock: MockClock) -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        begun_s = trio.current_time()
        assert await read_to_end(stream) == b""
        assert trio.current_time() - begun_s == pytest.approx(IDLE_TIMEOUT_S, abs=1)


async def test_head_that_does_not_end_is_a_problem_and_the_end_of_its_connection(
    jumping_clock: MockClock,
) -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        begun_s = trio.current_time()
        await stream.send_all(b"GET /livez HTTP/1.1\r\nhost")
        code, problem = status_and_problem(await read_to_end(stream))
        assert trio.current_time() - begun_s == pytest.approx(IDLE_TIMEOUT_S, abs=1)
    assert (code, problem["title"]) == (b"408", "Request Timeout")


async def test_head_that_trickles_in_is_closed_like_one_that_does_not_come(jumping_clock: MockClock) -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        begun_s = trio.current_time()

        async def trickle() -> None:
            for byte in b"GET /" + b"x" * 1000:
                await stream.send_all(bytes([byte]))
                await trio.sleep(1)

        with pytest.raises(trio.BrokenResourceError):
            await trickle()
        assert trio.current_time() - begun_s == pytest.approx(IDLE_TIMEOUT_S, abs=3)


async def test_connection_idle_after_an_answer_is_closed(jumping_clock: MockClock) -> None:
    async with Rest().served() as port, HttpClient.connected(port) as client:
        for _ in range(2):
            await client.request("GET", "/livez")
        begun_s = trio.current_time()
        assert await read_to_end(client.stream) == b""
        assert trio.current_time() - begun_s == pytest.approx(IDLE_TIMEOUT_S, abs=1)


async def test_answer_nobody_reads_is_given_up(jumping_clock: MockClock) -> None:
    rest = Rest()
    with capture_logs() as lines:
        async with rest.served() as port, stalled_reader(rest, port) as stream:
            begun_s = trio.current_time()
            await trio.sleep(SEND_TIMEOUT_S + 1)
            await read_to_end(stream)
            assert trio.current_time() - begun_s < SEND_TIMEOUT_S + 2
    stalled = [line["log_level"] for line in lines if line["event"] == "http_client_stalled"]
    assert stalled == ["info"]
    assert not [line for line in lines if line["log_level"] == "warning"]


# The event stream


async def next_id(client: HttpClient) -> int:
    """Return the id of the next block of a stream that has one."""
    while True:
        data = await client.receive_data()
        if data.startswith(b"id: "):
            return int(data.split(b"\n")[0][4:])


async def test_stream_tells_events_as_they_happen_and_resumes_where_it_was() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port:
        async with HttpClient.connected(port) as client:
            await client.send("GET", "/api/events", SSE)
            head = await client.receive_head()
            assert head.headers["content-type"].startswith("text/event-stream")
            assert head.headers["cache-control"] == "no-store"
            assert "content-length" not in head.headers
            assert await next_id(client) == 1
            rest.register("w2")
            assert await next_id(client) == 2
        rest.register("w3")
        async with HttpClient.connected(port) as client:
            await client.send("GET", "/api/events", SSE | {"last-event-id": "2"})
            await client.receive_head()
            assert await next_id(client) == 2
            assert await next_id(client) == 3


async def test_silent_stream_outlives_every_timeout(jumping_clock: MockClock) -> None:
    rest = Rest()
    async with rest.served() as port, HttpClient.connected(port) as client:
        await client.send("GET", "/api/events", SSE)
        await client.receive_head()
        await client.receive_data()
        for _ in range(10):
            assert await client.receive_data() == b": keep-alive\n\n"
        assert 2 * max(IDLE_TIMEOUT_S, SEND_TIMEOUT_S) < 10 * KEEP_ALIVE_S
        rest.register("w1")
        assert await next_id(client) == 1


async def test_stream_of_a_client_that_left_ends(jumping_clock: MockClock) -> None:
    rest = Rest()
    async with rest.served() as port:
        async with HttpClient.connected(port) as client:
            await client.send("GET", "/api/events", SSE)
            await client.receive_head()
        counted = ("code", "200"), ("method", "GET"), ("route", "/api/events")
        await until(lambda: ("minicloud_http_requests_total", counted) in samples(rest.metrics))


# The end


async def test_stopping_ends_streams_and_idle_connections_at_once(jumping_clock: MockClock) -> None:
    rest = Rest()
    async with rest.served() as port:
        async with (
            HttpClient.connected(port) as stream,
            HttpClient.connected(port) as idle,
            HttpClient.connected(port) as fresh,
        ):
            await stream.send("GET", "/api/events", SSE)
            await stream.receive_head()
            await stream.receive_data()
            await idle.request("GET", "/livez")
            begun_s = trio.current_time()
            rest.readiness.begin_stopping()
            assert await stream.receive_data() == b""
            assert await idle.stream.receive_some() == b""
            assert await fresh.stream.receive_some() == b""
            assert trio.current_time() - begun_s < 1
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)


async def test_stopping_lets_requests_in_flight_finish(jumping_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.gate = trio.Event()
    async with rest.served(grace_s=3) as port, HttpClient.connected(port) as client:
        await client.send("POST", "/api/workers/w1/drain")
        await until(lambda: len(rest.store.changes) == 2)
        rest.readiness.begin_stopping()
        await trio.sleep(2)
        begun_s = trio.current_time()
        rest.store.gate.set()
        answer = await client.receive()
        assert answer.status == 200
        assert await read_to_end(client.stream) == b""
        assert trio.current_time() - begun_s < 0.5


async def test_stopping_cuts_requests_off_once_the_grace_is_over(jumping_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.gate = trio.Event()
    async with rest.served(grace_s=3) as port, HttpClient.connected(port) as client:
        await client.send("POST", "/api/workers/w1/drain")
        await until(lambda: len(rest.store.changes) == 2)
        begun_s = trio.current_time()
        rest.readiness.begin_stopping()
        assert await read_to_end(client.stream) == b""
        assert trio.current_time() - begun_s == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("way", ["stopped", "cancelled"])
async def test_client_that_stops_reading_cannot_keep_the_server(jumping_clock: MockClock, way: str) -> None:
    rest = Rest()
    with capture_logs():
        listeners = await bind_tcp(["127.0.0.1"], 0, "HTTP", "--http-port")
        async with trio.open_nursery() as nursery:
            serve = partial(serve_rest, rest.app, listeners, readiness=rest.readiness, grace_s=3.0)
            port = await nursery.start(serve)
            async with stalled_reader(rest, port):
                await trio.sleep(1)
                begun_s = trio.current_time()
                with trio.CancelScope(shield=True), trio.fail_after(10):
                    if way == "stopped":
                        rest.readiness.begin_stopping()
                    else:
                        nursery.cancel_scope.cancel()
                    await until(lambda: not nursery.child_tasks)
                took_s = trio.current_time() - begun_s
    assert took_s == pytest.approx(3.0 if way == "stopped" else 0.0, abs=0.5)
