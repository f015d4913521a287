"""Headers as metadata and back. Pure.

Inside the package headers are pairs of bytes, as HPACK has them: a call whose handler never looks at its
metadata then never pays for decoding it. Keys and values of our own are checked by grpclib's codec.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias
from urllib.parse import quote

import grpclib.metadata
from hpack.struct import NeverIndexedHeaderTuple
from multidict import MultiDict

Value: TypeAlias = str | bytes
Metadata: TypeAlias = MultiDict[Value]
MetadataLike: TypeAlias = Mapping[str, Value] | Collection[tuple[str, Value]]
Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = Sequence[Header]

# RFC 9113, section 8.2.1: no upper case, nothing that could end a line.
_NAME = re.compile(rb":?[a-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority", b":status"})
_OF_HTTP_1 = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

# Of a grpc-message: peers take 8 KiB of headers and more.
MAX_MESSAGE_BYTES = 4096
_UNENCODED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_CUT_ESCAPE = re.compile(rb"%[0-9A-F]?\Z")

# What the protocol itself says with headers is not the application's metadata.
_PROTOCOL_HEADERS = frozenset({b"te", b"content-type", b"user-agent", b"content-length"})


def encode_metadata(metadata: MetadataLike | None) -> list[Header]:
    """`metadata` as headers; values of `-bin` keys are bytes, the others printable ASCII.

    Outer spaces of a value are left out: HTTP/2 forbids them, and some peers reset a stream that has them.
    Raises ValueError or TypeError for a key or value that cannot be sent.
    """
    if not metadata:
        return []
    encoded = grpclib.metadata.encode_metadata(metadata)
    return [(key.encode("ascii"), value.strip(" ").encode("ascii")) for key, value in encoded]


def unindexed(name: bytes, value: bytes) -> Header:
    """A header whose value will not come again: kept out of the table of those that will."""
    return NeverIndexedHeaderTuple(name, value)


def decode_metadata(headers: Iterable[Header]) -> Metadata:
    """The application's part of received `headers`, in their order.

    A `-bin` value that is not base64 is left out: the peer is wrong about that one value, and a call that
    does not read it need not fail.
    """
    metadata: Metadata = MultiDict()
    for key, value in headers:
        if key.startswith((b":", b"grpc-")) or key in _PROTOCOL_HEADERS:
            continue
        name = key.decode("latin-1")
        if key.endswith(b"-bin"):
            for part in value.split(b","):
                try:
                    metadata.add(name, decode_binary(part))
                except ValueError:
                    continue
        else:
            metadata.add(name, value.decode("latin-1"))
    return metadata


def decode_binary(value: bytes) -> bytes:
    """One base64 value, padded or not. Raises ValueError."""
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc


def malformation(headers: Headers, *, request: bool = False, trailers: bool = False) -> str | None:
    """Say why received `headers` are malformed by RFC 9113, section 8; None for headers that are not.

    They are a response's unless `request` or `trailers` is set. h2's own check, a chain of generators, took
    a tenth of the time of a call, and ends the connection where the RFC ends the stream.
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
    if trailers:
        return "a pseudo-header in trailers" if pseudo else None
    given = [name for name, _ in headers[:pseudo]]
    if not request:
        return None if given == [b":status"] else "a response wants one :status and no other pseudo-header"
    if any(given.count(name) != 1 for name in (b":method", b":scheme", b":path")) or b":status" in given:
        return "a request wants one :method, :scheme and :path, and no :status"
    return "an empty :path" if (b":path", b"") in headers[:pseudo] else None


def without_outer_spaces(headers: Headers) -> Headers:
    """Take spaces and tabs off both ends of the values of received `headers`, as gRPC allows.

    Stock peers send them in metadata and in error messages. Those of a grpc-message belong to its text, so
    they are kept, encoded. A pseudo-header with outer spaces stays malformed.
    """
    return [(name, _trimmed(name, value)) for name, value in headers]


def _trimmed(name: bytes, value: bytes) -> bytes:
    if name.startswith(b":"):
        return value
    return _ends_encoded(value) if name == b"grpc-message" else value.strip(b" \t")


def header_list_bytes(headers: Headers) -> int:
    """The size of a header list as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2)."""
    return sum(len(name) + len(value) for name, value in headers) + 32 * len(headers)


def percent_encode(text: str) -> bytes:
    """Encode `text` as a grpc-message value: any text, at most `MAX_MESSAGE_BYTES` of the encoding.

    A longer one could exceed what the peer takes of headers, which ends its stream or its connection.
    """
    encoded = quote(text, safe=_UNENCODED, errors="replace").encode("ascii")
    if len(encoded) > MAX_MESSAGE_BYTES:
        encoded = _CUT_ESCAPE.sub(b"", encoded[:MAX_MESSAGE_BYTES])
    return _ends_encoded(encoded)


def _ends_encoded(value: bytes) -> bytes:
    """Percent-encode the spaces and tabs at both ends of `value`, which no header value may have there."""
    inner = value.strip(b" \t")
    if len(inner) == len(value):
        return value
    before, _, after = value.partition(inner) if inner else (value, b"", b"")
    return b"".join((quote(before).encode(), inner, quote(after).encode()))


def percent_decode(value: bytes) -> str:
    """The text of a grpc-message value; what is badly encoded comes out as it stands or as U+FFFD."""
    return grpclib.metadata.decode_grpc_message(value.decode("latin-1"))
