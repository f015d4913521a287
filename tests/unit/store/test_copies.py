"""No other user can read the registry's files, and none of them takes the place of another file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minicloud.core.errors import StoreError
from minicloud.store.sqlite.backup import back_up_at_rest, restore
from minicloud.store.sqlite.copies import put_in_place
from minicloud.store.sqlite.database import Database
from tests.unit.store.changes import kept
from tests.unit.store.files import SCHEMA_1, read

NOW = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


# Only root can use a file without any rights.
@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777 if os.geteuid() == 0 else 0o027], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that existed before, and that any user may read."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    return tmp_path / "data"


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def filled(path: Path) -> Path:
    database = Database(path)
    database.write([kept(1)])
    database.close()
    return path


@pytest.mark.usefixtures("umask")
def test_file_of_a_registry_is_for_its_user_alone_whatever_the_umask(folder: Path) -> None:
    database = Database(folder / "registry.db")
    database.write([kept(1)])
    with database.copied() as copy:
        assert stat.S_IMODE(os.fstat(copy.fileno()).st_mode) == 0o600
    assert modes(folder) == {"registry.db": 0o600, "registry.db-wal": 0o600}
    database.close()


@pytest.mark.usefixtures("umask")
def test_file_of_before_becomes_its_users_alone_with_what_is_beside_it(folder: Path) -> None:
    path = folder / "registry.db"
    path.write_bytes(SCHEMA_1.read_bytes())
    path.chmod(0o644)
    for suffix in ("-wal", "-journal", "-shm"):
        beside = folder / f"registry.db{suffix}"
        beside.touch()
        beside.chmod(0o664)
    Database(path).close()
    assert modes(folder) == dict.fromkeys(modes(folder), 0o600)
    assert "registry.db.schema-1" in modes(folder)


@pytest.mark.usefixtures("umask")
def test_copy_and_what_a_restore_leaves_are_for_their_user_alone(folder: Path) -> None:
    path = filled(folder / "registry.db")
    back_up_at_rest(path, folder / "copy.db")
    path.chmod(0o644)
    _, old = restore(folder / "copy.db", path, NOW)
    assert old is not None
    assert modes(folder) == dict.fromkeys(["registry.db", "copy.db", old.name], 0o600)


def test_restores_in_one_second_keep_each_of_what_was_there(folder: Path) -> None:
    path = filled(folder / "registry.db")
    back_up_at_rest(path, folder / "copy.db")
    olds = [restore(folder / "copy.db", path, NOW)[1] for _ in range(3)]
    assert len({old for old in olds if old is not None and old.exists()}) == 3


@pytest.fixture(params=["names", "no-second-names"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no-second-names":

        def no_link(source: Path, target: Path) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", no_link)


@pytest.mark.usefixtures("file_system")
def test_file_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    def fill(unfinished: Path) -> None:
        unfinished.write_text("ours")
        target.write_text("somebody's")

    if os.link.__name__ == "no_link":
        target.touch()  # the existing file is found when the name is taken
    with pytest.raises(StoreError, match=r"copy\.db is there already: name another file"):
        put_in_place(target, fill, replaces=False)
    assert target.read_text() == "somebody's"
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


@pytest.mark.usefixtures("file_system")
def test_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.symlink_to(tmp_path / "not-mounted" / "copy.db")
    with pytest.raises(StoreError, match="is there already"):
        put_in_place(target, lambda unfinished: None, replaces=False)
    assert target.is_symlink()


@pytest.mark.usefixtures("file_system")
def test_file_whose_name_ends_as_ours_while_unfinished_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "copy.db.unfinished").write_text("somebody's")
    path = filled(tmp_path / "registry.db")
    back_up_at_rest(path, tmp_path / "copy.db")
    assert read(tmp_path / "copy.db").last_event_id == 1
    assert (tmp_path / "copy.db.unfinished").read_text() == "somebody's"
    assert not (tmp_path / "copy.db.unfinished-1").exists()
