"""Error details as `grpc-status-details-bin` carries them: a serialized `google.rpc.Status`.

Its three fields are written by hand. The package that has the generated message (googleapis' common protos)
would be a dependency for this alone.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from grpclib.const import Status

HEADER = b"grpc-status-details-bin"


def encode_details(status: Status, message: str, details: object) -> bytes:
    """The header's value. `details` are Google's protobuf messages, or the bytes of a whole `Status`.

    Raises TypeError for anything else.
    """
    if isinstance(details, bytes):
        serialized = details
    elif isinstance(details, Iterable):
        serialized = _field(1, status.value) + _field(2, message.encode())
        for detail in details:
            if not isinstance(detail, Message):
                raise TypeError(f"status detail of type {type(detail).__name__}, want a protobuf message")
            packed = AnyMessage()
            packed.Pack(detail)
            serialized += _field(3, packed.SerializeToString())
    else:
        raise TypeError(f"status details of type {type(details).__name__}, want messages or bytes")
    return b64encode(serialized).rstrip(b"=")


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
