"""The registry file's tables: what a new file is made of, and the steps from each older version to the next.

Always holds: a file of version n that was taken through the steps from n on holds the tables of a new one,
in the same order of columns. A step that has been released is never changed; a new one is added behind it,
and raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from collections.abc import Mapping

APPLICATION_ID = 0x4D43_4C44  # "MCLD": tells our files from other programs' (sqlite.org/pragma.html)
SCHEMA_VERSION = 2

# Who wrote the file last, to be named by an older version that cannot read it. Every version from 2 on keeps
# this table as it is.
_WRITTEN_BY = (
    "CREATE TABLE written_by (one INTEGER PRIMARY KEY CHECK (one = 1), version TEXT NOT NULL)",
    "INSERT INTO written_by VALUES (1, '')",
)

TABLES: tuple[str, ...] = (
    """
    CREATE TABLE workers (
        worker_id TEXT PRIMARY KEY NOT NULL,
        endpoint TEXT NOT NULL,
        instance_id TEXT NOT NULL,
        wanted_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        registered_at_ms INTEGER NOT NULL,
        last_heartbeat_ms INTEGER NOT NULL,
        health TEXT NOT NULL,
        health_reason TEXT NOT NULL,
        health_since_ms INTEGER NOT NULL,
        admin TEXT NOT NULL,
        admin_reason TEXT NOT NULL,
        admin_since_ms INTEGER NOT NULL,
        cpu_cores INTEGER NOT NULL,
        memory_mb INTEGER NOT NULL,
        disk_mb INTEGER NOT NULL,
        active_queries INTEGER NOT NULL,
        cpu_utilization REAL NOT NULL,
        memory_utilization REAL NOT NULL,
        memory_used_mb INTEGER NOT NULL,
        disk_used_mb INTEGER NOT NULL,
        metadata TEXT NOT NULL -- a JSON object
    )""",
    """
    CREATE TABLE entries (
        event_id INTEGER PRIMARY KEY NOT NULL,
        at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL,
        worker_id TEXT NOT NULL,
        incarnation INTEGER NOT NULL,
        endpoint TEXT NOT NULL,
        old_status TEXT NOT NULL,
        new_status TEXT NOT NULL,
        reason TEXT NOT NULL,
        request_id TEXT NOT NULL
    )""",
    "CREATE TABLE floor (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation INTEGER NOT NULL)",
    "INSERT INTO floor VALUES (1, 0)",
    *_WRITTEN_BY,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# From the version that is the key to the one after it.
STEPS: Mapping[int, tuple[str, ...]] = {
    1: _WRITTEN_BY,
}


def steps_from(version: int) -> tuple[str, ...]:
    """The statements that bring a file of `version`, 1 to `SCHEMA_VERSION`, to the newest."""
    statements = [statement for number in range(version, SCHEMA_VERSION) for statement in STEPS[number]]
    return (*statements, f"PRAGMA user_version = {SCHEMA_VERSION}") if statements else ()
