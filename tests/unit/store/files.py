"""Registry files as tests look at them, and change them behind MiniCloud's back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from minicloud.store.database import Database
from minicloud.store.port import Snapshot

SCHEMA_1 = Path(__file__).parent / "data" / "registry-schema-1.db"  # as a MiniCloud with schema 1 left it


def read(path: Path) -> Snapshot:
    """All that a control plane would find in the file; opened as one would, and closed again."""
    with closing(Database(path)) as database:
        return database.snapshot()


def by_hand(path: Path, *statements: str) -> list[object]:
    """Carry out `statements`; the first row that each answers with, None where there is none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchone() for statement in statements]
