"""`minicloud backup` and `restore` report each failure in one line, and leave nothing behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from minicloud.__main__ import main
from minicloud.store.sqlite.database import Database
from minicloud.store.sqlite.schema import SCHEMA_VERSION
from tests.unit.cli.server import Answer, ScriptedServer, problem
from tests.unit.store.changes import kept

BACKUP = "POST /api/registry/backup"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a data folder with a registry of two workers."""
    database = Database(tmp_path / "data" / "registry.db")
    database.write([kept(1), kept(2)])
    database.close()
    return tmp_path / "data"


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == ""
    return line.removeprefix("minicloud: ")


def test_backup_writes_what_the_control_plane_sends(
    server: ScriptedServer, registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "first.db"), "--data-dir", str(registry)]) == 0
    content = (tmp_path / "first.db").read_bytes()
    server.on(BACKUP, Answer(content, content_type="application/vnd.sqlite3"))
    capsys.readouterr()
    assert main(["backup", str(tmp_path / "second.db")]) == 0
    assert (tmp_path / "second.db").read_bytes() == content
    assert capsys.readouterr().out == (
        f"{tmp_path}/second.db holds 2 workers, 2 events, the last of 2023-11-14 22:13:20Z "
        f"({len(content) // 1024} KiB, schema {SCHEMA_VERSION})\n"
    )


@pytest.mark.parametrize("ending", [{"chunked": True}, {"until_close": True}], ids=str)
def test_backup_through_a_proxy_that_drops_the_length_is_whole(
    server: ScriptedServer,
    registry: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ending: dict[str, Any],
) -> None:
    content = (registry / "registry.db").read_bytes()
    server.on(BACKUP, Answer(content, content_type="application/vnd.sqlite3", **ending))
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    assert (tmp_path / "copy.db").read_bytes() == content
    assert "holds 2 workers, 2 events" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [{}, {"chunked": True}, {"until_close": True}], ids=str)
@pytest.mark.parametrize("missing", ["a byte", "a page", "all but a page", "all but a byte", "all"])
def test_backup_cut_short_gets_no_name_however_its_end_is_told(
    server: ScriptedServer,
    registry: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ending: dict[str, Any],
    missing: str,
) -> None:
    content = (registry / "registry.db").read_bytes()
    amounts = {"a byte": 1, "a page": 4096, "all but a page": -4096, "all but a byte": -1, "all": 0}
    missing_bytes = amounts[missing] if amounts[missing] > 0 else len(content) + amounts[missing]
    if "chunked" in ending:
        missing_bytes += len(b"\r\n0\r\n\r\n")  # these bytes follow the last chunk
    answer = Answer(content, content_type="application/vnd.sqlite3", missing_bytes=missing_bytes, **ending)
    server.on(BACKUP, answer)
    line = refused(capsys, 1, "backup", str(tmp_path / "copy.db"))
    assert any(text in line for text in ("broke off: try again", "damaged", "is no copy of a registry"))
    assert list(tmp_path.glob("copy*")) == []


def test_backup_that_is_no_registry_gets_no_name(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(BACKUP, Answer(b"<html>a proxy's own page</html>" * 10, content_type="text/html"))
    line = refused(capsys, 1, "backup", str(tmp_path / "copy.db"))
    assert line.endswith("copy.db.unfinished is no copy of a registry: name a backup")
    assert list(tmp_path.iterdir()) == []


def test_backup_that_breaks_off_gets_no_name(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(BACKUP, Answer(bytes(4096), missing_bytes=4080))
    line = refused(capsys, 1, "backup", str(tmp_path / "copy.db"))
    assert line == f"the answer of {server.url} broke off: try again"
    assert list(tmp_path.iterdir()) == []


def test_backup_refused_by_the_control_plane_says_why(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(BACKUP, problem(409, "this control plane keeps its registry in memory"))
    line = refused(capsys, 1, "backup", str(tmp_path / "copy.db"))
    assert line == "this control plane keeps its registry in memory"
    assert list(tmp_path.iterdir()) == []


def test_backup_never_replaces_a_file(
    server: ScriptedServer, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = registry / "registry.db"
    before = path.read_bytes()
    line = refused(capsys, 1, "backup", str(path))
    assert line == f"{path} is there already: name another file, or remove it first"
    assert path.read_bytes() == before
    assert server.asked == []


def test_backup_to_where_nothing_can_be_written_says_so(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "missing" / "copy.db"
    line = refused(capsys, 1, "backup", str(target))
    assert line == f"cannot write {target}: No such file or directory"


def test_backup_of_a_data_folder_over_rest_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["backup", "x.db", "--data-dir", str(tmp_path), "--url", "http://127.0.0.1:1"])
    assert ended.value.code == 2
    assert "leave out --url" in capsys.readouterr().err


def test_restore_names_what_it_brought_back_and_what_was_there(
    registry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "copy.db"), "--data-dir", str(registry)]) == 0
    capsys.readouterr()
    assert main(["restore", str(tmp_path / "copy.db"), "--data-dir", str(registry)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{registry}/registry.db now holds 2 workers, 2 events")
    old = second.removeprefix("what was there before is ")
    assert Path(old).is_file()
    assert Path(old).parent == registry


def test_restore_finds_the_folder_as_the_control_plane_does(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "copy.db"), "--data-dir", str(registry)]) == 0
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert main(["restore", str(tmp_path / "copy.db")]) == 0
    assert (tmp_path / "state" / "control-plane" / "registry.db").is_file()
    monkeypatch.setenv("MINICLOUD_DATA_DIR", "none")
    capsys.readouterr()
    assert "keeps nothing (--data-dir none)" in refused(capsys, 2, "restore", str(tmp_path / "copy.db"))


def test_restore_with_check_changes_nothing(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    assert main(["backup", str(copy), "--data-dir", str(registry)]) == 0
    monkeypatch.setenv("MINICLOUD_DATA_DIR", str(tmp_path / "never"))
    capsys.readouterr()
    assert main(["restore", str(copy), "--check"]) == 0
    assert capsys.readouterr().out.startswith(f"{copy} can be brought back: it holds 2 workers")
    assert not (tmp_path / "never").exists()
    connection = sqlite3.connect(copy)
    connection.execute("UPDATE workers SET admin = ''")
    connection.commit()
    connection.close()
    assert refused(capsys, 1, "restore", str(copy), "--check") == f"{copy} is damaged: take another backup"
