"""Generated messages derive from this base: betterproto2's classes, with Google's C codec (DESIGN 3).

Each class is joined once with the C class of the same name, from the descriptors generated beside it.

Always holds: bytes that are not exactly one message of the type raise `ValueError`, and every field of a
parsed message has its declared type (`tests/unit/wire/test_message.py`). Unknown fields are dropped; an
enum's unknown number stays a number of that enum.
"""

from __future__ import annotations

from typing import Self

import betterproto2
from google.protobuf.message import DecodeError

from minicloud.wire.codec import codec


class Message(betterproto2.Message):
    """A `Message` is the base of generated messages. It is compared, printed and built as
    betterproto2's are."""

    _unknown_fields = b""  # a parsed message drops them

    @classmethod
    def FromString(cls, s: bytes) -> Self:  # noqa: N802
        """Return the message of those bytes. Raises `ValueError` if they are none."""
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
