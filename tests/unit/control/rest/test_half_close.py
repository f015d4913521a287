"""Real sockets: clients close their side at once, as `printf ... | nc` does, and get their answers (DESIGN
50)."""

from __future__ import annotations

import json
import re

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.control.rest.events import KEEP_ALIVE_S
from tests.unit.control.rest.kit import Rest, until


@pytest.fixture
def jumping_clock(mock_clock: MockClock) -> MockClock:
    mock_clock.autojump_threshold = 0.05
    return mock_clock


async def answer_to(port: int, *said: bytes) -> bytes:
    """Return everything that answers a client that half-closes after it has sent `said`, piece by piece."""
    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            for piece in said:
                await stream.send_all(piece)
                await trio.sleep(0.01)
            await stream.send_eof()
            received = b""
            while data := await stream.receive_some():
                received += data
            return received


def request(method: str, path: str, version: str = "1.1", *headers: str, body: str = "") -> bytes:
    host = ["host: 127.0.0.1"] if version == "1.1" else []
    head = "\r\n".join([f"{method} {path} HTTP/{version}", *host, *headers])
    return f"{head}\r\n\r\n{body}".encode()


def codes(raw: bytes) -> list[int]:
    """Return the status codes of the answers in `raw`."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", raw)]


def schedulable(rest: Rest, worker_id: str) -> bool:
    worker = rest.membership.sweep_due().get(worker_id)
    assert worker is not None
    return worker.schedulable


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_read_of_a_client_that_half_closes_is_answered(version: str) -> None:
    async with Rest().served() as port:
        raw = await answer_to(port, request("GET", "/livez", version))
    assert codes(raw) == [200]
    assert raw.endswith(b'{"status":"alive"}')


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("body", ["", '{"reason": "its disk"}'])
async def test_change_of_a_client_that_half_closes_is_carried_out_and_answered(
    version: str, body: str
) -> None:
    rest = Rest()
    rest.register("w1")
    length = f"content-length: {len(body)}"
    async with rest.served() as port:
        raw = await answer_to(port, request("POST", "/api/workers/w1/cordon", version, length, body=body))
    assert codes(raw) == [200]
    assert json.loads(raw.partition(b"\r\n\r\n")[2])["adminState"] == "CORDONED"
    assert schedulable(rest, "w1") is False


async def test_change_that_takes_time_is_answered_after_the_half_close(jumping_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.gate = trio.Event()
    async with rest.served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request("POST", "/api/workers/w1/drain"))
        await stream.send_eof()
        await until(lambda: len(rest.store.changes) == 2)
        await trio.sleep(9)
        rest.store.gate.set()
        received = b""
        while data := await stream.receive_some():
            received += data
    assert codes(received) == [200]


async def test_chunked_body_before_the_half_close_is_taken() -> None:
    rest = Rest()
    rest.register("w1")
    said = request("POST", "/api/workers/w1/drain", "1.1", "transfer-encoding: chunked")
    async with rest.served() as port:
        raw = await answer_to(port, said, b"f\r\n", b'{"reason": "x"}\r\n0\r\n\r\n')
    assert codes(raw) == [200]
    assert json.loads(raw.partition(b"\r\n\r\n")[2])["adminReason"] == "x"


@pytest.mark.parametrize("apart", [True, False])
async def test_pipelined_requests_before_the_half_close_are_all_answered_in_turn(apart: bool) -> None:
    rest = Rest()
    rest.register("w1")
    said = [
        request("GET", "/livez"),
        request("POST", "/api/workers/w1/cordon"),
        request("GET", "/api/workers/w1"),
        request("DELETE", "/api/workers/w1"),
        request("GET", "/api/workers/w1"),
    ]
    async with rest.served() as port:
        raw = await answer_to(port, *(said if apart else [b"".join(said)]))
    assert codes(raw) == [200, 200, 200, 204, 404]
    assert rest.membership.sweep_due().get("w1") is None


async def test_long_answer_after_the_half_close_is_whole() -> None:
    rest = Rest()
    rest.register(*(f"w{number:04}" for number in range(2000)))
    async with rest.served() as port:
        raw = await answer_to(port, request("GET", "/api/workers", "1.0"))
    assert len(json.loads(raw.partition(b"\r\n\r\n")[2])) == 2000


async def test_request_cut_short_by_the_half_close_is_refused_and_changes_nothing() -> None:
    rest = Rest()
    rest.register("w1")
    async with rest.served() as port:
        head = await answer_to(port, b"POST /api/workers/w1/drain HTTP/1.1\r\nhost: 127")
        body = await answer_to(port, request("POST", "/api/workers/w1/drain", "1.1", "content-length: 9"))
        nothing = await answer_to(port)
    assert (codes(head), codes(body), nothing) == ([400], [400], b"")
    assert schedulable(rest, "w1") is True


async def test_stream_ends_at_the_half_close_with_what_there_was(jumping_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1", "w2")
    headers = ("accept: text/event-stream", "last-event-id: 0")
    async with rest.served() as port:
        begun_s = trio.current_time()
        raw = await answer_to(port, request("GET", "/api/events", "1.1", *headers))
        assert trio.current_time() - begun_s < KEEP_ALIVE_S
        await until(lambda: rest.seats.open == 0)
    assert raw.count(b"event: registered") == 2
    assert raw.endswith(b"\r\n0\r\n\r\n")  # it ended in order and was not cut off


async def test_stream_that_has_long_begun_ends_at_the_half_close(jumping_clock: MockClock) -> None:
    rest = Rest()
    async with rest.served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request("GET", "/api/events", "1.0", "accept: text/event-stream"))
        await trio.sleep(2 * KEEP_ALIVE_S)
        await stream.send_eof()
        begun_s = trio.current_time()
        while await stream.receive_some():
            pass
        assert trio.current_time() - begun_s < 1
        await until(lambda: rest.seats.streams == 0)


async def test_client_that_left_for_good_while_its_answer_was_made_leaves_nothing(
    jumping_clock: MockClock,
) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.gate = trio.Event()
    with capture_logs() as lines:
        async with rest.served() as port:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request("POST", "/api/workers/w1/drain"))
                await until(lambda: len(rest.store.changes) == 2)
            await trio.sleep(1)
            rest.store.gate.set()
            await until(lambda: rest.seats.open == 0)
    assert not [line for line in lines if line["log_level"] in ("warning", "error")]
