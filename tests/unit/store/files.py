"""This module reads registry files for tests, and changes them without MiniCloud."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from minicloud.store.port import Snapshot
from minicloud.store.sqlite.database import Database

SCHEMA_1 = Path(__file__).parent / "data" / "registry-schema-1.db"  # a MiniCloud with schema 1 wrote this


def read(path: Path) -> Snapshot:
    """Return everything that a control plane would find in the file, which is opened and closed again."""
    with closing(Database(path)) as database:
        return database.snapshot()


def by_hand(path: Path, *statements: str) -> list[object]:
    """Run `statements` and return the first row of each, None where there is none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchone() for statement in statements]
