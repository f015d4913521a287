"""The base of every generated message: betterproto2's classes, with Google's C codec underneath.

betterproto2 makes typed, readable dataclasses; its codec, in Python, takes some fifty times as long as
protobuf's in C, and lets truncated and mistyped bytes pass. Here each class is joined once with the C class
of the same name, from the descriptors generated beside it; what is bytes is theirs, what is an object ours.

Always holds: bytes that are not exactly one message of the type raise `ValueError`, and every field of what
is parsed has its declared type. Unknown fields are passed over, as proto3 has it; an enum's unknown number
stays a number of that enum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from operator import attrgetter
from typing import Any, Self

import betterproto2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as CMessage
from google.protobuf.message_factory import GetMessageClass

from minicloud.wire.descriptors import descriptor_pool

_GENERATED = "minicloud.wire.gen."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_ToObject = Callable[[Any], Any]


class Message(betterproto2.Message):
    """What generated messages derive from. Equal, printed and built as betterproto2's are."""

    @classmethod
    def FromString(cls, s: bytes) -> Self:  # noqa: N802
        """The message of those bytes; raises `ValueError` where they are none."""
        joined = _joined(cls)
        try:
            message: Self = joined.to_object(joined.c_class.FromString(s))
        except (DecodeError, OverflowError) as error:  # overflow: a timestamp beyond the year 9999
            raise ValueError(f"not a {cls.__name__} message: {error}") from None
        return message

    def __bytes__(self) -> bytes:
        return _to_c(self).SerializeToString()


class _Joined:
    """One of our classes and the C class of the same name, and the way from one to the other."""

    def __init__(self, cls: type[Message]) -> None:
        name = f"{cls.__module__.removeprefix(_GENERATED)}.{cls.__name__}"
        descriptor = descriptor_pool().FindMessageTypeByName(name)
        self.c_class: type[CMessage] = GetMessageClass(descriptor)
        self._class = cls
        # In the order of declaration, which is that of the dataclass' parameters: both come from one file.
        self._names = [field.name for field in descriptor.fields]
        self._values = _all_of(self._names)
        # The fields whose values are not the same on both sides; most are, and are passed on as they come.
        self._to_object = [
            (index, field.name, field.has_presence, convert)
            for index, field in enumerate(descriptor.fields)
            if (convert := _field_to_object(field, cls, field.name)) is not None or field.has_presence
        ]
        self._to_c = [
            (field.name, convert)
            for field in descriptor.fields
            if (convert := _field_to_c(field)) is not None
        ]

    def to_object(self, message: Any) -> Any:
        values = list(self._values(message))
        for index, name, has_presence, convert in self._to_object:
            if has_presence and not message.HasField(name):
                values[index] = None
            elif convert is not None:
                values[index] = convert(values[index])
        return self._class(*values)

    def to_c(self, message: Message) -> CMessage:
        values = dict(zip(self._names, self._values(message), strict=True))
        for name, convert in self._to_c:
            if values[name] is not None:  # None is an absent field to the C class, too
                values[name] = convert(values[name])
        return self.c_class(**values)


def _all_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes of an object, in one step of C."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


@cache
def _joined(cls: type[Message]) -> _Joined:
    return _Joined(cls)


def _to_c(message: Message) -> CMessage:
    return _joined(type(message)).to_c(message)


def _field_to_object(field: FieldDescriptor, cls: Any, name: str) -> _ToObject | None:
    """How the value of a field of `cls` becomes ours; None where it is one already.

    `name` is betterproto2's for the field, or for the values of one that is a map.
    """
    if field.type == FieldDescriptor.TYPE_ENUM:
        enum: type[betterproto2.Enum] = cls._betterproto.cls_by_field[name]
        return enum
    if field.message_type is None:
        return None
    if _is_map(field.message_type):
        value = _field_to_object(field.message_type.fields_by_name["value"], cls, f"{name}.value")
        return dict if value is None else partial(_each_value, value)
    if _is_timestamp(field.message_type):
        return _to_datetime
    to_object = _joined(cls._betterproto.cls_by_field[name]).to_object
    return partial(_each, to_object) if field.is_repeated else to_object


def _field_to_c(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """How a field's value becomes what the C class takes; None where it is that already."""
    if field.message_type is None:
        return None
    if _is_map(field.message_type):
        value = _field_to_c(field.message_type.fields_by_name["value"])
        return None if value is None else partial(_each_value, value)
    if _is_timestamp(field.message_type):
        return _from_datetime
    return partial(_each, _to_c) if field.is_repeated else _to_c


def _each(convert: Callable[[Any], Any], messages: Iterable[Any]) -> list[Any]:
    return [convert(message) for message in messages]


def _each_value(convert: Callable[[Any], Any], messages: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: convert(message) for key, message in messages.items()}


def _is_map(message: Descriptor) -> bool:
    return message.GetOptions().map_entry


def _is_timestamp(message: Descriptor) -> bool:
    return message.full_name == "google.protobuf.Timestamp"


def _to_datetime(timestamp: Any) -> datetime:
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def _from_datetime(moment: datetime) -> Mapping[str, int]:
    # Whole microseconds since the epoch: floating seconds would lose the last of them.
    seconds, microseconds = divmod((moment - _EPOCH) // _MICROSECOND, 1_000_000)
    return {"seconds": seconds, "nanos": microseconds * 1000}
