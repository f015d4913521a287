"""A call with more metadata than an end accepts fails alone, between grpcio and us.

grpcio sends any metadata, whatever limit the peer has advertised, and so do we.
"""

from __future__ import annotations

import grpc
import pytest
from grpclib.const import Status

from minicloud.http2.config import Http2Limits
from tests.interop import ours, theirs
from tests.interop.ours import UNARY, Stream, our_channel, our_server
from tests.interop.theirs import Context, grpcio_channel, grpcio_server
from tests.interop.wiretap import wiretap

PASSES = "v" * 8000  # what every implementation takes
TOO_LONG = "v" * Http2Limits().max_header_list_bytes
GRPCIO_LIMIT = [("grpc.max_metadata_size", 9000), ("grpc.absolute_max_metadata_size", 9000)]
OVER_GRPCIO_LIMIT = "v" * 10_000


async def test_metadata_of_grpcio_over_our_servers_limit_fails_its_own_call() -> None:
    async with our_server() as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            assert await theirs.call(channel, metadata=[("key", PASSES)]) == b"x"
            error = await theirs.failed(channel, metadata=[("key", TOO_LONG)])
            assert await theirs.call(channel) == b"x"
        assert tap.connections == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "metadata is over the limit of 16384 bytes"


async def test_metadata_of_ours_over_grpcio_servers_limit_fails_its_own_call() -> None:
    async with (
        grpcio_server(options=GRPCIO_LIMIT) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        assert await ours.call(channel, metadata={"key": PASSES}) == b"x"
        error = await ours.failed(channel, metadata={"key": OVER_GRPCIO_LIMIT})
        assert await ours.call(channel) == b"x"
        assert tap.connections == 1
    assert error.status is Status.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("initial", [True, False])
async def test_metadata_of_grpcio_server_over_our_limit_fails_its_own_call(initial: bool) -> None:
    def handler(request: bytes, context: Context) -> bytes:
        metadata = [("key", request.decode())]
        if initial:
            context.send_initial_metadata(metadata)
        else:
            context.set_trailing_metadata(metadata)
        return b"x"

    async with (
        grpcio_server({UNARY: handler}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        assert await ours.call(channel, PASSES.encode()) == b"x"
        error = await ours.failed(channel, data=TOO_LONG.encode())
        assert await ours.call(channel, PASSES.encode()) == b"x"
        assert tap.connections == 1
    assert error.status is Status.RESOURCE_EXHAUSTED


async def test_metadata_of_our_server_over_grpcios_limit_fails_its_own_call() -> None:
    async def handler(stream: Stream) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(ours.Blob(b"x"))
        await stream.send_trailing_metadata(metadata={"key": request.data.decode()})

    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, GRPCIO_LIMIT) as channel:
            assert await theirs.call(channel, PASSES.encode()) == b"x"
            error = await theirs.failed(channel, data=OVER_GRPCIO_LIMIT.encode())
            assert await theirs.call(channel, PASSES.encode()) == b"x"
        assert tap.connections == 1
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
