"""This module is the REST server: it serves connections on given listeners, in the caller's nursery.

Always holds: no client keeps the server from stopping; every connection has a seat (`seats.py`), and the
failure of one does not affect another. `tests/unit/control/rest/test_server.py` and
`tests/unit/control/rest/test_crowds.py` keep these.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from http import HTTPStatus

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.worker_context import WorkerContext
from quart import Quart
from trio import TASK_STATUS_IGNORED, TaskStatus

from minicloud.control.readiness import Readiness
from minicloud.control.rest.connection import LINGER_S, Connection, http_config
from minicloud.control.rest.problems import CONTENT_TYPE, Problem
from minicloud.control.rest.seats import Seats, peer_key

GRACE_S = 3.0
# At most this many connections without a seat get an answer at a time; the next one is only closed.
MAX_TURNED_AWAY = 16

log = structlog.get_logger()


async def serve_rest(
    app: Quart,
    listeners: list[trio.SocketListener],
    *,
    readiness: Readiness,
    seats: Seats | None = None,
    grace_s: float = GRACE_S,
    task_status: TaskStatus[int] = TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `readiness` is stopping, then let requests in flight finish for `grace_s`, and
    return.

    The task reports the bound port once connections are accepted. A cancellation ends it at once. The app's
    startup and shutdown hooks are not run, as this app has none.
    """
    server = _Server(app, seats or Seats())
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(
                partial(trio.serve_listeners, server.serve_connection, listeners, handler_nursery=connections)
            )
            port: int = listeners[0].socket.getsockname()[1]
            log.info("http_serving", port=port)
            task_status.started(port)
            await readiness.stopping.wait()
            accepting.cancel_scope.cancel()
        await (
            server.context.terminated.set()
        )  # closes idle connections now, and the others after their answers
        connections.cancel_scope.deadline = trio.current_time() + grace_s


class _Server:
    """This has what the connections of one server share."""

    def __init__(self, app: Quart, seats: Seats) -> None:
        self._app = ASGIWrapper(app)
        self.context = WorkerContext(None)
        self._config = http_config()
        self._seats = seats
        self._turning_away = 0

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        try:
            peer = peer_key(stream.socket.getpeername()[0])
        except OSError:
            return await trio.aclose_forcefully(stream)  # it has left already
        seat = self._seats.take(peer, stream.socket.close)
        if seat is None:
            return await self._turn_away(stream, peer)
        try:
            await Connection(self._app, self._config, self.context, stream, seat).run()
        except* Exception as group:
            # The failure of one connection, also one inside hypercorn, does not end the server.
            log.error("http_connection_failed", exc_info=group)
        finally:
            seat.leave()
            await trio.aclose_forcefully(stream)

    async def _turn_away(self, stream: trio.SocketStream, peer: str) -> None:
        log.warning("http_connections_full", peer=peer, open=self._seats.open)
        self._turning_away += 1
        try:
            if self._turning_away <= MAX_TURNED_AWAY:
                with trio.move_on_after(LINGER_S), suppress(trio.BrokenResourceError):
                    await stream.send_all(_FULL)
                    await stream.send_eof()
                    while await stream.receive_some():  # unread, it would have the answer reset
                        pass
        finally:
            self._turning_away -= 1
            await trio.aclose_forcefully(stream)


def _full() -> bytes:
    problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "all connections are taken: try again later")
    body = problem.body(request_id="")
    head = (
        f"HTTP/1.1 {problem.status.value} {problem.status.phrase}\r\ncontent-type: {CONTENT_TYPE}\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_FULL = _full()
