"""TLS works on both ends: ALPN, certificates, handshakes that fail."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import pytest
import trio
import trustme
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from minicloud.http2.config import Timeouts
from minicloud.rpc.channel import open_channel
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.server import Server
from tests.tls import client_context, server_context
from tests.unit.rpc.support import UNARY, HandlerFunc, Stream, answer, call, make_server, request

CA = trustme.CA()
STRANGER = trustme.CA()
CERT = CA.issue_cert("127.0.0.1")


@dataclass
class Served:
    server: Server
    port: int


@asynccontextmanager
async def served(context: ssl.SSLContext, handler: HandlerFunc = answer) -> AsyncIterator[Served]:
    server = make_server({UNARY: handler})
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    tcp = listeners[0].transport_listener
    assert isinstance(tcp, trio.SocketListener)
    port = tcp.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        yield Served(server, port)
        nursery.cancel_scope.cancel()


async def failing(port: int, context: ssl.SSLContext | None) -> GRPCError:
    async with open_channel([("127.0.0.1", port)], random=Random(1), ssl_context=context) as channel:
        with pytest.raises(GRPCError) as caught:
            await call(channel, timeout=5)
    return caught.value


async def test_call_passes_over_tls_and_the_handler_sees_the_clients_certificate() -> None:
    seen = []

    async def handler(stream: Stream) -> None:
        seen.append((stream.peer.addr(), stream.peer.cert()))
        await answer(stream)

    context = client_context(CA)
    CA.issue_cert("worker-1").configure_cert(context)
    async with (
        served(server_context(CERT, clients=CA), handler) as up,
        open_channel([("127.0.0.1", up.port)], random=Random(1), ssl_context=context) as channel,
    ):
        assert await call(channel, request(200_000)) == 200_000
    ((address, certificate),) = seen
    assert address is not None
    assert address[0] == "127.0.0.1"
    assert certificate is not None
    assert ("DNS", "worker-1") in certificate["subjectAltName"]  # type: ignore[operator]


async def test_server_with_a_certificate_we_do_not_trust_is_unavailable() -> None:
    async with served(server_context(CERT)) as up:
        error = await failing(up.port, client_context(STRANGER))
    assert error.status is Status.UNAVAILABLE
    assert "certificate verify failed" in (error.message or "")


async def test_server_without_h2_by_alpn_is_unavailable() -> None:
    async with served(server_context(CERT, alpn=False)) as up:
        error = await failing(up.port, client_context(CA))
    assert error.status is Status.UNAVAILABLE


async def test_client_without_h2_by_alpn_is_dropped_with_one_line() -> None:
    with capture_logs() as logs:
        async with served(server_context(CERT)) as up:
            stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", up.port, ssl_context=client_context(CA))
            try:
                await stream.do_handshake()
                # Dropped without the goodbye of TLS: Python 3.11.2 takes that for the end, later ones raise.
                with suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
            finally:
                await trio.aclose_forcefully(stream)
    reasons = [line["reason"] for line in logs if line["event"] == "rpc_connection_dropped"]
    assert reasons == ["TLS client does not offer h2 by ALPN"]


async def test_client_in_plain_text_is_dropped_and_others_are_served() -> None:
    with capture_logs() as logs:
        async with served(server_context(CERT)) as up:
            assert (await failing(up.port, None)).status is Status.UNAVAILABLE
            async with open_channel(
                [("127.0.0.1", up.port)], random=Random(1), ssl_context=client_context(CA)
            ) as channel:
                assert await call(channel) == 1
    reasons = [line["reason"] for line in logs if line["event"] == "rpc_connection_dropped"]
    assert any(reason.startswith("TLS handshake failed") for reason in reasons)


async def test_handshake_that_never_ends_is_dropped(autojump_clock: object) -> None:
    server = make_server({UNARY: answer}, limits=ServerLimits(timeouts=Timeouts(handshake_s=6)))
    near, far = memory_stream_pair()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            started_s = trio.current_time()
            nursery.start_soon(
                server.serve_connection, trio.SSLStream(far, server_context(CERT), server_side=True)
            )
            await near.send_all(b"\x16")
            assert await near.receive_some() == b""
            assert trio.current_time() - started_s == pytest.approx(6)
    await wait_all_tasks_blocked()
    assert server.open_connections == 0
    assert [line["reason"] for line in logs if "reason" in line] == ["TLS handshake timed out"]
