"""This module is HTTP/1.1 for this server: hypercorn's, without an upgrade to another protocol, and with
problem details for requests that are refused before the app gets them.

Always holds: a request that reaches the app has a target that begins with `/`, and one unambiguous length
(RFC 9112, 3.2 and 6.3). `tests/unit/control/rest/test_http1.py` keeps this.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from urllib.parse import urlsplit

import h11
import structlog
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from minicloud.control.rest.problems import CONTENT_TYPE, Problem

MAX_HEAD_BYTES = 16 * 1024

log = structlog.get_logger()

_NOT_HTTP = "the request is not HTTP/1.1 as RFC 9112 has it"


class Http1(H11Protocol):
    """This is the protocol of one connection."""

    _method = b""

    async def refuse_late_head(self, timeout_s: float) -> bool:
        """Refuse the request whose head has begun and not ended. Return False where none has begun."""
        if self.connection.our_state is not h11.IDLE or not self.connection.trailing_data[0]:
            return False
        await self._refuse(
            Problem(
                HTTPStatus.REQUEST_TIMEOUT, f"the head of the request did not arrive within {timeout_s:g} s"
            )
        )
        return True

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore an offer of h2c: the client is answered in HTTP/1.1, as RFC 9110, 7.8 allows."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._method = request.method
        target, host = _origin_form(request)
        problem = _fault(request, target)
        if problem is not None:
            await self._refuse(problem)
            return
        # An offer of WebSocket is ignored for the same reason.
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        if host:
            headers = [(b"host", host), *(header for header in headers if header[0] != b"host")]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=target, headers=headers, http_version=request.http_version
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        error = sys.exception()
        if error is not None:
            # h11's error and its traceback are a cycle that would keep the connection (DESIGN 70).
            error.__traceback__ = None
        problem = Problem(HTTPStatus(status_code), _NOT_HTTP)
        if status_code == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            problem = Problem(problem.status, f"the head of the request has over {MAX_HEAD_BYTES} bytes")
        await self._say(problem)

    async def _refuse(self, problem: Problem) -> None:
        await self._say(problem)
        await self.send(Closed())

    async def _say(self, problem: Problem) -> None:
        log.info("http_request_refused", code=problem.status.value, error=problem.detail)
        body = problem.body(request_id="")
        answers_head = self._method == b"HEAD" and self.connection.our_state is h11.SEND_RESPONSE
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=problem.status.value, headers=headers))
        if self.connection.our_state is h11.SEND_BODY:
            if not answers_head:
                await self._send_h11_event(h11.Data(data=body))
            await self._send_h11_event(h11.EndOfMessage())


def _origin_form(request: h11.Request) -> tuple[bytes, bytes]:
    """Return the path and query of a target, and its authority where it has one, which then replaces `Host`
    (RFC 9112, 3.2.2). A target in any other form gives an empty path."""
    target = request.target
    if target.startswith(b"/"):
        return target, b""
    if not target.lower().startswith((b"http://", b"https://")):
        return b"", b""
    try:
        parts = urlsplit(target.decode("ascii"))
    except ValueError:
        return b"", b""
    if not parts.netloc:
        return b"", b""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.path or '/'}{query}".encode("ascii"), parts.netloc.encode("ascii")


def _fault(request: h11.Request, target: bytes) -> Problem | None:
    """Return the reason for which a well-formed request is not served."""
    names = [name for name, _ in request.headers]
    if not request.http_version.startswith(b"1."):
        return Problem(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this port speaks HTTP/1.1 and HTTP/1.0")
    if b"transfer-encoding" in names:
        # Two servers on the way may disagree on which of the two ends the body (RFC 9112, 6.1).
        if b"content-length" in names:
            return Problem(HTTPStatus.BAD_REQUEST, "Transfer-Encoding and Content-Length: send one of them")
        if request.http_version == b"1.0":
            return Problem(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding: send Content-Length")
    if not target:
        return Problem(
            HTTPStatus.BAD_REQUEST, "the target of the request is not a path: it must begin with /"
        )
    return None
