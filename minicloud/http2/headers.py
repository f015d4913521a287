"""Header lists, and the rules that RFC 9113 has for those a peer sends. Pure.

Headers are pairs of bytes, as HPACK has them: a caller that never looks at a header never pays for decoding
it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = Sequence[Header]


class HeadersKind(enum.Enum):
    """The place of a header list in its stream."""

    REQUEST = enum.auto()
    RESPONSE = enum.auto()
    TRAILERS = enum.auto()


# RFC 9113, section 8.2.1: no upper case, nothing that could end a line.
_NAME = re.compile(rb":?[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":status"})
_OF_HTTP_1 = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

# SETTINGS_MAX_HEADER_LIST_SIZE adds this to each field (RFC 9113, section 6.5.2).
_FIELD_OVERHEAD_BYTES = 32


def malformation(headers: Headers, kind: HeadersKind) -> str | None:
    """The reason why received `headers` are malformed by RFC 9113, section 8; None for headers that are not.

    h2's own check is a chain of generators. It takes a tenth of the time of a call, and it ends the
    connection where the RFC ends the stream.
    """
    pseudo = 0
    for position, (name, value) in enumerate(headers):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return "characters that no header may have"
        if name[0] == 0x3A:  # ":"
            if position != pseudo or name not in _PSEUDO:
                return "a pseudo-header that is unknown or out of place"
            pseudo += 1
        elif name in _OF_HTTP_1 or (name == b"te" and value != b"trailers"):
            return "a header of HTTP/1"
    if kind is HeadersKind.TRAILERS:
        return "a pseudo-header in trailers" if pseudo else None
    given = [name for name, _ in headers[:pseudo]]
    if kind is HeadersKind.RESPONSE:
        return None if given == [b":status"] else "a response wants one :status and no other pseudo-header"
    if any(given.count(name) != 1 for name in (b":method", b":scheme", b":path")) or b":status" in given:
        return "a request wants one :method, :scheme and :path, and no :status"
    return "an empty :path" if (b":path", b"") in headers[:pseudo] else None


def header_list_bytes(headers: Headers) -> int:
    """The size of a header list as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2)."""
    return sum(len(name) + len(value) for name, value in headers) + _FIELD_OVERHEAD_BYTES * len(headers)
