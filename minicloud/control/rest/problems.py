"""This module turns every failure into problem details (RFC 9457) with an HTTP status.

Always holds: a body has the error, the remedy and the request's id; a failure inside MiniCloud is logged, and
its details are not sent. `tests/unit/control/rest/test_problems.py` keeps these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
import structlog
from quart import Response, current_app, request
from quart_schema.validation import QUART_SCHEMA_QUERYSTRING_ATTRIBUTE, QuerystringValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from minicloud.control.rest.parameters import refusal
from minicloud.control.rest.schemas import ProblemJson
from minicloud.core.errors import (
    ConfigError,
    FencedError,
    InvalidError,
    LimitError,
    MiniCloudError,
    StoreError,
    StoreUnavailableError,
    UnknownWorkerError,
)
from minicloud.request_id import current_request_id

CONTENT_TYPE = "application/problem+json"

log = structlog.get_logger()

_STATUS_OF: dict[type[MiniCloudError], HTTPStatus] = {
    InvalidError: HTTPStatus.BAD_REQUEST,
    LimitError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownWorkerError: HTTPStatus.NOT_FOUND,
    FencedError: HTTPStatus.CONFLICT,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER_S = 5  # the store tries again at least as often

_OF_OUR_MAKING = "the control plane failed to answer: its log has the reason under this requestId"


@dataclass(frozen=True, slots=True)
class Problem:
    """This is a failure in the form that a client gets."""

    status: HTTPStatus
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        """Return the problem as JSON."""
        return msgspec.json.encode(
            ProblemJson("about:blank", self.status.phrase, self.status.value, self.detail, request_id)
        )


def problem_of(error: Exception) -> Problem:
    """Return the problem of `error`, which was raised while `request` was handled."""
    if isinstance(error, QuerystringValidationError):
        # The model that refused the query is in the documentation of its view function.
        view = current_app.view_functions[request.endpoint or ""]
        model: type[msgspec.Struct] = getattr(view, QUART_SCHEMA_QUERYSTRING_ATTRIBUTE)
        error = refusal(
            model.__struct_encode_fields__, request.args.to_dict(flat=False), str(error.validation_error)
        )
    if isinstance(error, MiniCloudError):
        headers = {"Retry-After": f"{RETRY_AFTER_S}"} if isinstance(error, StoreUnavailableError) else {}
        return Problem(_status_of(type(error)), str(error), headers)
    if isinstance(error, MethodNotAllowed):
        allow = ", ".join(sorted(error.valid_methods or ()))
        return Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.method} cannot be used on {request.path}: use {allow}",
            {"Allow": allow},
        )
    if isinstance(error, HTTPException) and error.code is not None:
        status = HTTPStatus(error.code)
        if status is HTTPStatus.NOT_FOUND:
            return Problem(status, f"nothing is at {request.path}: /docs says what there is")
        return Problem(status, error.description or status.description)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, _OF_OUR_MAKING)


def _status_of(kind: type[MiniCloudError]) -> HTTPStatus:
    """Return the status of the nearest class that has one."""
    return next(_STATUS_OF[each] for each in kind.__mro__ if each in _STATUS_OF)


async def answer(error: Exception) -> Response:
    """Log `error`, and return the response to the request that raised it. This is Quart's handler of every
    exception."""
    problem = problem_of(error)
    # The store logs once that it cannot write.
    expected = isinstance(error, HTTPException | StoreUnavailableError)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not expected:
        log.error("http_request_failed", method=request.method, path=request.path, exc_info=error)
    else:
        # A client's mistake is logged as info, and its answer has the details (DESIGN 74).
        (log.info if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR else log.warning)(
            "http_request_refused",
            method=request.method,
            path=request.path,
            code=problem.status.value,
            error=problem.detail,
        )
    return response(problem)


def response(problem: Problem) -> Response:
    """Return `problem` as the response to the present request."""
    return Response(
        problem.body(current_request_id()), problem.status, problem.headers, content_type=CONTENT_TYPE
    )
