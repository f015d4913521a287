"""This module has the registry file's tables, and the steps from each older version to the next.

Always holds: a file of version n has the tables of a new one after the steps from n on, in the same order of
columns (`tests/unit/store/test_schema.py`). A step that has been released is never changed (DESIGN 41). A new
step raises `SCHEMA_VERSION`. The caller of a step computes all checksums anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from minicloud.store.sqlite.columns import ENTRIES, RUNS, WORKERS
from minicloud.store.sqlite.seal import HEAD

APPLICATION_ID = 0x4D43_4C44  # "MCLD": tells our files from other programs' (sqlite.org/pragma.html)
SCHEMA_VERSION = 3

# This table has the version that wrote the file last, for the error of an older one that cannot read it.
# Every version from 2 on keeps it as it is.
_WRITTEN_BY = (
    "CREATE TABLE written_by (one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT NOT NULL)",
    "INSERT INTO written_by VALUES (1, '')",
)

TABLES: tuple[str, ...] = (
    WORKERS.create,
    ENTRIES.create,
    "CREATE TABLE floor (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation INTEGER NOT NULL)",
    "INSERT INTO floor VALUES (1, 0)",
    *_WRITTEN_BY,
    RUNS.create,
    HEAD,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# Each step leads from the version that is its key to the next one.
STEPS: Mapping[int, tuple[str, ...]] = {
    1: _WRITTEN_BY,
    2: (
        "ALTER TABLE workers ADD COLUMN leaving_since_ms INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE workers ADD COLUMN heard_run INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE workers ADD COLUMN departure TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE workers ADD COLUMN departure_reason TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE workers ADD COLUMN departed_at_ms INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY NOT NULL,
            listened_ms INTEGER NOT NULL,
            heartbeat_interval_ms INTEGER NOT NULL
        )""",
        "ALTER TABLE workers ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE entries ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE runs ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, "
        "batch INTEGER NOT NULL, totals TEXT NOT NULL, checksum INTEGER NOT NULL)",
    ),
}


def steps_from(version: int) -> tuple[str, ...]:
    """Return the statements that bring a file of `version`, 1 to `SCHEMA_VERSION`, to the newest."""
    statements = [statement for number in range(version, SCHEMA_VERSION) for statement in STEPS[number]]
    return (*statements, f"PRAGMA user_version = {SCHEMA_VERSION}") if statements else ()
