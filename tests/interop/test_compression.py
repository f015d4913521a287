"""Our server and our client read compressed messages of grpcio. We send none ourselves."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from grpclib.const import Status

from minicloud.rpc.config import ChannelConfig, ServerLimits
from tests.interop import ours, theirs
from tests.interop.ours import SERVER_STREAM, UNARY, Blob, our_channel, our_server
from tests.interop.theirs import Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, wiretap

LIMIT = 1_000_000
ZEROS = bytes(LIMIT)


async def test_gzip_of_grpcio_client_is_taken_in_each_cardinality() -> None:
    async with our_server() as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, compression=grpc.Compression.Gzip) as channel:
            await in_thread(theirs.call_each_cardinality, channel)
            before = tap.data_bytes(Side.CLIENT)
            assert await theirs.call(channel, ZEROS) == ZEROS
        assert tap.data_bytes(Side.CLIENT) - before < 10_000


async def test_gzip_of_grpcio_server_is_taken_in_each_cardinality() -> None:
    async with (
        grpcio_server(compression=grpc.Compression.Gzip) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        await ours.call_each_cardinality(channel)
        before = tap.data_bytes(Side.SERVER)
        assert await ours.call(channel, ZEROS) == ZEROS
        assert tap.data_bytes(Side.SERVER) - before < 10_000


async def test_gzip_of_some_messages_of_a_stream_is_taken() -> None:
    def handler(request: bytes, context: Context) -> Iterator[bytes]:
        for number, size in enumerate((5000, 6000, 7000)):
            if number == 1:
                context.disable_next_message_compression()
            yield bytes(size)

    async with (
        grpcio_server({SERVER_STREAM: handler}, compression=grpc.Compression.Gzip) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, SERVER_STREAM) as stream,
    ):
        await stream.send_message(Blob(b"x"), end=True)
        assert [len(message.data) async for message in stream] == [5000, 6000, 7000]
        assert 6000 < tap.data_bytes(Side.SERVER) < 6500


async def test_message_that_inflates_past_the_limit_is_exhausted_to_grpcio() -> None:
    async with our_server(limits=ServerLimits(max_message_bytes=LIMIT)) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, compression=grpc.Compression.Gzip) as channel:
            error = await theirs.failed(channel, data=bytes(LIMIT + 1))
        assert tap.data_bytes(Side.CLIENT) < 10_000  # as sent it is within the limit
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_message_of_grpcio_that_inflates_past_our_limit_is_exhausted() -> None:
    config = ChannelConfig(max_message_bytes=LIMIT)

    def handler(request: bytes, context: Context) -> bytes:
        return bytes(LIMIT + 1)

    async with (
        grpcio_server({UNARY: handler}, compression=grpc.Compression.Gzip) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port, config=config) as channel,
    ):
        error = await ours.failed(channel)
        assert tap.data_bytes(Side.SERVER) < 10_000
    assert error.status is Status.RESOURCE_EXHAUSTED


async def test_deflate_of_grpcio_client_is_taken() -> None:
    async with our_server() as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port, compression=grpc.Compression.Deflate) as channel:
            await in_thread(theirs.call_each_cardinality, channel)
            assert await theirs.call(channel, ZEROS) == ZEROS
        assert tap.data_bytes(Side.CLIENT) < 10_000


async def test_deflate_of_grpcio_server_is_taken() -> None:
    async with (
        grpcio_server(compression=grpc.Compression.Deflate) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        await ours.call_each_cardinality(channel)
        assert await ours.call(channel, ZEROS) == ZEROS
        assert tap.data_bytes(Side.SERVER) < 10_000
