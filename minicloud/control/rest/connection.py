"""A connection here is one of hypercorn's, with deadlines for sends, half-close, and problem details for its
refusals.

hypercorn has no setting for any of these, so this module uses its private names (0.18, pinned in the
requirements).
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from minicloud.control.rest.http1 import MAX_HEAD_BYTES, Http1
from minicloud.control.rest.seats import Lane, Seat, state_with

IDLE_TIMEOUT_S = 30.0  # twice what pollers commonly keep connections for, short against a byte a second
SEND_TIMEOUT_S = 30.0  # for 64 KiB: a line of 20 kbit/s will do
RESERVE_TIMEOUT_S = 5.0  # in place of both, for connections that have the reserve's seats
LINGER_S = 1.0  # for the client to read the last answer and to close

_SEND_BYTES = 64 * 1024
_UPDATE_TIMEOUT_S = 1.0  # for calls that take no time, so that no shield lasts for ever

log = structlog.get_logger()


def http_config() -> Config:
    """Return hypercorn's settings for every connection."""
    config = Config()
    config.logger_class = _Log
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config


class Connection(TCPServer):
    """`run` serves the connection until it is closed; the caller closes the stream.

    hypercorn shields each send from cancellation, without a deadline, so a client that stops reading would
    hold its connection for ever, and a server that stops. Sends are not shielded here: one is only cancelled
    where its connection ends.

    hypercorn takes a half-close for the end of the connection, and drops the request. Here the last request
    is answered first (DESIGN 50). Only an event stream ends with the half-close.
    """

    def __init__(
        self,
        app: ASGIWrapper,
        config: Config,
        context: WorkerContext,
        stream: trio.SocketStream,
        seat: Seat,
    ) -> None:
        super().__init__(app, config, context, ConnectionState(state_with(seat)), stream)  # type: ignore[arg-type]
        self._socket_stream = stream
        self._seat = seat
        self._reading = trio.CancelScope()
        self._answering = False
        self._over = trio.Event()  # nothing more is sent

    async def run(self) -> None:
        sock = self._socket_stream.socket
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            local = parse_socket_addr(sock.family, sock.getsockname())
        except OSError:
            return  # it has left already
        try:
            await self._serve(client, local)
        finally:
            # It and its protocol refer to each other, which only the collector would free (DESIGN 70).
            vars(self).clear()

    async def _serve(self, client: tuple[str, int] | None, local: tuple[str, int] | None) -> None:
        with trio.CancelScope() as connected:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self._http1 = Http1(
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state.copy()),
                    False,
                    client,
                    local,
                    self.protocol_send,
                )
                self.protocol = self._http1  # type: ignore[assignment]
                await self.idle_task.restart(task_group, self._idle_timeout)
                received, read = trio.open_memory_channel[bytes](1)
                task_group.spawn(self._read, received)
                await self._handle_all(read)
                # hypercorn would wait for its idle timer, and count the connection until then.
                connected.cancel()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            self._end(LINGER_S)
            await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._answering = not event.idle
            if event.idle:
                self._seat.idle()
            else:
                self._seat.busy()
            # An answer's last send ends the request in the app, and quart-trio then cancels the
            # task that is still in this send: the idle timer it is about to start would never run.
            with trio.move_on_after(_UPDATE_TIMEOUT_S, shield=True):
                await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        async with self.send_lock:
            timeout_s = RESERVE_TIMEOUT_S if self._seat.lane is Lane.RESERVE else SEND_TIMEOUT_S
            view = memoryview(data)
            try:
                for start in range(0, len(view), _SEND_BYTES):
                    with trio.fail_after(timeout_s):
                        await self._socket_stream.send_all(view[start : start + _SEND_BYTES])
                return
            except trio.TooSlowError:
                log.info("http_client_stalled", timeout_s=timeout_s)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        self._end(0)
        await self.protocol.handle(Closed())

    async def _read(self, received: trio.MemorySendChannel[bytes]) -> None:
        """Read a bounded part ahead of the request that is handled, so that a half-close is seen while
        earlier requests are still being answered."""
        async with received:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := bytes(await self._socket_stream.receive_some(MAX_RECV)):
                    if not self._over.is_set():  # else it is thrown away
                        await received.send(data)
                self._seat.half_closed.happen()
                await received.send(b"")
                return
        self._reading.cancel()

    async def _handle_all(self, received: trio.MemoryReceiveChannel[bytes]) -> None:
        with self._reading:
            async for data in received:
                if not self._over.is_set():
                    await self.protocol.handle(RawData(data))
            if self._answering:
                await self._over.wait()
        await self.protocol.handle(Closed())

    def _end(self, linger_s: float) -> None:
        """Send nothing more, and close the connection once the client has closed it, after `linger_s` at the
        latest.

        A connection that is closed with unread bytes of the client is reset, and the client may then lose the
        last answer.
        """
        self._over.set()
        self._seat.linger()
        with suppress(OSError):
            self._socket_stream.socket.shutdown(socket.SHUT_WR)
        linger_s = 0 if self.context.terminated.is_set() else linger_s
        self._reading.deadline = min(self._reading.deadline, trio.current_time() + linger_s)

    async def _idle_timeout(self) -> None:
        timeout_s = RESERVE_TIMEOUT_S if self._seat.lane is Lane.RESERVE else IDLE_TIMEOUT_S
        with trio.move_on_after(timeout_s) as waiting:
            await self.context.terminated.wait()
        if not waiting.cancelled_caught or not await self._http1.refuse_late_head(timeout_s):
            self._end(0)


class _Log(Logger):
    """This logger passes hypercorn's errors on to our log. Its other lines are logged elsewhere, once."""

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.error("http_server_error", error=message, exc_info=True)
