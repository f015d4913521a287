"""This module lists the columns of the registry's tables; DDL, rows and records are made from the list.

A new field needs one line here and a step in `schema` for older files. Always holds: every field of a record
has a column (`tests/unit/store/test_columns.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar, get_type_hints
from zlib import crc32

from minicloud.core.liveness.grace import Run
from minicloud.core.model import Admin, Health, Status
from minicloud.store.port import MembershipEvent, StoredWorker

R = TypeVar("R")

_TEXT = "TEXT NOT NULL"
_INTEGER = "INTEGER NOT NULL"
_REAL = "REAL NOT NULL"
# Columns that were added to a table have a default for the rows that were there.
_ADDED_TEXT = "TEXT NOT NULL DEFAULT ''"
_ADDED_INTEGER = "INTEGER NOT NULL DEFAULT 0"


@dataclass(frozen=True, slots=True)
class Column:
    """A `Column` describes one column.

    `path` is the place of its value in the record, with a dot for a record in a record; it is the column's
    name if empty. `write` makes the value for SQLite, `read` makes it back. `read` raises `ValueError`,
    `TypeError` or `AttributeError` for a damaged value.
    """

    name: str
    declaration: str
    path: str = ""
    write: Callable[[Any], object] | None = None
    read: Callable[[Any], object] | None = None

    @property
    def source(self) -> str:
        return self.path or self.name

    @property
    def kind(self) -> Callable[[Any], object]:
        """Return the function that makes of a value what SQLite returns for it."""
        return _KINDS[self.declaration.partition(" ")[0]]


def _real(value: float) -> float:
    return float(value) + 0.0  # SQLite keeps no negative zero


_KINDS: Mapping[str, Callable[[Any], object]] = {"TEXT": str, "INTEGER": int, "REAL": _real}

CHECKSUM = "checksum INTEGER NOT NULL DEFAULT 0"  # a default, so that it can be added to a table


class Table(Generic[R]):
    """A `Table` holds one record of type `record` a row. The first column is the primary key.

    Each row has a checksum of its values, which shows a change by anything else (DESIGN 80). CRC-32 finds
    every change of up to 32 bits in a row, and misses one in four billion others.
    """

    def __init__(self, name: str, record: type[R], columns: Sequence[Column]) -> None:
        self.name = name
        self.record = record
        self.columns = tuple(columns)
        self.key = columns[0].name
        self.key_of: Callable[[R], Any] = attrgetter(columns[0].source)
        names = ", ".join([*(column.name for column in columns), "checksum"])
        declarations = [f"{column.name} {column.declaration}" for column in columns]
        self.create = f"CREATE TABLE {name} ({', '.join([*declarations, CHECKSUM])})"
        self.select = f"SELECT {names} FROM {name}"
        self.insert = f"INSERT INTO {name} ({names}) VALUES ({', '.join('?' * (len(columns) + 1))})"
        self._get = attrgetter(*(column.source for column in columns))
        self._kinds = [column.kind for column in columns]
        self._writers = [(index, c.write) for index, c in enumerate(columns) if c.write is not None]
        self._readers = [(index, c.read) for index, c in enumerate(columns) if c.read is not None]
        self._fields = [
            (index, column.source) for index, column in enumerate(columns) if "." not in column.source
        ]
        self._parts = _parts(record, self.columns)

    def row(self, record: R) -> Sequence[Any]:
        """Return the values of the row of `record`, in the order of the columns, and their checksum."""
        values = list(self._get(record))
        for index, write in self._writers:
            values[index] = write(values[index])
        values = [kind(value) for kind, value in zip(self._kinds, values, strict=True)]
        return [*values, self._checksum(values)]

    def parse(self, row: Sequence[Any]) -> R:
        """Return the record of a row that `select` found. Raises `ValueError`, `TypeError`, `AttributeError`
        or `InvalidError` if its values are not those that were written."""
        *values, checksum = row
        if checksum != self._checksum(values):
            raise ValueError(f"a row of {self.name} does not match its checksum")
        return self.parse_unchecked(row)

    def parse_unchecked(self, row: Sequence[Any]) -> R:
        """Return the record of a row that has no checksum yet. Raises the errors of `parse`."""
        values = list(row)
        for index, read in self._readers:
            values[index] = read(values[index])
        fields = {name: values[index] for index, name in self._fields}
        for name, kind, columns in self._parts:
            fields[name] = kind(**{part: values[index] for index, part in columns})
        return self.record(**fields)

    def _checksum(self, values: Sequence[Any]) -> int:
        return crc32(json.dumps([self.name, *values]).encode())


def _parts(
    record: type[Any], columns: Sequence[Column]
) -> list[tuple[str, Callable[..., object], list[tuple[int, str]]]]:
    """Return the records in `record`: field, type, and the column of each of their fields."""
    found: dict[str, list[tuple[int, str]]] = {}
    for index, column in enumerate(columns):
        field, dot, part = column.source.partition(".")
        if dot:
            found.setdefault(field, []).append((index, part))
    hints = get_type_hints(record)
    return [(field, hints[field], parts) for field, parts in found.items()]


def _enum(name: str, kind: Callable[[str], object]) -> Column:
    return Column(name, _TEXT, write=attrgetter("value"), read=kind)


def _write_mapping(mapping: Mapping[str, str]) -> str:
    return json.dumps(dict(mapping))


def _read_mapping(text: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in json.loads(text).items()}


WORKERS = Table(
    "workers",
    StoredWorker,
    [
        Column("worker_id", "TEXT PRIMARY KEY NOT NULL"),
        Column("endpoint", _TEXT),
        Column("instance_id", _TEXT),
        Column("wanted_id", _TEXT),
        Column("incarnation", _INTEGER),
        Column("registered_at_ms", _INTEGER),
        Column("last_heartbeat_ms", _INTEGER),
        _enum("health", Health),
        Column("health_reason", _TEXT),
        Column("health_since_ms", _INTEGER),
        _enum("admin", Admin),
        Column("admin_reason", _TEXT),
        Column("admin_since_ms", _INTEGER),
        Column("cpu_cores", _INTEGER, "resources.cpu_cores"),
        Column("memory_mb", _INTEGER, "resources.memory_mb"),
        Column("disk_mb", _INTEGER, "resources.disk_mb"),
        Column("active_queries", _INTEGER, "resources.active_queries"),
        Column("cpu_utilization", _REAL, "resources.cpu_utilization"),
        Column("memory_utilization", _REAL, "resources.memory_utilization"),
        Column("memory_used_mb", _INTEGER, "resources.memory_used_mb"),
        Column("disk_used_mb", _INTEGER, "resources.disk_used_mb"),
        Column("metadata", _TEXT, write=_write_mapping, read=_read_mapping),  # a JSON object
        Column("leaving_since_ms", _ADDED_INTEGER),
        Column("heard_run", _ADDED_INTEGER),
        Column("departure", _ADDED_TEXT),
        Column("departure_reason", _ADDED_TEXT),
        Column("departed_at_ms", _ADDED_INTEGER),
    ],
)

ENTRIES = Table(
    "entries",
    MembershipEvent,
    [
        Column("event_id", "INTEGER PRIMARY KEY NOT NULL"),
        Column("at_ms", _INTEGER),
        Column("kind", _TEXT),
        Column("detail", _TEXT),
        Column("worker_id", _TEXT),
        Column("incarnation", _INTEGER),
        Column("endpoint", _TEXT),
        _enum("old_status", Status),
        _enum("new_status", Status),
        Column("reason", _TEXT),
        Column("request_id", _TEXT),
    ],
)

RUNS = Table(
    "runs",
    Run,
    [
        Column("number", "INTEGER PRIMARY KEY NOT NULL"),
        Column("listened_ms", _INTEGER),
        Column("heartbeat_interval_ms", _INTEGER),
    ],
)

TABLES: tuple[Table[Any], ...] = (WORKERS, ENTRIES, RUNS)
