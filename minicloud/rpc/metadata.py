"""gRPC's metadata as headers and back. Pure.

Inside the package headers are pairs of bytes, so a call whose handler never reads its metadata does not pay
for decoding it. grpclib's codec checks the keys and values that are sent.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote

import grpclib.metadata
from multidict import MultiDict

from minicloud.http2.headers import Header, Headers

Value: TypeAlias = str | bytes
Metadata: TypeAlias = MultiDict[Value]
MetadataLike: TypeAlias = Mapping[str, Value] | Collection[tuple[str, Value]]

# The most of a grpc-message: peers take 8 KiB of headers and more.
MAX_MESSAGE_BYTES = 4096
_UNENCODED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_CUT_ESCAPE = re.compile(rb"%[0-9A-F]?\Z")

# Headers of the protocol itself are not the application's metadata.
_PROTOCOL_HEADERS = frozenset({b"te", b"content-type", b"user-agent", b"content-length"})


def encode_metadata(metadata: MetadataLike | None) -> list[Header]:
    """`metadata` as headers; values of `-bin` keys are bytes, the others printable ASCII.

    Outer spaces of a value are removed: HTTP/2 forbids them, and some peers reset a stream that has them.
    Raises ValueError or TypeError for a key or value that cannot be sent.
    """
    if not metadata:
        return []
    encoded = grpclib.metadata.encode_metadata(metadata)
    return [(key.encode("ascii"), value.strip(" ").encode("ascii")) for key, value in encoded]


def decode_metadata(headers: Iterable[Header]) -> Metadata:
    """The application's part of received `headers`, in their order.

    A `-bin` value that is not base64 is left out: only that value is wrong, and a call that does not read it
    need not fail.
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
    """The bytes of one base64 value, padded or not. Raises ValueError."""
    value = value.strip()
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc


def without_outer_spaces(headers: Headers) -> Headers:
    """Remove spaces and tabs at both ends of the values of received `headers`, as gRPC allows.

    Stock peers send them in metadata and in error messages. Those of a grpc-message belong to its text and
    are encoded instead. A pseudo-header with outer spaces stays malformed.
    """
    return [(name, _trimmed(name, value)) for name, value in headers]


def _trimmed(name: bytes, value: bytes) -> bytes:
    if name.startswith(b":"):
        return value
    return _ends_encoded(value) if name == b"grpc-message" else value.strip(b" \t")


def percent_encode(text: str) -> bytes:
    """Encode `text` as a grpc-message value: any text, at most `MAX_MESSAGE_BYTES` of the encoding.

    A longer one could exceed the peer's limit on headers, which ends the stream or the connection.
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
    """The text of a grpc-message value. Bad escapes stay as they are; bad UTF-8 becomes U+FFFD."""
    return grpclib.metadata.decode_grpc_message(value.decode("latin-1"))
