"""The envelope surrounds every HTTP request: it gives it an id, reads its body, counts it, and answers its
failures.

Always holds: a request is answered once, counted once, and has its id in the log, the answer and the history.
Its body is read up to a limit, and discarded but for its beginning, which some endpoints read.
`tests/unit/control/rest/test_problems.py` keeps these, and `tests/unit/control/rest/test_workers.py` the id
in the history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any

import structlog
import trio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from minicloud.clock import Clock
from minicloud.control.metrics import Metrics
from minicloud.control.rest.pieces import BrokenOffError
from minicloud.control.rest.problems import CONTENT_TYPE, Problem
from minicloud.control.rest.seats import Lane, Seat, seat_of
from minicloud.request_id import HEADER, RequestScope, request_id_of

MAX_BODY_BYTES = 1_000_000
# The app gets this much of it, several times the largest body of any endpoint. A thousand connections hold
# 16 MB of these.
MAX_KEPT_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 10.0
# A refused client may go on sending for so long. An earlier close would reset the connection, and many
# clients then never read the answer.
LINGER_S = 1.0

_SCOPE_KEY = "minicloud.exchange"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

log = structlog.get_logger()

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_NO_ANSWER = "499"  # as in nginx: the client left before the answer
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}


@dataclass(slots=True)
class Exchange:
    """This is one request and its answer. The app gets it by `exchange_of(scope)`.

    The app sets `route`, and raises `refusal` if there is one. `body_was_cut` is True where the app gets a
    part of the body only. `seat` is that of the connection; None in memory.
    """

    request_id: str
    seat: Seat | None = None
    route: str = "unmatched"
    refusal: HTTPException | None = None
    body_was_cut: bool = False
    code: str = _NO_ANSWER
    answered_s: float = 0.0


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """Return the exchange that an ASGI scope belongs to."""
    exchange: Exchange = scope[_SCOPE_KEY]
    return exchange


class Envelope:
    """This is an ASGI app around another one."""

    def __init__(self, app: App, metrics: Metrics, clock: Clock, random: Random) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._random = random

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s = self._clock.monotonic_s()
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        exchange = Exchange(request_id_of(headers.get, self._random), seat_of(scope))
        scope[_SCOPE_KEY] = exchange
        with RequestScope(exchange.request_id):
            try:
                await self._answer(scope, headers, receive, send, exchange)
            finally:
                ended_s = exchange.answered_s or self._clock.monotonic_s()
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.http_request(method, exchange.route, exchange.code, ended_s - begun_s)
                log.debug(
                    "http_request",
                    method=method,
                    path=scope["path"],
                    code=exchange.code,
                    duration_ms=round((ended_s - begun_s) * 1000, 3),
                )

    async def _answer(
        self, scope: Message, headers: dict[str, str], receive: Receive, send: Send, exchange: Exchange
    ) -> None:
        body = _Body(receive, headers.get("content-length", ""))
        exchange.refusal = await body.read()
        exchange.body_was_cut = body.was_cut
        if body.disconnected:
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.code = str(message["status"])
                exchange.answered_s = self._clock.monotonic_s()
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in _HEADERS.items() if name not in given),
                    (HEADER.encode(), exchange.request_id.encode()),
                ]
                if exchange.seat is not None and exchange.seat.lane is Lane.RESERVE:
                    message["headers"].append((b"connection", b"close"))
            elif not message.get("more_body", False):
                with trio.move_on_after(LINGER_S):
                    await body.complete.wait()
            await send(message)

        failed = False
        try:
            await self._app(scope, body.receive, send_on)
        except* BrokenOffError:
            # The connection is closed without the answer's end, so the client notices.
            log.info("http_answer_broken_off", path=scope["path"])
        except* Exception as group:
            # This was raised outside of the app's own handlers: in a send, or in the library itself.
            log.error("http_request_failed", method=scope["method"], path=scope["path"], exc_info=group)
            failed = True
        # This is not in the handler above: Python before 3.11.4 wraps what such a handler raises in a group.
        if failed and exchange.code == _NO_ANSWER:
            await _last_resort(send_on, exchange)


async def _last_resort(send: Send, exchange: Exchange) -> None:
    problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the control plane failed to answer")
    body = problem.body(exchange.request_id)
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": problem.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class _Body:
    """This is the body of one request. It counts the bytes that arrive, and keeps the first of them."""

    def __init__(self, receive: Receive, content_length: str) -> None:
        self._receive = receive
        self._declared_too_large = content_length.isdecimal() and int(content_length[:20]) > MAX_BODY_BYTES
        self._handed_on = False
        self._kept = bytearray()
        self.was_cut = False
        self.complete = trio.Event()
        self.disconnected = False

    async def read(self) -> HTTPException | None:
        """Read the body. Return the refusal if it is too large or too slow; a rest is then unread."""
        size_bytes = 0
        if not self._declared_too_large:
            with trio.move_on_after(BODY_TIMEOUT_S) as waiting:
                while not self.complete.is_set() and not self.disconnected and size_bytes <= MAX_BODY_BYTES:
                    data = (await self._next()).get("body", b"")
                    size_bytes += len(data)
                    self._kept += data[: MAX_KEPT_BODY_BYTES - len(self._kept)]
            self.was_cut = size_bytes > len(self._kept)
            if waiting.cancelled_caught:
                return RequestTimeout(f"the body did not arrive within {BODY_TIMEOUT_S:g} s")
        if self._declared_too_large or size_bytes > MAX_BODY_BYTES:
            return RequestEntityTooLarge(
                f"the body has more than {MAX_BODY_BYTES} bytes: no endpoint needs as much"
            )
        return None

    async def receive(self) -> Message:
        """Return the app's next ASGI message: the kept part of the body, then the end of the connection. The
        rest of the body is discarded here."""
        if not self._handed_on:
            self._handed_on = True
            return {"type": "http.request", "body": bytes(self._kept), "more_body": False}
        while not self.disconnected:
            await self._next()
        return {"type": "http.disconnect"}

    async def _next(self) -> Message:
        message = await self._receive()
        self.disconnected = message["type"] == "http.disconnect"
        if self.disconnected or not message.get("more_body", False):
            self.complete.set()
        return message
