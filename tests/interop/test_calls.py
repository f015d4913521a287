"""Calls, metadata and errors pass between grpcio and us, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from hyperframe.frame import DataFrame, HeadersFrame

from tests.interop import ours, theirs
from tests.interop.ours import BOTH_STREAM, SERVER_STREAM, UNARY, Blob, Stream, our_channel, our_server
from tests.interop.theirs import Context, grpcio_channel, grpcio_server, in_thread
from tests.interop.wiretap import Side, wiretap

SENT: list[tuple[str, str | bytes]] = [
    ("one", "1"),
    ("several", "a"),
    ("several", "b"),
    ("bytes-bin", bytes(range(256))),
    ("none-bin", b""),
]
ERRORS = [status for status in Status if status is not Status.OK]
TEXT = "Zürich ☃ is 100%\nfull"


async def test_grpcio_client_calls_each_cardinality_of_our_server() -> None:
    async with our_server() as up:
        with grpcio_channel(up.port) as channel:
            await in_thread(theirs.call_each_cardinality, channel)
        assert [status for _, status in up.ends.calls] == [Status.OK] * 4


async def test_our_client_calls_each_cardinality_of_grpcio_server() -> None:
    async with grpcio_server() as up, our_channel(up.port) as channel:
        await ours.call_each_cardinality(channel)


async def test_grpcio_client_and_our_server_exchange_metadata() -> None:
    received: list[tuple[str, str | bytes]] = []

    async def handler(stream: Stream) -> None:
        received.extend(stream.metadata.items())
        await stream.send_initial_metadata(metadata=SENT)
        await ours.echo(stream)
        await stream.send_trailing_metadata(metadata=SENT)

    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            _, call = await in_thread(
                channel.unary_unary(UNARY).with_call, b"x", metadata=SENT, timeout=theirs.WAIT_S
            )
            initial, trailing = list(call.initial_metadata()), list(call.trailing_metadata())
    assert received == SENT
    (request_id,) = [pair for pair in initial if pair[0] == "x-request-id"]
    initial.remove(request_id)
    assert initial == SENT
    assert trailing == SENT


async def test_our_client_and_grpcio_server_exchange_metadata() -> None:
    received: list[tuple[str, str | bytes]] = []

    def handler(request: bytes, context: Context) -> bytes:
        received.extend(tuple(pair) for pair in context.invocation_metadata())
        context.send_initial_metadata(SENT)
        context.set_trailing_metadata(SENT)
        return request

    async with grpcio_server({UNARY: handler}) as up, our_channel(up.port) as channel:
        async with ours.request(channel, UNARY, metadata=SENT) as stream:
            await stream.send_message(Blob(b"x"), end=True)
            await stream.recv_message()
        assert stream.initial_metadata is not None
        assert stream.trailing_metadata is not None
        initial, trailing = list(stream.initial_metadata.items()), list(stream.trailing_metadata.items())
    assert [pair for pair in received if pair[0] != "user-agent"] == SENT
    assert [pair for pair in initial if pair[0] != "grpc-accept-encoding"] == SENT
    assert trailing == SENT


async def test_errors_of_our_handler_reach_grpcio_in_trailers_alone() -> None:
    async def handler(stream: Stream) -> None:
        message = await stream.recv_message()
        assert message is not None
        raise GRPCError(Status(int(message.data)), TEXT)

    async with our_server({UNARY: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            for sent, status in enumerate(ERRORS):
                error = await theirs.failed(channel, data=str(status.value).encode())
                assert error.code().value[0] == status.value
                assert error.details() == TEXT
                (headers,) = tap.frames(Side.SERVER, HeadersFrame)[sent:]
                assert "END_STREAM" in headers.flags
        # grpcio takes more than it should.
        messages = {headers["grpc-message"] for headers in tap.headers(Side.SERVER)}
    assert messages == {"Z%C3%BCrich %E2%98%83 is 100%25%0Afull"}


async def test_errors_of_grpcio_handler_reach_us_in_trailers_alone() -> None:
    async with (
        grpcio_server({UNARY: _abort}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
    ):
        for sent, status in enumerate(ERRORS):
            error = await ours.failed(channel, data=str(status.value).encode())
            assert (error.status, error.message) == (status, TEXT)
            (headers,) = tap.frames(Side.SERVER, HeadersFrame)[sent:]
            assert "END_STREAM" in headers.flags


def _abort(request: bytes, context: Context) -> bytes:
    code = next(code for code in grpc.StatusCode if code.value[0] == int(request))
    context.abort(code, TEXT)
    raise AssertionError("abort raises")


async def test_error_after_messages_reaches_grpcio_after_them() -> None:
    async def handler(stream: Stream) -> None:
        await ours.split(stream)
        raise GRPCError(Status.DATA_LOSS, TEXT)

    async with our_server({SERVER_STREAM: handler}) as up:
        with grpcio_channel(up.port) as channel:
            messages, error = await in_thread(_read_to_error, channel)
    assert messages == [b"a", b"b"]
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, TEXT)


def _read_to_error(channel: Any) -> tuple[list[bytes], Any]:
    messages = []
    try:
        for message in channel.unary_stream(SERVER_STREAM)(b"ab", timeout=theirs.WAIT_S):
            messages.append(message)  # noqa: PERF402
    except grpc.RpcError as exc:
        return messages, exc
    raise AssertionError("the call succeeded")


async def test_error_of_grpcio_after_messages_reaches_us_after_them() -> None:
    def handler(request: bytes, context: Context) -> Iterator[bytes]:
        yield from theirs.split(request, context)
        context.abort(grpc.StatusCode.DATA_LOSS, TEXT)

    async with (
        grpcio_server({SERVER_STREAM: handler}) as up,
        our_channel(up.port) as channel,
        ours.request(channel, SERVER_STREAM) as stream,
    ):
        await stream.send_message(Blob(b"ab"), end=True)
        assert await stream.recv_message() == Blob(b"a")
        assert await stream.recv_message() == Blob(b"b")
        with pytest.raises(GRPCError) as caught:
            await stream.recv_message()
    assert (caught.value.status, caught.value.message) == (Status.DATA_LOSS, TEXT)


async def test_handler_of_ours_that_crashes_tells_grpcio_nothing_and_the_connection_lives() -> None:
    async def handler(stream: Stream) -> None:
        raise RuntimeError("a secret")

    async with our_server({SERVER_STREAM: handler}) as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            _, error = await in_thread(_read_to_error, channel)
            assert await theirs.call(channel) == b"x"
        assert tap.connections == 1
    assert error.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in error.details()


async def test_handler_of_grpcio_that_crashes_is_unknown_to_us() -> None:
    def handler(request: bytes, context: Context) -> bytes:
        raise RuntimeError("a secret")

    async with grpcio_server({UNARY: handler}) as up, our_channel(up.port) as channel:
        assert (await ours.failed(channel)).status is Status.UNKNOWN


@pytest.mark.parametrize("path", ["/interop.Echo/Nothing", "/no.Service/Unary"])
async def test_method_our_server_does_not_have_is_unimplemented_to_grpcio(path: str) -> None:
    async with our_server() as up:
        with grpcio_channel(up.port) as channel:
            error = await theirs.failed(channel, path)
            assert await theirs.call(channel) == b"x"
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert path in error.details()


@pytest.mark.parametrize("path", ["/interop.Echo/Nothing", "/no.Service/Unary"])
async def test_method_grpcio_server_does_not_have_is_unimplemented_to_us(path: str) -> None:
    async with grpcio_server() as up, our_channel(up.port) as channel:
        async with channel.request(path, Cardinality.UNARY_UNARY, Blob, Blob) as stream:
            await stream.send_message(Blob(b"x"), end=True)
            with pytest.raises(GRPCError) as caught:
                await stream.recv_message()
        assert await ours.call(channel) == b"x"
    assert caught.value.status is Status.UNIMPLEMENTED


# Rich errors

_DETAIL = wrappers_pb2.StringValue(value=TEXT)


def _status_class() -> Any:
    """Return the class of `google.rpc.Status`, whose package is not among our dependencies."""
    file = descriptor_pb2.FileDescriptorProto(
        name="status.proto", package="google.rpc", syntax="proto3", dependency=["google/protobuf/any.proto"]
    )
    message = file.message_type.add(name="Status")
    field = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="details",
        number=3,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Any",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


def _check_details(serialized: object) -> None:
    assert isinstance(serialized, bytes)
    status = _status_class().FromString(serialized)
    assert (status.code, status.message) == (Status.FAILED_PRECONDITION.value, TEXT)
    (packed,) = status.details
    assert packed.type_url == "type.googleapis.com/google.protobuf.StringValue"
    assert wrappers_pb2.StringValue.FromString(packed.value) == _DETAIL


async def test_error_details_of_ours_reach_grpcio() -> None:
    async def handler(stream: Stream) -> None:
        raise GRPCError(Status.FAILED_PRECONDITION, TEXT, [_DETAIL])

    async with our_server({UNARY: handler}) as up:
        with grpcio_channel(up.port) as channel:
            error = await theirs.failed(channel)
    assert error.details() == TEXT
    _check_details(dict(error.trailing_metadata())["grpc-status-details-bin"])


async def test_error_details_of_grpcio_reach_us() -> None:
    def handler(request: bytes, context: Context) -> bytes:
        status = _status_class()(code=Status.FAILED_PRECONDITION.value, message=TEXT)
        status.details.add().Pack(_DETAIL)
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, TEXT)
        raise AssertionError("abort raises")

    async with grpcio_server({UNARY: handler}) as up, our_channel(up.port) as channel:
        error = await ours.failed(channel)
    assert (error.status, error.message) == (Status.FAILED_PRECONDITION, TEXT)
    _check_details(error.details)


async def test_several_calls_at_once_share_one_connection_of_grpcio() -> None:
    async with our_server() as up, wiretap(up.port) as tap:
        with grpcio_channel(tap.port) as channel:
            futures = [
                channel.unary_unary(UNARY).future(bytes([number]), timeout=theirs.WAIT_S)
                for number in range(50)
            ]
            answers = [await in_thread(future.result) for future in futures]
        assert tap.connections == 1
        assert len(tap.frames(Side.CLIENT, DataFrame)) >= 50
    assert answers == [bytes([number]) for number in range(50)]


async def test_stream_that_our_client_ends_early_is_ended_well_by_grpcio() -> None:
    """The server's status can come while the client is still sending."""

    def handler(requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        yield next(requests)

    async with grpcio_server({BOTH_STREAM: handler}) as up, our_channel(up.port) as channel:
        async with ours.request(channel, BOTH_STREAM) as stream:
            await stream.send_message(Blob(b"a"))
            assert await stream.recv_message() == Blob(b"a")
            assert await stream.recv_message() is None
            await stream.send_message(Blob(b"nobody reads this"))
        assert await ours.call(channel) == b"x"


@pytest.mark.parametrize("text", ["not accepted: ", " before", "  ", "nul \0 and \r\n inside"])
async def test_any_error_text_of_grpcio_server_ends_its_call_and_no_other(text: str) -> None:
    def refuse(request: bytes, context: Context) -> bytes:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        raise AssertionError

    async with (
        grpcio_server({UNARY: refuse}) as up,
        wiretap(up.port) as tap,
        our_channel(tap.port) as channel,
        ours.request(channel, BOTH_STREAM) as beside,
    ):
        await beside.send_message(Blob(b"one"))
        assert await beside.recv_message() == Blob(b"one")
        error = await ours.failed(channel)
        await beside.send_message(Blob(b"two"), end=True)
        assert await beside.recv_message() == Blob(b"two")
        assert tap.connections == 1
    assert (error.status, error.message) == (Status.INVALID_ARGUMENT, text)


@pytest.mark.parametrize("text", ["nope ", " before", "  ", "nul \0 and \r\n inside"])
async def test_any_error_text_of_ours_reaches_grpcio(text: str) -> None:
    async def refuse(stream: Stream) -> None:
        raise GRPCError(Status.NOT_FOUND, text)

    async with our_server({UNARY: refuse}) as up:
        with grpcio_channel(up.port) as channel:
            error = await theirs.failed(channel)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, text)


async def test_metadata_of_grpcio_with_outer_spaces_is_stripped() -> None:
    seen: list[str | bytes] = []

    async def look(stream: Stream) -> None:
        seen.append(stream.metadata["key"])
        await ours.echo(stream)

    async with our_server({UNARY: look}) as up:
        with grpcio_channel(up.port) as channel:
            assert await theirs.call(channel, metadata=[("key", " v w ")]) == b"x"
    assert seen == ["v w"]
