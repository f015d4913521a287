"""A gRPC client: one server, reached by any of several addresses, over one connection at a time.

What always holds: nothing is connected before the first call; at most one task is connecting; a call waits
for it no longer than its deadline, and, unless told to, not through a failure.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import TypeVar

import grpclib.metadata
import structlog
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from minicloud import __version__
from minicloud.net.address import Address
from minicloud.net.backoff import Backoff
from minicloud.request_id import bind_request_id
from minicloud.rpc.client_connection import ClientCall, ClientConnection
from minicloud.rpc.client_stream import ClientStream, RecvT, SendT
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.framing import ACCEPTED_ENCODINGS
from minicloud.rpc.metadata import Header, Headers, MetadataLike, encode_metadata, unindexed
from minicloud.rpc.timeouts import encode_timeout

_log = structlog.get_logger()

_USER_AGENT = f"grpc-python-minicloud/{__version__}".encode()

# A connection may end between being made and being used; one that always does is not asked for ever.
_MAX_CONNECTIONS_A_CALL = 3

# Before a refused call is sent again once more.
_REFUSED = Backoff(initial_s=0.05, max_s=1.0)

StubT = TypeVar("StubT")

Connect = Callable[[], Awaitable[trio.abc.Stream]]
"""Makes a connected stream, TLS done. OSError, UnicodeError (of a host name) and trio's resource errors say
that it could not; anything else is a fault, and ends the nursery."""


class Channel:
    """Makes calls. Its tasks live in `nursery`, where `close` ends them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        connects: Iterable[Connect],
        *,
        random: Random,
        config: ChannelConfig | None = None,
        authority: str = "localhost",
        secure: bool = False,
    ) -> None:
        """`connects` are tried in turn, beginning with the last that worked. `random` is for jitter."""
        self._nursery = nursery
        self._connects = list(connects)
        if not self._connects:
            raise ValueError("a channel wants at least one address")
        self._random = random
        self._config = config or ChannelConfig()
        self._authority = authority.encode("ascii")
        self._scheme = b"https" if secure else b"http"
        self._current: ClientConnection | None = None
        self._all: dict[ClientConnection, None] = {}  # those that still drain, too; a set with an order
        self._preferred = 0
        self._connecting: trio.CancelScope | None = None
        self._failures = 0  # rounds in a row
        self._failed_rounds = 0
        self._retry_at_s = 0.0
        self._last_error = ""
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[SendT],
        reply_type: type[RecvT],
        *,
        timeout: float | None = None,
        deadline: grpclib.metadata.Deadline | None = None,
        metadata: MetadataLike | None = None,
    ) -> ClientStream[SendT, RecvT]:
        """A call of the method whose path is `name`, to be entered with `async with`.

        `timeout` is in seconds; the earlier of it and `deadline` counts. Raises ValueError or TypeError for
        metadata that cannot be sent.
        """
        left_s = min(
            math.inf if timeout is None else timeout,
            math.inf if deadline is None else deadline.time_remaining(),
        )
        headers = [
            (b":method", b"POST"),
            (b":scheme", self._scheme),
            (b":path", name.encode("ascii")),
            (b":authority", self._authority),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", _USER_AGENT),
            (b"grpc-accept-encoding", ACCEPTED_ENCODINGS),
            *encode_metadata(metadata),
        ]
        return ClientStream(
            self,
            headers,
            cardinality,
            request_type,
            reply_type,
            deadline_s=trio.current_time() + left_s,
            retry_buffer_bytes=self._config.retry_buffer_bytes,
        )

    def stub(self, stub_type: Callable[..., StubT]) -> StubT:
        """A generated stub on this channel. (Its declared parameter is grpclib's own channel.)"""
        return stub_type(self)

    @property
    def connected(self) -> bool:
        """Whether a call made now would find a connection."""
        return self._current is not None and self._current.usable

    async def open_call(self, headers: Headers, deadline_s: float) -> ClientCall:
        """For `ClientStream`: send a request's headers. Raises GRPCError UNAVAILABLE."""
        for _ in range(_MAX_CONNECTIONS_A_CALL):
            connection = await self._connection()
            timeout: list[Header] = []
            if deadline_s != math.inf:
                left = encode_timeout(deadline_s - trio.current_time())
                timeout = [unindexed(b"grpc-timeout", left.encode())]
            call = await connection.open_call([*headers, *timeout])
            if call is not None:
                return call
        raise GRPCError(Status.UNAVAILABLE, "the server ends its connections as soon as they are made")

    async def pause(self, failures: int) -> None:
        """For `ClientStream`: wait before a call that was refused is sent again."""
        await trio.sleep(_REFUSED.delay_s(failures, self._random))

    def close(self) -> None:
        """End every connection and call; the tasks in the nursery end soon after."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._all):
            connection.close()
        self._changed.unpark_all()

    async def _connection(self) -> ClientConnection:
        """A usable connection. Raises GRPCError UNAVAILABLE."""
        failed_rounds = self._failed_rounds
        while True:
            if self._closed:
                raise GRPCError(Status.UNAVAILABLE, "the channel is closed")
            if self._current is not None and self._current.usable:
                return self._current
            waits = self._config.wait_for_ready
            if self._connecting is None:
                left_s = self._retry_at_s - trio.current_time()
                if left_s <= 0:
                    self._connecting = trio.CancelScope()
                    self._nursery.start_soon(self._connect, self._connecting)
                elif not waits:
                    raise GRPCError(Status.UNAVAILABLE, self._last_error)
            if not waits and self._failed_rounds > failed_rounds:
                raise GRPCError(Status.UNAVAILABLE, self._last_error)
            with trio.move_on_at(self._retry_at_s if self._connecting is None else math.inf):
                await self._changed.park()

    async def _connect(self, scope: trio.CancelScope) -> None:
        """Try each address once; succeed with the first that lets us in."""
        bind_request_id("")  # the caller's, whose call this outlives
        errors = []
        with scope:
            for _ in self._connects:
                try:
                    await self._connect_once(self._connects[self._preferred])
                except (OSError, UnicodeError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    errors.append(_reason(exc))
                    self._preferred = (self._preferred + 1) % len(self._connects)
                else:
                    self._failures = 0
                    break
            else:
                delay_s = self._config.backoff.delay_s(self._failures, self._random)
                self._failures += 1
                self._failed_rounds += 1
                self._retry_at_s = trio.current_time() + delay_s
                self._last_error = "cannot connect: " + "; ".join(errors)
                _log.debug("rpc_connect_failed", errors=errors, retry_in_s=round(delay_s, 3))
        self._connecting = None
        self._changed.unpark_all()

    async def _connect_once(self, connect: Connect) -> None:
        connection = None
        with trio.move_on_after(self._config.connect_timeout_s):
            connection = ClientConnection(await connect(), self._config)
            self._all[connection] = None
            self._nursery.start_soon(self._run, connection)
            if await connection.ready():
                self._current = connection
                return
            transport = connection.transport
            raise OSError(f"{transport.peer}: no HTTP/2 there: {transport.close_reason}")
        if connection is not None:
            connection.transport.close("no settings in time")
        raise OSError(f"timed out after {self._config.connect_timeout_s:g} s")

    async def _run(self, connection: ClientConnection) -> None:
        try:
            await connection.run()
        finally:
            del self._all[connection]
            if self._current is connection:
                self._current = None


@asynccontextmanager
async def open_channel(
    addresses: Iterable[tuple[str, int]],
    *,
    random: Random,
    config: ChannelConfig | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Channel]:
    """A channel to the server at any of `addresses` (host, port), open for the `async with` block.

    With `ssl_context`, on which ALPN is set to h2, over TLS. What the block raises comes out as it is, not
    in an exception group: no task behind a channel raises.
    """
    targets = [Address(*address) for address in addresses]
    if ssl_context is not None:
        ssl_context.set_alpn_protocols(["h2"])
    connects = [partial(_connect_tcp, target, ssl_context) for target in targets]
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        channel = Channel(
            nursery,
            connects,
            random=random,
            config=config,
            authority=targets[0].authority if targets else "",
            secure=ssl_context is not None,
        )
        try:
            yield channel
        except Exception as exc:
            failure = exc
        finally:
            channel.close()
    if failure is not None:
        raise failure


async def _connect_tcp(target: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    try:
        tcp = await trio.open_tcp_stream(*target)
        return tcp if ssl_context is None else await _start_tls(tcp, ssl_context, target.host)
    except (OSError, UnicodeError, trio.BrokenResourceError) as exc:
        raise OSError(f"{target}: {_reason(exc)}") from None


async def _start_tls(tcp: trio.SocketStream, ssl_context: ssl.SSLContext, host: str) -> trio.abc.Stream:
    tls = trio.SSLStream(tcp, ssl_context, server_hostname=host)
    try:
        await tls.do_handshake()
        if tls.selected_alpn_protocol() != "h2":
            raise OSError("the server does not speak h2 by ALPN")
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


def _reason(exc: Exception) -> str:
    """What went wrong underneath, in few words."""
    cause: BaseException = exc.__cause__ or exc
    while isinstance(cause, BaseExceptionGroup):  # one for each address of a name
        cause = cause.exceptions[-1]
    if isinstance(cause, OSError) and not isinstance(cause, (ssl.SSLError, socket.gaierror)) and cause.errno:
        return os.strerror(cause.errno)  # Trio's text says the address, too
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
