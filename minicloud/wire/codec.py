"""Between our message objects and protobuf's C ones: for each class a pair of functions written for it.

They are written as Python source and compiled when a class is first used, as `dataclasses` does: a line for
each field, and nothing to decide while a message is under way. A loop over tables of fields and conversions
took two and a half times as long, for every heartbeat. An object that is read sets its fields itself, as the
class' own `__init__` would, in two thirds of its time.
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


# Of a map that is read; membership takes 64. To make an object of 470,000 stopped the loop for 0.3 s.
MAX_MAP_ENTRIES = 1000


class Codec(NamedTuple):
    """Of one class: its C class, an object of ours from a C message, and a C message filled from ours."""

    c_class: type[CMessage]
    to_object: Callable[[Any], Any]
    fill: Callable[[Any, Any], None]


@cache
def codec(cls: Any) -> Codec:
    """The codec of `cls`, a generated message class, which is joined with the C class of its name."""
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
        "    m.SetInParent()",  # one without any field set is there, too
    ]
    exec("\n".join(source), names)  # noqa: S102  our own text, made of our own descriptors
    return Codec(GetMessageClass(descriptor), names["to_object"], names["fill"])


class _Values(NamedTuple):
    """Source for one value of a field, or of a map: what ours is made of the C one `{0}`, and what fills the
    C message `{1}` from ours, `{0}`; empty for what is simply assigned."""

    read: str
    fill: str = ""


def _values(field: FieldDescriptor, cls: Any, names: dict[str, Any]) -> _Values:
    """How the values of `field` are converted; puts what the source needs into `names`."""
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
    """An enum's members by their numbers. Calling the enum takes seven times as long."""

    def __init__(self, enum: Any) -> None:
        super().__init__((member.value, member) for member in enum)
        self._enum = enum

    def __missing__(self, number: int) -> Any:
        return self._enum(number)  # a number that this version does not know


def _read(field: FieldDescriptor, values: _Values) -> str:
    """Source of our value of `field`, from the C message `m`."""
    theirs = f"m.{field.name}"
    if field.message_type is not None and _is_map(field.message_type):
        # Asked first whether there is anything: copying a mapping of C's, even an empty one, is slow.
        return f"{{k: {values.read.format('v')} for k, v in bounded({theirs}).items()}} if {theirs} else {{}}"
    if field.is_repeated:
        return f"[{values.read.format('v')} for v in {theirs}]"
    if field.has_presence:
        return f"{values.read.format(theirs)} if has({field.name!r}) else None"
    return values.read.format(theirs)


def _bounded(entries: Any) -> Any:
    """The entries of a map, refused before an object is made of them where there are too many."""
    if len(entries) > MAX_MAP_ENTRIES:
        raise ValueError(f"a map of {len(entries)} entries: {MAX_MAP_ENTRIES} are the most")
    return entries


def _write(field: FieldDescriptor, values: _Values) -> str:
    """A statement that puts our value of `field`, in `o`, into the C message `m`."""
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
    # Whole days, seconds and microseconds since the epoch: one floating number would lose some of the last.
    since = moment - _EPOCH
    timestamp.seconds = since.days * 86_400 + since.seconds
    timestamp.nanos = since.microseconds * 1000
