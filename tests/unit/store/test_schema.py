"""Files of older schemas are brought up to date, and files of newer ones are refused (DESIGN 41).

The last version with schema 1 wrote the file in `data/`.
"""

from __future__ import annotations

import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from minicloud import __version__
from minicloud.core.errors import StoreError
from minicloud.store.port import Snapshot
from minicloud.store.sqlite import copies, database, schema
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.schema import SCHEMA_VERSION, STEPS, TABLES, steps_from
from tests.unit.logged import logged
from tests.unit.store.changes import entry, kept, stored
from tests.unit.store.files import SCHEMA_1, by_hand, read


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a registry that a MiniCloud with schema 1 wrote."""
    path = tmp_path / "registry.db"
    shutil.copyfile(SCHEMA_1, path)
    return path


def layout(path: Path) -> list[tuple[object, ...]]:
    """Return every table's columns, their types and constraints."""
    connection = sqlite3.connect(path)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master ORDER BY name")]
        return [
            (table, *column)
            for table in tables
            for column in connection.execute(f"PRAGMA table_info({table})")
        ]
    finally:
        connection.close()


def version_of(path: Path) -> object:
    (found,) = by_hand(path, "PRAGMA user_version")
    assert isinstance(found, tuple)
    return found[0]


def test_registry_of_an_older_schema_keeps_all_it_holds(old: Path) -> None:
    assert version_of(old) == 1
    snapshot = read(old)
    assert snapshot == Snapshot(
        (stored(1), stored(3)), (*map(entry, (1, 2, 3)), entry(4, "worker-2", "departed")), 2, 4
    )
    assert version_of(old) == SCHEMA_VERSION


def test_registry_of_an_older_schema_has_the_layout_of_a_new_one(old: Path, tmp_path: Path) -> None:
    read(old)
    Database(tmp_path / "new.db").close()
    assert layout(old) == layout(tmp_path / "new.db")


def test_registry_brought_up_to_date_is_kept_beside_as_it_was(old: Path) -> None:
    with logged() as said:
        read(old)
    aside = old.with_name("registry.db.schema-1")
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert version_of(aside) == 1
    rows = "SELECT group_concat(worker_id) FROM workers"
    assert by_hand(aside, rows) == by_hand(SCHEMA_1, rows) == [("worker-1,worker-3",)]
    assert said == [
        {
            "event": "registry_upgraded",
            "log_level": "info",
            "path": str(old),
            "schema": SCHEMA_VERSION,
            "old": str(aside),
        }
    ]
    with logged() as said:
        read(old)
    assert said == []


def test_registry_whose_step_fails_stays_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (*steps_from(1)[:-1], "INSERT INTO nowhere VALUES (1)", steps_from(1)[-1])
    monkeypatch.setattr(database, "steps_from", lambda version: broken)
    with pytest.raises(StoreError):
        Database(old)
    assert version_of(old) == 1
    assert layout(old) == layout(SCHEMA_1)


def test_registry_that_cannot_be_kept_aside_is_not_touched(old: Path) -> None:
    (old.parent / "registry.db.schema-1").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*schema-1: Is a directory"):
        Database(old)
    assert version_of(old) == 1
    assert not list(old.parent.glob("*.unfinished"))


def test_steps_lead_from_every_version_to_the_newest() -> None:
    assert sorted(STEPS) == list(range(1, SCHEMA_VERSION))
    assert steps_from(SCHEMA_VERSION) == ()
    assert TABLES[-1] == f"PRAGMA user_version = {SCHEMA_VERSION}"


def test_steps_of_several_versions_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 4)
    monkeypatch.setattr(schema, "STEPS", {1: ("one",), 2: ("two", "two more"), 3: ("three",)})
    assert steps_from(1) == ("one", "two", "two more", "three", "PRAGMA user_version = 4")
    assert steps_from(3) == ("three", "PRAGMA user_version = 4")


@pytest.mark.parametrize("says_who", [True, False])
def test_registry_of_a_newer_schema_is_refused_and_left_alone(tmp_path: Path, says_who: bool) -> None:
    path = tmp_path / "registry.db"
    opened = Database(path)
    opened.write([kept(1)])
    opened.close()
    newer = SCHEMA_VERSION + 1
    writer = "UPDATE written_by SET version = '7.1.0'" if says_who else "DROP TABLE written_by"
    by_hand(path, writer, f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Database(path)
    assert str(caught.value) == (
        f"{path} was written by a newer MiniCloud{', 7.1.0,' if says_who else ''} with schema {newer}; this "
        f"one, {__version__}, knows schema {SCHEMA_VERSION}: run that version, bring back a copy from before "
        "the upgrade (minicloud restore), or move the file and its -wal aside: workers register again by "
        "themselves"
    )
    assert path.read_bytes() == before


def test_registry_says_which_version_wrote_it(old: Path) -> None:
    read(old)
    assert by_hand(old, "SELECT version FROM written_by") == [(__version__,)]
    by_hand(old, "UPDATE written_by SET version = '0.0.1'")
    read(old)
    assert by_hand(old, "SELECT version FROM written_by") == [(__version__,)]


def test_registry_of_schema_0_that_is_ours_is_damaged(old: Path) -> None:
    by_hand(old, "PRAGMA user_version = 0")
    with pytest.raises(StoreError, match="is damaged"):
        Database(old)


def test_file_put_in_place_is_never_seen_half_written(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("the old one")

    def fill(unfinished: Path) -> None:
        unfinished.write_text("half")
        assert target.read_text() == "the old one"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        copies.put_in_place(target, fill, replaces=True)
    assert target.read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


def test_file_that_cannot_be_put_in_place_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        copies.put_in_place(tmp_path / "missing" / "copy.db", lambda unfinished: None, replaces=True)
    assert str(caught.value) == f"cannot write {tmp_path}/missing/copy.db: No such file or directory"
