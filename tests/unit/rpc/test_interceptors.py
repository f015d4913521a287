"""Interceptors wrap the handlers of a server, and decide by the context of the call."""

from __future__ import annotations

from random import Random

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from structlog.testing import capture_logs

from minicloud.rpc.channel import Channel
from minicloud.rpc.context import CallContext, current_call
from minicloud.rpc.interceptors import HandlerFunc, Interceptor, around_each, translating
from minicloud.rpc.server_stream import AnyStream
from tests.unit.rpc.support import UNARY, Stream, answer, call, connect_to, joined, make_server, status_of


def authorise(method: str, handle: HandlerFunc) -> HandlerFunc:
    """Serve local peers, and those that send the right word."""

    async def handler(stream: AnyStream) -> None:
        context = stream.context
        if context.peer.addr() is None and context.metadata.get("word") != "friend":
            raise GRPCError(Status.PERMISSION_DENIED, f"{context.peer} must not call {method}")
        await handle(stream)

    return handler


async def test_authorisation_by_peer_lets_some_calls_through_and_ends_the_others() -> None:
    async with joined({UNARY: answer}, interceptors=[around_each(authorise)]) as (_, channel):
        assert await call(channel, metadata={"word": "friend"}) == 1
        error = await status_of(channel)
    assert error.status is Status.PERMISSION_DENIED
    assert error.message == f"memory must not call {UNARY}"


async def test_first_interceptor_is_the_outermost() -> None:
    order: list[str] = []

    def noting(name: str) -> Interceptor:
        def wrap(method: str, handle: HandlerFunc) -> HandlerFunc:
            async def handler(stream: AnyStream) -> None:
                order.append(f"{name} begins")
                await handle(stream)
                order.append(f"{name} ends")

            return handler

        return around_each(wrap)

    interceptors = [noting("first"), noting("second")]
    async with joined({UNARY: answer}, interceptors=interceptors) as (_, channel):
        await call(channel)
    assert order == ["first begins", "second begins", "second ends", "first ends"]


def as_missing(exc: Exception) -> GRPCError | None:
    return GRPCError(Status.NOT_FOUND, "missing") if isinstance(exc, KeyError) else None


async def test_translated_exception_out_of_a_nursery_of_the_handler_is_the_status() -> None:
    async def fails() -> None:
        raise KeyError("x")

    async def handler(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)

    async with joined({UNARY: handler}, interceptors=[translating(as_missing)]) as (_, channel):
        error = await status_of(channel)
    assert (error.status, error.message) == (Status.NOT_FOUND, "missing")


@pytest.mark.parametrize("raised", [RuntimeError("secret"), ValueError("secret")])
async def test_exception_that_is_not_translated_stays_a_fault_of_ours(raised: Exception) -> None:
    async def handler(stream: Stream) -> None:
        raise raised

    with capture_logs() as logs:
        async with joined({UNARY: handler}, interceptors=[translating(as_missing)]) as (_, channel):
            error = await status_of(channel)
    assert (error.status, error.message) == (Status.UNKNOWN, "internal server error")
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["exc_info"] is raised


async def test_translation_that_fails_is_a_fault_of_ours() -> None:
    def translate(exc: Exception) -> GRPCError | None:
        raise RuntimeError("no table")

    async def handler(stream: Stream) -> None:
        raise KeyError("x")

    with capture_logs() as logs:
        async with joined({UNARY: handler}, interceptors=[translating(translate)]) as (_, channel):
            error = await status_of(channel)
    assert error.status is Status.UNKNOWN
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert str(line["exc_info"]) == "no table"


async def test_current_call_is_that_of_the_handler_and_of_the_tasks_it_starts() -> None:
    seen: list[CallContext] = []

    async def look() -> None:
        seen.append(current_call())

    async def handler(stream: Stream) -> None:
        await look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
        assert seen == [stream.context] * 2
        await answer(stream)

    async with joined({UNARY: handler}) as (_, channel):
        await call(channel, metadata={"k": "v", "x-request-id": "one"}, timeout=5)
    context = seen[0]
    assert context.method == UNARY
    assert context.peer.addr() is None
    assert context.peer.cert() is None
    assert context.metadata["k"] == "v"
    assert context.request_id == "one"
    assert (context.user_agent or "").startswith("grpc-python-minicloud/")
    assert context.deadline is not None
    assert 0 < context.deadline.time_remaining() <= 5


async def test_call_without_a_deadline_has_none_in_its_context() -> None:
    deadlines = []

    async def handler(stream: Stream) -> None:
        deadlines.append(current_call().deadline)
        await answer(stream)

    async with joined({UNARY: handler}) as (_, channel):
        await call(channel)
    assert deadlines == [None]


async def test_connection_made_by_a_handler_does_not_keep_its_call() -> None:
    connects = 0

    async def forward(stream: Stream) -> None:
        await call(onward)
        await answer(stream)

    server = make_server({UNARY: answer})
    async with trio.open_nursery() as nursery:
        connect_to_server = connect_to(server, nursery)

        async def connect() -> trio.abc.Stream:
            nonlocal connects
            connects += 1
            with pytest.raises(LookupError):
                current_call()
            return await connect_to_server()

        onward = Channel(nursery, [connect], random=Random(1))
        async with joined({UNARY: forward}) as (_, channel):
            await call(channel)
        nursery.cancel_scope.cancel()
    assert connects == 1


async def test_context_cannot_be_changed() -> None:
    async def handler(stream: Stream) -> None:
        with pytest.raises(AttributeError):
            stream.context.request_id = "other"  # type: ignore[misc]
        with pytest.raises(AttributeError):
            stream.context.role = "admin"  # type: ignore[attr-defined]
        await answer(stream)

    async with joined({UNARY: handler}) as (_, channel):
        await call(channel)


def test_outside_of_a_handler_there_is_no_current_call() -> None:
    with pytest.raises(LookupError, match="no call"):
        current_call()
