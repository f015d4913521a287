"""One HTTP connection: hypercorn's, with deadlines for sends, half-close, and problems for its refusals.

The only module that knows hypercorn from inside (0.18, held to by the locked requirements): it has no setting
for any of these.
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
_UPDATE_TIMEOUT_S = 1.0  # for what takes no time, that a shield may not be for ever

log = structlog.get_logger()


def http_config() -> Config:
    """hypercorn's settings for every connection."""
    config = Config()
    config.logger_class = _Log
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config


class Connection(TCPServer):
    """`run` serves the connection until it is closed; the caller closes the stream.

    hypercorn shields each send from cancellation, without a deadline: a client that stops reading holds its
    connection for ever, and the whole server when it is to stop. Sending needs no shield: it is only
    cancelled where the connection ends with it.

    hypercorn takes the end of what a client sends for the end of the client, and drops what it asked for.
    Here the last request is answered first (RFC 9112, 9.6): only an event stream ends with the client's half.
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
            # It and its protocol hold each other: closed connections would pile up until the collector runs.
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
            # An answer's last send tells the app that its request is over, and quart-trio then cancels the
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
        """Read ahead of what is handled, but not far: the client's half-close must be seen while a request
        before others is still being answered."""
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
        """Send nothing more, and close the connection once the client has, in `linger_s` at the latest.

        One that is closed while bytes of the client lie unread is reset, and the client may then lose the
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
    """hypercorn's log lines of errors as ours; the rest is said elsewhere, once."""

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.error("http_server_error", error=message, exc_info=True)
