"""The gRPC status of a call whose peer did not send one. Pure.

The tables come from the gRPC documents "HTTP to gRPC Status Code Mapping" and "gRPC over HTTP2" (errors).
"""

from __future__ import annotations

from grpclib.const import Status

from minicloud.http2.errors import ErrorCode

_BY_HTTP_STATUS = {
    "400": Status.INTERNAL,
    "401": Status.UNAUTHENTICATED,
    "403": Status.PERMISSION_DENIED,
    "404": Status.UNIMPLEMENTED,
    "429": Status.UNAVAILABLE,
    "502": Status.UNAVAILABLE,
    "503": Status.UNAVAILABLE,
    "504": Status.UNAVAILABLE,
}

_BY_RESET_CODE: dict[int, Status] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}

_BY_NUMBER = {str(status.value): status for status in Status}


def status_of_http(http_status: str) -> Status:
    """The status of an answer that carries no grpc-status, from its `:status`."""
    return _BY_HTTP_STATUS.get(http_status, Status.UNKNOWN)


def status_of_reset(error_code: int) -> Status:
    """The status of a call whose stream the peer reset."""
    return _BY_RESET_CODE.get(error_code, Status.INTERNAL)


def status_of_trailer(grpc_status: str) -> Status:
    """The status that a `grpc-status` trailer names; UNKNOWN for a number that gRPC does not have."""
    return _BY_NUMBER.get(grpc_status, Status.UNKNOWN)
