"""This module converts between our message objects and protobuf's C messages, with two functions a class.

The functions are written as Python source and compiled when a class is first used, as `dataclasses` does: one
line a field. A loop over tables of fields and conversions took two and a half times as long for every
heartbeat. A new object gets its fields without a call of `__init__`, which takes a third less time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as CMessage
from google.protobuf.message_factory import GetMessageClass

from minicloud.wire.descriptors import descriptor_pool

_GENERATED = "minicloud.wire.gen."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# This bounds a map that is read; membership takes 64 entries. Making 470,000 stopped the loop for 0.3 s.
MAX_MAP_ENTRIES = 1000


class Codec(NamedTuple):
    """A `Codec` has the C class of one class, a function from a C message to our object, and one
    that fills a C message from our object."""

    c_class: type[CMessage]
    to_object: Callable[[Any], Any]
    fill: Callable[[Any, Any], None]


@cache
def codec(cls: Any) -> Codec:
    """Return the codec of `cls`, a generated message class. Its C class is the one of the same name."""
    descriptor = descriptor_pool().FindMessageTypeByName(
        f"{cls.__module__.removeprefix(_GENERATED)}.{cls.__name__}"
    )
    names: dict[str, Any] = {
        "cls": cls,
        "new": object.__new__,
        "bounded": _bounded,
    }  # what the source refers to
    reads, writes = [], []
    for field in descriptor.fields:
        values = _values(field, cls, names)
        reads.append(f"    o.{field.name} = {_read(field, values)}")
        writes.append(f"    {_write(field, values)}")
    source = [
        "def to_object(m):",
        "    has = m.HasField",
        "    o = new(cls)",
        *reads,
        "    return o",
        "def fill(o, m):",
        *writes,
        "    m.SetInParent()",  # a message without any field set is present, too
    ]
    exec("\n".join(source), names)  # noqa: S102  our own text, made of our own descriptors
    return Codec(GetMessageClass(descriptor), names["to_object"], names["fill"])


class _Values(NamedTuple):
    """A `_Values` has source for one value of a field, or of a map.

    `read` makes our value of the C one `{0}`. `fill` fills the C message `{1}` from our value `{0}`; it is
    empty if the value is simply assigned.
    """

    read: str
    fill: str = ""


def _values(field: FieldDescriptor, cls: Any, names: dict[str, Any]) -> _Values:
    """Return how the values of `field` are converted, and put what the source needs into `names`."""
    path = name = field.name  # betterproto2's name of what has a class
    if field.message_type is not None and _is_map(field.message_type):
        field, path = field.message_type.fields_by_name["value"], f"{name}.value"
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp":
        names["to_datetime"], names["fill_timestamp"] = _to_datetime, _fill_timestamp
        return _Values("to_datetime({0})", "fill_timestamp({0}, {1})")
    if field.message_type is not None:
        _, names[f"to_{name}"], names[f"fill_{name}"] = codec(cls._betterproto.cls_by_field[path])
        return _Values(f"to_{name}({{0}})", f"fill_{name}({{0}}, {{1}})")
    if field.type == FieldDescriptor.TYPE_ENUM:
        names[f"to_{name}"] = _Numbers(cls._betterproto.cls_by_field[path])
        return _Values(f"to_{name}[{{0}}]")
    return _Values("{0}")


class _Numbers(dict[int, Any]):
    """A `_Numbers` maps numbers to an enum's members. Calling the enum takes seven times as long."""

    def __init__(self, enum: Any) -> None:
        super().__init__((member.value, member) for member in enum)
        self._enum = enum

    def __missing__(self, number: int) -> Any:
        return self._enum(number)  # a number that this version does not know


def _read(field: FieldDescriptor, values: _Values) -> str:
    """Return source of our value of `field`, from the C message `m`."""
    theirs = f"m.{field.name}"
    if field.message_type is not None and _is_map(field.message_type):
        # The test for an empty map comes first, because copying a C map, even an empty one, is slow.
        return f"{{k: {values.read.format('v')} for k, v in bounded({theirs}).items()}} if {theirs} else {{}}"
    if field.is_repeated:
        return f"[{values.read.format('v')} for v in {theirs}]"
    if field.has_presence:
        return f"{values.read.format(theirs)} if has({field.name!r}) else None"
    return values.read.format(theirs)


def _bounded(entries: Any) -> Any:
    """Return the entries of a map. Raises `ValueError`, before any object is made, if there are too many."""
    if len(entries) > MAX_MAP_ENTRIES:
        raise ValueError(f"a map of {len(entries)} entries: {MAX_MAP_ENTRIES} are the most")
    return entries


def _write(field: FieldDescriptor, values: _Values) -> str:
    """Return a statement that puts our value of `field`, in `o`, into the C message `m`."""
    ours, theirs = f"o.{field.name}", f"m.{field.name}"
    if field.message_type is not None and _is_map(field.message_type):
        if values.fill:
            return f"for k, v in {ours}.items(): {values.fill.format('v', f'{theirs}[k]')}"
        return f"if {ours}: {theirs}.update({ours})"
    if field.is_repeated:
        if values.fill:
            return f"for v in {ours}: {values.fill.format('v', f'{theirs}.add()')}"
        return f"{theirs}.extend({ours})"
    statement = values.fill.format(ours, theirs) if values.fill else f"{theirs} = {ours}"
    return f"if {ours} is not None: {statement}" if field.has_presence else statement


def _is_map(message: Descriptor) -> bool:
    return message.GetOptions().map_entry


def _to_datetime(timestamp: Any) -> datetime:
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1000)


def _fill_timestamp(moment: datetime, timestamp: Any) -> None:
    # Whole days, seconds and microseconds are exact; one float would lose some microseconds.
    since = moment - _EPOCH
    timestamp.seconds = since.days * 86_400 + since.seconds
    timestamp.nanos = since.microseconds * 1000
