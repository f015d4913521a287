"""A gRPC client: one server, reached by any of several addresses, over one connection at a time.

Always holds:
- Nothing is connected before the first call (test_channel_connects_with_its_first_call_and_only_once).
- At most one round of connecting is under way (asserted).
- A call ends by its deadline (test_call_that_cannot_connect_within_its_deadline_is_unavailable).
- A call that has time left never fails by a round of connecting that began before it (DESIGN 52;
  test_call_made_during_a_round_that_fails_is_answered_by_the_next).
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import grpclib.metadata
import structlog
import trio
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from minicloud import __version__
from minicloud.http2.compression import unindexed
from minicloud.http2.headers import Header, Headers
from minicloud.net.address import Address
from minicloud.net.backoff import Backoff
from minicloud.request_id import bind_request_id
from minicloud.rpc.client_connection import ClientCall, ClientConnection
from minicloud.rpc.client_stream import ClientStream, RecvT, SendT
from minicloud.rpc.config import ChannelConfig
from minicloud.rpc.connecting import Connect, Connector, Find, always, tcp_ways
from minicloud.rpc.context import bind_call
from minicloud.rpc.framing import ACCEPTED_ENCODINGS
from minicloud.rpc.metadata import MetadataLike, encode_metadata
from minicloud.rpc.timeouts import encode_timeout

_log = structlog.get_logger()

_USER_AGENT = f"grpc-python-minicloud/{__version__}".encode()

# A connection may end between being made and being used. A server whose connections always do is given up.
_MAX_CONNECTIONS_A_CALL = 3

# The pauses before a refused call is sent again.
_REFUSED = Backoff(initial_s=0.05, max_s=1.0)

StubT = TypeVar("StubT")


class Channel:
    """A channel, on which calls are made. Its tasks live in `nursery`, where `close` ends them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        connects: Iterable[Connect] | Find,
        *,
        random: Random,
        config: ChannelConfig | None = None,
        authority: str = "localhost",
        secure: bool = False,
    ) -> None:
        """`connects` are the ways to the server, or a function that finds them for each round of connecting.

        The way that worked last is tried first. `random` is for jitter.
        """
        if not callable(connects):
            connects = list(connects)
            if not connects:
                raise ValueError("a channel wants at least one address")
            connects = always(connects)
        self._nursery = nursery
        self._random = random
        self._config = config or ChannelConfig()
        self._connector = Connector(connects, self._config, self._adopt)
        self._authority = authority.encode("ascii")
        self._scheme = b"https" if secure else b"http"
        self._current: ClientConnection | None = None
        self._all: dict[ClientConnection, None] = {}  # with those that still drain; a set with an order
        self._connecting: trio.CancelScope | None = None
        self._round = 0  # the number of the last round of connecting
        self._failures = 0  # of rounds in a row
        self._retry_at_s = 0.0
        self.problem = ""  # the reason why the last round of connecting failed; empty where it did not
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
        """True where a call made now would find a connection."""
        return self._current is not None and self._current.usable

    async def local_address(self, timeout_s: float) -> Address | None:
        """This end's address of the connection, which is made where there is none.

        None for a connection that has no address, such as one in memory. Raises GRPCError UNAVAILABLE where
        there is no connection within `timeout_s`.
        """
        with trio.move_on_after(timeout_s):
            connection = await self._connection(trio.current_time() + timeout_s)
            return connection.transport.local
        raise GRPCError(Status.UNAVAILABLE, self.problem or f"not connected within {timeout_s:g} s")

    def renew(self) -> None:
        """Make later calls use a new connection. Calls under way keep theirs."""
        if self._current is not None:
            self._current.retire()
            self._current = None

    async def open_call(self, headers: Headers, deadline_s: float) -> ClientCall:
        """Send a request's headers, for `ClientStream`. Raises GRPCError UNAVAILABLE."""
        for _ in range(_MAX_CONNECTIONS_A_CALL):
            connection = await self._connection(deadline_s)
            timeout: list[Header] = []
            if deadline_s != math.inf:
                left = encode_timeout(deadline_s - trio.current_time())
                timeout = [unindexed(b"grpc-timeout", left.encode())]
            call = await connection.open_call([*headers, *timeout])
            if call is not None:
                return call
        raise GRPCError(Status.UNAVAILABLE, "the server ends its connections as soon as they are made")

    async def pause(self, failures: int) -> None:
        """Wait before a refused call is sent again, for `ClientStream`."""
        await trio.sleep(_REFUSED.delay_s(failures, self._random))

    def close(self) -> None:
        """End every connection and call; the tasks in the nursery end soon after."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._all):
            connection.close()
        self._changed.unpark_all()

    async def _connection(self, deadline_s: float) -> ClientConnection:
        """A usable connection for a call that is to end by `deadline_s`. Raises GRPCError UNAVAILABLE."""
        began_s, round_before = trio.current_time(), self._round
        # The backoff between two rounds may take half of a call's time; the other half is for connecting.
        patience_ends_s = math.inf if deadline_s == math.inf else (began_s + deadline_s) / 2
        while True:
            if self._closed:
                raise GRPCError(Status.UNAVAILABLE, "the channel is closed")
            if self._current is not None and self._current.usable:
                return self._current
            wakes_s = math.inf
            if self._connecting is None:
                if self._round == round_before:
                    wakes_s = min(self._retry_at_s, patience_ends_s)
                elif self._config.wait_for_ready:
                    wakes_s = self._retry_at_s
                else:
                    raise GRPCError(Status.UNAVAILABLE, self.problem)
                if trio.current_time() >= wakes_s:
                    self._begin_round()
                    wakes_s = math.inf
            with trio.move_on_at(wakes_s):
                await self._changed.park()

    def _begin_round(self) -> None:
        assert self._connecting is None, "a round of connecting is under way"
        self._round += 1
        self._connecting = trio.CancelScope()
        self._nursery.start_soon(self._connect, self._connecting)

    async def _connect(self, scope: trio.CancelScope) -> None:
        # The connection outlives the call that makes it, and a handler that makes the call.
        bind_request_id("")
        bind_call(None)
        with scope:
            try:
                self._current = await self._connector.connect()
                self._failures = 0
                self.problem = ""
            except OSError as error:
                delay_s = self._config.backoff.delay_s(self._failures, self._random)
                self._failures += 1
                self._retry_at_s = trio.current_time() + delay_s
                self.problem = f"cannot connect: {error}"
                _log.debug("rpc_connect_failed", error=str(error), retry_in_s=round(delay_s, 3))
        self._connecting = None
        self._changed.unpark_all()

    def _adopt(self, connection: ClientConnection) -> None:
        self._all[connection] = None
        self._nursery.start_soon(self._run, connection)

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

    It uses TLS with `ssl_context`, on which ALPN is set to h2. An exception of the block is raised as it is,
    not in an exception group, because no task behind a channel raises.
    """
    targets = [Address(*address) for address in addresses]
    if ssl_context is not None:
        ssl_context.set_alpn_protocols(["h2"])
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        channel = Channel(
            nursery,
            tcp_ways(targets, config or ChannelConfig(), ssl_context) if targets else (),
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
