"""HTTP/2's error codes, and the error that ends a connection. Pure."""

from __future__ import annotations

import enum


class ErrorCode(enum.IntEnum):
    """The codes of RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class PeerError(Exception):
    """The peer breaks a rule of the whole connection, which has to end. The GOAWAY carries `debug`."""

    def __init__(
        self, reason: str, error_code: int = ErrorCode.ENHANCE_YOUR_CALM, debug: bytes = b""
    ) -> None:
        super().__init__(reason)
        self.error_code = error_code
        self.debug = debug


def error_name(error_code: int) -> str:
    """The name of an HTTP/2 error code; a code outside the registry is shown in hexadecimal."""
    try:
        return ErrorCode(error_code).name
    except ValueError:
        return f"{error_code:#x}"
