"""The base of every generated message: betterproto2's classes, with Google's C codec underneath.

betterproto2 makes typed, readable dataclasses; its codec, in Python, takes some fifty times as long as
protobuf's in C, and lets truncated and mistyped bytes pass. Here each class is joined once with the C class
of the same name, from the descriptors generated beside it; what is bytes is theirs, what is an object ours.

Always holds: bytes that are not exactly one message of the type raise `ValueError`, and every field of what
is parsed has its declared type. Unknown fields are passed over, as proto3 has it; an enum's unknown number
stays a number of that enum.
"""

from __future__ import annotations

from typing import Self

import betterproto2
from google.protobuf.message import DecodeError

from minicloud.wire.codec import codec


class Message(betterproto2.Message):
    """What generated messages derive from. Equal, printed and built as betterproto2's are."""

    _unknown_fields = b""  # of those that are parsed: passed over

    @classmethod
    def FromString(cls, s: bytes) -> Self:  # noqa: N802
        """The message of those bytes; raises `ValueError` where they are none."""
        c_class, to_object, _ = codec(cls)
        try:
            message: Self = to_object(c_class.FromString(s))
        except (DecodeError, OverflowError) as error:  # overflow: a timestamp beyond the year 9999
            raise ValueError(f"not a {cls.__name__} message: {error}") from None
        return message

    def SerializeToString(self) -> bytes:  # noqa: N802
        c_class, _, fill = codec(type(self))
        message = c_class()
        fill(self, message)
        return message.SerializeToString()

    def __bytes__(self) -> bytes:
        return self.SerializeToString()
