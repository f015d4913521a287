"""This is the stock side of the interop tests: grpcio's C core, as client and as server of the echo service.

Its API blocks, so its calls are made with `in_thread` and its handlers run on a pool of threads. A handler
waits for `WAIT_S` at most, because a thread cannot be cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeAlias, TypeVar

import grpc
import trio

from tests.interop.ours import BOTH_STREAM, BOUND_S, CLIENT_STREAM, SERVER_STREAM, SERVICE, UNARY

WAIT_S = 20.0

# grpcio has no types of its own.
Context: TypeAlias = Any
Options: TypeAlias = Sequence[tuple[str, object]]
# Unlimited, where it is not the limit that is tested.
ANY_SIZE: Options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of `function` in a thread. After a cancellation, closing its channel ends
    the thread."""
    return await trio.to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)


# The client


def grpcio_channel(port: int, options: Options = (), credentials: Any = None, compression: Any = None) -> Any:
    """Return a channel, to be entered with `with`, that shares no connection with others."""
    target = f"127.0.0.1:{port}"
    options = [("grpc.use_local_subchannel_pool", 1), *options]
    if credentials is not None:
        return grpc.secure_channel(target, credentials, options, compression)
    return grpc.insecure_channel(target, options, compression)


async def call(channel: Any, data: bytes = b"x", **kwargs: Any) -> bytes:
    """Return the answer of a unary call. `kwargs` are grpcio's: timeout, metadata, wait_for_ready, …"""
    kwargs.setdefault("timeout", WAIT_S)
    answer = await in_thread(channel.unary_unary(UNARY), data, **kwargs)
    assert isinstance(answer, bytes)
    return answer


async def failed(channel: Any, path: str = UNARY, data: bytes = b"x", **kwargs: Any) -> Any:
    """Return the RpcError of a unary call that must fail."""
    kwargs.setdefault("timeout", WAIT_S)
    try:
        answer = await in_thread(channel.unary_unary(path), data, **kwargs)
    except grpc.RpcError as exc:
        return exc
    raise AssertionError(f"the call succeeded, with {len(answer)} bytes")


def call_each_cardinality(channel: Any) -> None:
    """Check the answers of all four methods of an echo service. Blocks."""
    assert channel.unary_unary(UNARY)(b"one", timeout=WAIT_S) == b"one"
    assert list(channel.unary_stream(SERVER_STREAM)(b"abc", timeout=WAIT_S)) == [b"a", b"b", b"c"]
    assert channel.stream_unary(CLIENT_STREAM)(iter([b"a", b"", b"bc"]), timeout=WAIT_S) == b"abc"
    both = channel.stream_stream(BOTH_STREAM)(iter([b"first", b"second"]), timeout=WAIT_S)
    assert list(both) == [b"first", b"second"]


def in_two(go_on: threading.Event) -> Iterator[bytes]:
    """Yield the messages of a call that stays open until `go_on`."""
    yield b"before"
    go_on.wait(WAIT_S)
    yield b"after"


# The server


def echo(request: bytes, context: Context) -> bytes:
    return request


def split(request: bytes, context: Context) -> Iterator[bytes]:
    for byte in request:
        yield bytes([byte])


def join(requests: Iterator[bytes], context: Context) -> bytes:
    return b"".join(requests)


def echo_each(requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
    yield from requests


_ECHO: Mapping[str, Callable[[Any, Context], Any]] = {
    UNARY: echo,
    SERVER_STREAM: split,
    CLIENT_STREAM: join,
    BOTH_STREAM: echo_each,
}
_WRAPPERS = {
    UNARY: grpc.unary_unary_rpc_method_handler,
    SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    BOTH_STREAM: grpc.stream_stream_rpc_method_handler,
}


@dataclass
class GrpcioServer:
    server: Any
    port: int

    async def stop(self, grace_s: float | None = None) -> None:
        """Stop, and return when every call has ended."""
        stopped = self.server.stop(grace_s)
        await in_thread(stopped.wait, WAIT_S)


@asynccontextmanager
async def grpcio_server(
    handlers: Mapping[str, Callable[[Any, Context], Any]] | None = None,
    *,
    generic_handlers: Sequence[Any] = (),
    options: Options = (),
    credentials: Any = None,
    compression: Any = None,
    port: int = 0,
) -> AsyncIterator[GrpcioServer]:
    """Serve the echo service, with some of its handlers replaced, and `generic_handlers`."""
    methods = {
        path.rpartition("/")[2]: _WRAPPERS[path](handler)
        for path, handler in {**_ECHO, **(handlers or {})}.items()
    }
    pool = ThreadPoolExecutor(16)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0), *options], compression=compression)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, methods), *generic_handlers)
    )
    address = f"127.0.0.1:{port}"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    served = GrpcioServer(server, port)
    try:
        with trio.fail_after(BOUND_S):
            yield served
    finally:
        with trio.CancelScope(shield=True):
            await served.stop()
            await in_thread(pool.shutdown)
