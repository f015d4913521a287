"""Copies of a registry at rest are made, checked, refused, and put in place safely at each moment (DESIGN
43)."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minicloud.core.errors import StoreError
from minicloud.store.sqlite import backup
from minicloud.store.sqlite.backup import Contents, back_up_at_rest, check, look_into, restore
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.schema import SCHEMA_VERSION
from tests.unit.store.changes import gone, kept
from tests.unit.store.files import SCHEMA_1, by_hand, read

NOW = datetime(2026, 11, 24, 12, 30, 59, tzinfo=UTC)


def write(path: Path, *numbers: int) -> Path:
    database = Database(path)
    database.write([kept(number) for number in numbers])
    database.close()
    return path


def workers(path: Path) -> list[str]:
    return [worker.worker_id for worker in read(path).workers]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(mode=0o700)
    return write(tmp_path / "data" / "registry.db", 1, 2, 3)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a backup of an earlier day, with one worker that is gone since and none of those that came
    later."""
    write(tmp_path / "earlier.db", 7)
    back_up_at_rest(tmp_path / "earlier.db", tmp_path / "copy.db")
    return tmp_path / "copy.db"


def refusal(source: Path) -> str:
    """Return the one line with which `source` is refused as a copy; it stays as it was."""
    before = source.read_bytes() if source.is_file() else None
    with pytest.raises(StoreError) as caught:
        check(source, source.with_name("scratch.db"))
    assert before is None or source.read_bytes() == before
    text = str(caught.value)
    assert "\n" not in text
    assert str(source) in text
    return text


def test_copy_of_a_registry_at_rest_holds_all_of_it(registry: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    contents = back_up_at_rest(registry, target)
    assert contents == Contents(SCHEMA_VERSION, 3, 3, 1_700_000_000_003, target.stat().st_size)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert read(target) == read(registry)


def test_copy_names_how_many_workers_and_how_many_events_it_holds(tmp_path: Path) -> None:
    database = Database(tmp_path / "registry.db")
    database.write([kept(1, "a"), kept(2, "b"), kept(3, "a"), gone(4, "b"), kept(5, "c")])
    database.close()
    contents = look_into(tmp_path / "registry.db")
    assert (contents.workers, contents.entries) == (2, 5)
    assert contents.newest_ms == max(entry.at_ms for entry in read(tmp_path / "registry.db").entries)


def test_copy_of_a_registry_left_by_a_kill_holds_what_its_log_holds(registry: Path, tmp_path: Path) -> None:
    killed = Database(registry)
    killed._commit([kept(4)])  # and dies before that is in the file
    shutil.copytree(registry.parent, tmp_path / "killed")  # as the kernel leaves it, not closed
    killed.close()
    left = tmp_path / "killed" / "registry.db"
    assert left.with_name("registry.db-wal").stat().st_size > 0
    assert back_up_at_rest(left, tmp_path / "copy.db").workers == 4


def test_copy_of_a_registry_in_use_is_refused(registry: Path, tmp_path: Path) -> None:
    holder = Database(registry)
    with pytest.raises(StoreError, match=r"in use by a control plane: leave --data-dir out"):
        back_up_at_rest(registry, tmp_path / "copy.db")
    holder.write([kept(4)])
    holder.close()
    assert not (tmp_path / "copy.db").exists()


def test_copy_of_no_registry_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no "):
        back_up_at_rest(tmp_path / "registry.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_copy_of_an_older_schema_is_taken_as_it_is(tmp_path: Path) -> None:
    shutil.copyfile(SCHEMA_1, tmp_path / "registry.db")
    assert back_up_at_rest(tmp_path / "registry.db", tmp_path / "copy.db").schema == 1
    assert look_into(tmp_path / "registry.db").schema == 1


def test_copy_that_is_missing_or_something_else_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "missing.db").endswith("is no file: name a backup")
    text = tmp_path / "text"
    text.write_text("workers:\n- worker-1\n" * 100)
    assert refusal(text).endswith("is no copy of a registry: name a backup")
    by_hand(tmp_path / "songs.db", "CREATE TABLE songs (title TEXT)")
    assert refusal(tmp_path / "songs.db").endswith("is no copy of a registry: name a backup")


def test_copy_of_a_newer_schema_is_refused(copy: Path) -> None:
    by_hand(copy, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    assert f"schema {SCHEMA_VERSION + 1}; this one" in refusal(copy)


def test_copy_cut_short_is_refused(registry: Path, tmp_path: Path) -> None:
    write(registry, *range(10, 500))
    back_up_at_rest(registry, tmp_path / "copy.db")
    os.truncate(tmp_path / "copy.db", 40_000)
    assert refusal(tmp_path / "copy.db").endswith("is damaged: take another backup")


def test_copy_with_rows_that_make_no_sense_is_refused(copy: Path) -> None:
    by_hand(copy, "UPDATE workers SET health = 'FINE'")
    by_hand(copy, "PRAGMA journal_mode = DELETE")
    assert refusal(copy).endswith("is damaged: take another backup")


def test_copy_made_by_copying_files_under_a_control_plane_is_refused(registry: Path, tmp_path: Path) -> None:
    holder = Database(registry)
    holder.write([kept(4)])
    shutil.copytree(registry.parent, tmp_path / "copied")
    holder.close()
    assert "was not closed in order: registry.db-wal beside it" in refusal(
        tmp_path / "copied" / "registry.db"
    )


def test_restored_registry_is_the_copy_and_the_old_one_is_kept(registry: Path, copy: Path) -> None:
    contents, old = restore(copy, registry, NOW)
    assert contents.workers == 1
    assert old == registry.with_name("registry.db.before-restore-20261124T123059Z")
    assert old is not None
    # Neither is opened yet: no file beside them would be read as a part of them.
    assert sorted(path.name for path in registry.parent.iterdir()) == [registry.name, old.name]
    assert look_into(old).workers == 3
    assert workers(registry) == ["worker-7"]
    assert workers(old) == ["worker-1", "worker-2", "worker-3"]
    assert look_into(copy) == contents


def test_registry_left_by_a_kill_is_kept_with_what_its_log_holds(
    registry: Path, copy: Path, tmp_path: Path
) -> None:
    killed = Database(registry)
    killed._commit([kept(4)])  # and dies before that is in the file
    shutil.copytree(registry.parent, tmp_path / "killed")
    killed.close()
    left = tmp_path / "killed" / "registry.db"
    _, old = restore(copy, left, NOW)
    assert old is not None
    assert workers(left) == ["worker-7"]
    assert len(workers(old)) == 4


def test_restored_registry_where_none_was_is_the_copy(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert restore(copy, tmp_path / "new" / "registry.db", NOW)[1] is None
    assert workers(tmp_path / "new" / "registry.db") == ["worker-7"]


def test_restored_registry_of_an_older_schema_is_brought_up_to_date(registry: Path) -> None:
    contents, _ = restore(SCHEMA_1, registry, NOW)
    assert contents.schema == 1
    assert look_into(registry).schema == SCHEMA_VERSION
    assert workers(registry) == ["worker-1", "worker-3"]


def test_restoring_over_a_registry_in_use_is_refused(registry: Path, copy: Path) -> None:
    holder = Database(registry)
    with pytest.raises(StoreError, match="is in use by a control plane: stop the control plane first"):
        restore(copy, registry, NOW)
    holder.write([kept(4)])
    holder.close()
    assert len(workers(registry)) == 4
    assert [path.name for path in registry.parent.iterdir()] == ["registry.db"]


def test_restoring_what_is_refused_changes_nothing(registry: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    bad.write_bytes(registry.read_bytes()[:5000])
    with pytest.raises(StoreError):
        restore(bad, registry, NOW)
    assert [path.name for path in registry.parent.iterdir()] == ["registry.db"]
    assert len(workers(registry)) == 3


def test_registry_is_whole_at_every_moment_of_restoring(
    registry: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Database(registry)
    killed._commit([kept(4)])  # and dies before that is in the file
    shutil.copytree(registry.parent, tmp_path / "killed")
    killed.close()
    registry = tmp_path / "killed" / "registry.db"
    seen: list[list[str]] = []
    replace, link = os.replace, os.link

    def look() -> None:
        assert not registry.with_name("registry.db-wal").exists()
        shutil.copyfile(registry, copy.with_name("seen.db"))
        seen.append(workers(copy.with_name("seen.db")))

    def watched_link(source: Path, target: Path) -> None:
        look()
        link(source, target)
        look()

    def watched_replace(source: Path, target: Path) -> None:
        look()
        replace(source, target)
        look()

    monkeypatch.setattr(os, "link", watched_link)
    monkeypatch.setattr(os, "replace", watched_replace)
    restore(copy, registry, NOW)
    old = ["worker-1", "worker-2", "worker-3", "worker-4"]
    assert seen == [old, old, old, ["worker-7"]]


def test_restoring_where_files_have_one_name_only_keeps_a_copy(
    registry: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_link)
    _, old = restore(copy, registry, NOW)
    assert old is not None
    assert workers(old) == ["worker-1", "worker-2", "worker-3"]
    assert workers(registry) == ["worker-7"]


def test_restored_registry_is_not_mixed_with_what_a_damaged_one_left(registry: Path, copy: Path) -> None:
    registry.write_text("no database at all " * 1000)
    wal = registry.with_name("registry.db-wal")
    wal.write_bytes(b"its log")
    _, old = restore(copy, registry, NOW)
    assert old is not None
    assert old.read_text().startswith("no database at all")
    assert old.with_name(f"{old.name}-wal").read_bytes() == b"its log"
    assert workers(registry) == ["worker-7"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_restored_registry_belongs_to_whom_its_folder_does(registry: Path, copy: Path) -> None:
    os.chown(registry.parent, 12345, 12346)
    restore(copy, registry, NOW)
    found = registry.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o600)


def test_module_says_what_it_cannot_write(registry: Path, copy: Path) -> None:
    (registry.parent / "registry.db.unfinished").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*registry\.db: Is a directory"):
        backup.restore(copy, registry, NOW)
