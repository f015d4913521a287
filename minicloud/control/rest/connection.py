"""One HTTP connection: hypercorn's, with HTTP/1.1 alone, sends that end, and problems for its refusals.

The only module that knows hypercorn from inside (0.18, held to by the locked requirements).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.logging import Logger
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from minicloud.control.rest.problems import CONTENT_TYPE, Problem

IDLE_TIMEOUT_S = 30.0  # twice what pollers commonly keep connections for, short against a byte a second
SEND_TIMEOUT_S = 30.0  # for 64 KiB: a line of 20 kbit/s will do
MAX_HEAD_BYTES = 16 * 1024

_SEND_BYTES = 64 * 1024
_CLOSE_TIMEOUT_S = 1.0  # for what takes no time, that a shield may not be for ever

log = structlog.get_logger()


def http_config() -> Config:
    """hypercorn's settings for every connection."""
    config = Config()
    config.logger_class = _Log
    config.keep_alive_timeout = IDLE_TIMEOUT_S
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.include_server_header = False
    return config


class Connection(TCPServer):
    """`run` serves the connection until it is closed; the caller closes the stream.

    hypercorn shields each send from cancellation, without a deadline: a client that stops reading holds its
    connection for ever, and the whole server when it is to stop. Sending needs no shield: it is only
    cancelled where the connection ends with it.
    """

    def __init__(
        self, app: ASGIWrapper, config: Config, context: WorkerContext, stream: trio.SocketStream
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
        self._socket_stream = stream

    async def run(self) -> None:
        sock = self._socket_stream.socket
        try:
            client = parse_socket_addr(sock.family, sock.getpeername())
            local = parse_socket_addr(sock.family, sock.getsockname())
        except OSError:
            return  # it has left already
        with trio.CancelScope() as connected:
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = _Http1(  # type: ignore[assignment]
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
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                # The client has left. hypercorn would wait for its idle timer, and count it until then.
                connected.cancel()

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            # An answer's last send tells the app that its request is over, and quart-trio then cancels the
            # task that is still in this send: the idle timer it is about to start would never run, the
            # connection it is about to close stay open.
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                for start in range(0, len(event.data), _SEND_BYTES):
                    with trio.fail_after(SEND_TIMEOUT_S):
                        await self._socket_stream.send_all(event.data[start : start + _SEND_BYTES])
                return
            except trio.TooSlowError:
                log.warning("http_client_stalled", timeout_s=SEND_TIMEOUT_S)
                await trio.aclose_forcefully(self._socket_stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        await self.protocol.handle(Closed())


class _Http1(H11Protocol):
    """hypercorn's HTTP/1.1, without a way to another protocol, and with problems for its own refusals."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """No h2c: a client that offers it is answered in HTTP/1.1, as RFC 9110, 7.8 allows."""

    async def _create_stream(self, request: h11.Request) -> None:
        # Nor WebSocket, for the same reason.
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        problem = Problem(HTTPStatus(status_code), "the request is not HTTP/1.1 as RFC 9112 has it")
        if status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            problem = Problem(problem.status, f"the head of the request has over {MAX_HEAD_BYTES} bytes")
        log.warning("http_request_refused", code=status_code, error=problem.detail)
        body = problem.body(request_id="")
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Log(Logger):
    """hypercorn's log lines of errors as ours; the rest is said elsewhere, once."""

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.error("http_server_error", error=message, exc_info=True)
