"""The seal shows damage to a registry: a checksum in each row, and a head over all of them (DESIGN 80).

Every batch writes the head, one row, anew: the number of the batch, and for each table the number of its rows
and the sum of their checksums. So a row that was changed, lost or doubled is found, and so is a file with
parts of different age. The head's own checksum covers the incarnation floor and the tables' definitions too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from minicloud.core.errors import InvalidError
from minicloud.store.sqlite.columns import TABLES, Table

HEAD = (
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, "
    "batch INTEGER NOT NULL, totals TEXT NOT NULL, checksum INTEGER NOT NULL)"
)
SINCE_SCHEMA = 3  # files of older schemas have neither checksums nor a head

# Making a record of a damaged value raises one of these.
SENSELESS = (ValueError, TypeError, AttributeError, InvalidError)

_NOUNS = {"workers": "workers", "entries": "events", "runs": "runs"}


@dataclass(frozen=True, slots=True)
class Total:
    """A `Total` has the number of rows of one table and the sum of their checksums."""

    rows: int = 0
    checksums: int = 0

    def plus(self, checksums: Iterable[int]) -> Total:
        found = list(checksums)
        return Total(self.rows + len(found), self.checksums + sum(found))

    def minus(self, checksums: Iterable[int]) -> Total:
        found = list(checksums)
        return Total(self.rows - len(found), self.checksums - sum(found))


Totals = Mapping[str, Total]  # by the table's name


@dataclass(frozen=True, slots=True)
class Head:
    """A `Head` has the file's schema, the number of the last batch, and the totals after it."""

    schema: int
    batch: int
    totals: Totals


def write_head(connection: sqlite3.Connection, head: Head) -> None:
    """Replace the head by `head`, in a transaction of the caller."""
    totals = json.dumps({name: [each.rows, each.checksums] for name, each in head.totals.items()})
    connection.execute(
        "INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?, ?)",
        (head.schema, head.batch, totals, _checksum(connection, head.schema, head.batch, totals)),
    )


def read_head(connection: sqlite3.Connection) -> Head | None:
    """Return the head, None if there is none or it does not match its checksum."""
    try:
        schema, batch, totals, checksum = connection.execute(
            "SELECT schema, batch, totals, checksum FROM head"
        ).fetchone()
        if checksum != _checksum(connection, schema, batch, totals):
            return None
        found = {name: Total(*each) for name, each in json.loads(totals).items()}
    except (sqlite3.Error, *SENSELESS):
        return None
    return Head(schema, batch, found)


def read_rows(connection: sqlite3.Connection) -> tuple[Head, dict[str, list[Any]]]:
    """Return the head, and the checked records of each table in the order of their keys. Raises
    `DamageError`, with what is left, if a checksum does not match."""
    records: dict[str, list[Any]] = {}
    lost = False
    totals: dict[str, Total] = {}
    for table in TABLES:
        records[table.name] = []
        totals[table.name] = Total()
        lost |= not _read(connection, table, records[table.name], totals)
    head = read_head(connection)
    if lost or head is None or head.totals != totals:
        raise DamageError(_left(head, totals))
    return head, records


class DamageError(Exception):
    """The rows do not match their checksums, or the head. The text names what can still be read."""


def survey(connection: sqlite3.Connection) -> str:
    """Return a text that counts the rows of a damaged registry that match their checksums."""
    try:
        read_rows(connection)
    except DamageError as error:
        return str(error)
    except sqlite3.Error:
        return "nothing of it can be read"
    return "all workers and events can be read, and its indexes are damaged"


def _read(
    connection: sqlite3.Connection, table: Table[Any], records: list[Any], totals: dict[str, Total]
) -> bool:
    """Read the rows of `table` that are whole; return True if all of them are."""
    well = True
    checksums: list[int] = []
    # A page that cannot be read ends the loop, and the rows behind it are lost.
    try:
        for row in connection.execute(table.select):
            try:
                records.append(table.parse(row))
                checksums.append(row[-1])
            except SENSELESS:
                well = False
    except sqlite3.Error:
        well = False
    totals[table.name] = Total().plus(checksums)
    records.sort(key=table.key_of)
    return well


def _left(head: Head | None, totals: Totals) -> str:
    parts = []
    for table in TABLES:
        expected = f" of {head.totals[table.name].rows:,}" if head and table.name in head.totals else ""
        parts.append(f"{totals[table.name].rows:,}{expected} {_NOUNS.get(table.name, table.name)}")
    return f"{', '.join(parts[:-1])} and {parts[-1]} match their checksums"


def _checksum(connection: sqlite3.Connection, schema: int, batch: int, totals: str) -> int:
    floor = connection.execute("SELECT incarnation FROM floor").fetchall()
    definitions = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    ).fetchall()
    return crc32(json.dumps([schema, batch, totals, floor, definitions]).encode())
