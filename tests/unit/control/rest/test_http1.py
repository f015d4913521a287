"""The server answers malformed heads, odd targets, two lengths and other versions before any endpoint."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
import trio
from structlog.testing import capture_logs

from tests.unit.control.rest.kit import Rest

HOST = b"host: 127.0.0.1\r\n"
POST = b"POST /x HTTP/1.1\r\n" + HOST


async def conversation(port: int, said: bytes) -> bytes:
    """Return all bytes that answer `said` and the end of sending."""
    received = b""
    with trio.fail_after(20):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(said)
            await stream.send_eof()
            try:
                while data := await stream.receive_some():
                    received += data
            except trio.BrokenResourceError:
                pass
    return received


def codes(raw: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", raw)]


@pytest.mark.parametrize(
    ("said", "code", "detail"),
    [
        (POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "one of them"),
        (POST + b"transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n", 400, "one of them"),
        (b"POST /x HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0"),
        (b"POST /x HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked, chunked\r\n\r\n", 501, "RFC 9112"),
        (b"POST /x HTTP/1.1\r\n" + HOST + b"content-length: 1, 2\r\n\r\n", 400, "RFC 9112"),
        (b"POST /x HTTP/1.1\r\n" + HOST + b"content-length: +1\r\n\r\n", 400, "RFC 9112"),
        (b"POST /x HTTP/1.1\r\n" + HOST + b"content-length : 1\r\n\r\n", 400, "RFC 9112"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "RFC 9112"),
        (b"GET ?limit=1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"GET livez HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"GET http:///livez HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"GET http://[/livez HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"GET ftp://127.0.0.1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "begin with /"),
        (b"GET  HTTP/1.1\r\n" + HOST + b"\r\n", 400, "RFC 9112"),
        (b"GET /livez\r\n\r\n", 400, "RFC 9112"),
        (b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n", 505, "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "RFC 9112"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "16384 bytes"),
    ],
)  # fmt: skip
async def test_request_that_is_not_as_the_standards_have_it_is_one_problem(
    said: bytes, code: int, detail: str
) -> None:
    with capture_logs() as lines:
        async with Rest().served() as port:
            raw = await conversation(port, said)
    assert codes(raw) == [code]
    problem = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert problem["status"] == code
    assert detail in problem["detail"]
    assert b"connection: close" in raw.lower()
    assert [(line["event"], line["log_level"]) for line in lines if "refused" in line["event"]] == [
        ("http_request_refused", "info")
    ]
    assert not [line for line in lines if line["log_level"] in ("warning", "error")]


async def test_refused_head_request_has_no_body() -> None:
    with capture_logs() as lines:
        async with Rest().served() as port:
            raw = await conversation(port, b"HEAD x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert codes(raw) == [400]
    assert raw.endswith(b"\r\n\r\n")
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_request_after_a_refused_one_on_the_connection_is_not_carried_out() -> None:
    rest = Rest()
    rest.register("w1")
    smuggled = b"DELETE /api/workers/w1 HTTP/1.1\r\n" + HOST + b"\r\n"
    said = (
        b"POST /livez HTTP/1.1\r\n"
        + HOST
        + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ) % (5 + len(smuggled))
    async with rest.served() as port:
        raw = await conversation(port, said + smuggled)
    assert codes(raw) == [400]
    assert rest.membership.sweep_due().get("w1") is not None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://127.0.0.1/livez", 200),
        (b"HTTPS://localhost:8080/livez?x=1", 400),  # the query is read
        (b"http://127.0.0.1", 302),
        (b"http://127.0.0.1?x=1", 302),
    ],
)
async def test_target_with_an_authority_is_the_path_in_it(target: bytes, path: int) -> None:
    async with Rest().served() as port:
        raw = await conversation(port, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert codes(raw) == [path]


async def test_refusal_reaches_a_client_that_has_sent_more_than_was_read() -> None:
    async with Rest().served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(20):
            await stream.send_all(b"nonsense\r\n\r\n" + b"x" * 300_000)
            received = b""
            while data := await stream.receive_some():  # the connection is not reset
                received += data
    assert codes(received) == [400]


async def test_no_bytes_a_client_sends_are_a_failure_of_the_server() -> None:
    """Requests are broken at random: each is answered or dropped, and none is a fault of ours."""
    random = Random(2024)
    good = [
        b"GET /api/workers?limit=1 HTTP/1.1\r\n" + HOST + b"accept: */*\r\n\r\n",
        b"POST /api/workers/w1/cordon HTTP/1.1\r\n" + HOST + b'content-length: 15\r\n\r\n{"reason": "x"}',
        b"POST /api/workers/w1/drain HTTP/1.1\r\n"
        + HOST
        + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"GET /api/events HTTP/1.1\r\n" + HOST + b"accept: text/event-stream\r\nlast-event-id: 0\r\n\r\n",
        b"HEAD /docs HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\n\r\n",
    ]
    odd = [
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b":",
        b"\xff",
        b"%",
        b"%00",
        b"//",
        b"?",
        b"#",
        b"[",
        b"0",
        b"-",
        b",",
        b"\t",
    ]
    rest = Rest()
    rest.register("w1")
    with capture_logs() as lines:
        async with rest.served() as port:
            for _ in range(300):
                said = bytearray(b"".join(random.choices(good, k=random.randint(1, 2))))
                for _ in range(random.randint(1, 3)):
                    start = random.randrange(len(said))
                    said[start : start + random.randint(0, 4)] = random.choice(odd)
                assert all(100 <= code < 506 for code in codes(await conversation(port, bytes(said))))
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert rest.seats.open == 0
