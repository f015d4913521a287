"""A file in the registry's place is opened or refused, with the right line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicloud.core.errors import StoreError, StoreWriteError
from minicloud.store.port import HISTORY_ENTRIES, Change
from minicloud.store.sqlite.database import TRIM_EVERY_ENTRIES, Database
from minicloud.store.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from tests.unit.store.changes import entry, gone, kept, stored
from tests.unit.store.files import by_hand, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "registry.db"


@pytest.fixture
def written(path: Path) -> Path:
    """Return the file of a control plane of 500 workers."""
    write(path, *(kept(number) for number in range(1, 501)))
    return path


def write(path: Path, *changes: Change) -> None:
    database = Database(path)
    try:
        database.write(changes)
    finally:
        database.close()


def refusal(path: Path) -> str:
    """Return the one line with which `path` is refused; a refused file stays as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        read(path)
    if before is not None:
        assert path.read_bytes() == before
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_database_in_a_missing_folder_makes_it_for_its_user_alone(path: Path) -> None:
    Database(path).close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_database_made_is_known_by_its_header(path: Path) -> None:
    Database(path).close()
    header = path.read_bytes()[:100]  # sqlite.org/fileformat.html: user version at 60, application id at 68
    assert int.from_bytes(header[60:64], "big") == SCHEMA_VERSION
    assert int.from_bytes(header[68:72], "big") == APPLICATION_ID


def test_database_file_that_is_empty_counts_as_new(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    write(path, kept(1))
    assert read(path).workers == (stored(1),)


def test_database_file_of_text_is_refused_with_the_remedy(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("workers:\n- worker-1\n" * 100)
    assert "is not a database: move it aside" in refusal(path)


def test_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    by_hand(path, "CREATE TABLE songs (title TEXT)")
    assert "another program's database" in refusal(path)


def test_database_with_another_application_id_is_refused(path: Path) -> None:
    path.parent.mkdir()
    by_hand(path, "PRAGMA application_id = 252006673")
    assert "another program's database" in refusal(path)


@pytest.mark.parametrize("kept_fraction", [0.1, 0.5, 0.9])
def test_database_cut_short_is_refused(written: Path, kept_fraction: float) -> None:
    os.truncate(written, int(written.stat().st_size * kept_fraction))
    text = refusal(written)
    assert text == (
        f"{written} is damaged: bring back a backup (minicloud restore), or move it and its -wal aside: "
        "workers register again by themselves"
    )


def test_database_with_a_page_overwritten_is_refused(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[8192:12288] = b"\xaa" * 4096
    written.write_bytes(content)
    assert "is damaged" in refusal(written)


def test_database_damaged_where_nothing_is_read_is_refused(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[36:40] = (7).to_bytes(4, "big")  # the header counts free pages that do not exist
    written.write_bytes(content)
    assert "is damaged" in refusal(written)


def test_database_refused_is_let_go_of(written: Path) -> None:
    by_hand(written, "PRAGMA user_version = 99")
    with pytest.raises(StoreError) as caught:  # noqa: F841 - its traceback holds on to what was opened
        Database(written)
    by_hand(written, f"PRAGMA user_version = {SCHEMA_VERSION}")
    assert len(read(written).workers) == 500


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workers SET health = 'FINE'",
        "UPDATE workers SET admin = ''",
        "UPDATE workers SET metadata = '{'",
        "UPDATE workers SET metadata = '[]'",
        "UPDATE workers SET cpu_utilization = 1.5",
        "UPDATE workers SET cpu_cores = 'many'",
        "UPDATE entries SET new_status = 'GONE'",
        "DELETE FROM floor",
        "DROP TABLE entries",
        "ALTER TABLE entries DROP COLUMN reason",
    ],
)
def test_database_with_rows_that_make_no_sense_is_refused(written: Path, statement: str) -> None:
    by_hand(written, statement)
    assert "is damaged" in refusal(written)


def test_database_open_in_one_control_plane_is_refused_to_another(written: Path) -> None:
    # This is a second process, as POSIX locks do not hold between two descriptors of one.
    holder = Database(written)
    try:
        script = (
            "import sys\nfrom pathlib import Path\nfrom minicloud.core.errors import StoreError\n"
            "from minicloud.store.sqlite.database import Database\n"
            "try:\n    Database(Path(sys.argv[1]))\nexcept StoreError as error:\n    print(error)\n"
        )
        command = [sys.executable, "-c", script, str(written)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert answer.stdout == (
            f"{written} is in use by another process: stop the other control plane "
            "or name another --data-dir\n"
        )
        holder.write([kept(501)])  # the attempt does not disturb the first
    finally:
        holder.close()
    again = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert again.stdout == ""


def test_database_open_is_refused_to_another_in_the_same_process(path: Path) -> None:
    holder = Database(path)
    with pytest.raises(StoreError, match="in use by another process"):
        Database(path)
    holder.close()
    Database(path).close()


def test_database_under_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert "in its folder: it is not a folder" in refusal(tmp_path / "data" / "registry.db")
    assert "in its folder: Not a directory" in refusal(tmp_path / "data" / "deep" / "registry.db")


def test_database_path_that_is_a_folder_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert "cannot write" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_database_in_a_folder_not_writable_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    assert f"no permission for {path.parent}: grant it" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_database_file_not_writable_is_refused_when_opened(written: Path) -> None:
    written.chmod(0o400)
    assert f"no permission for {written}: grant it" in refusal(written)


def test_database_waits_for_the_disk_at_each_commit(path: Path) -> None:
    database = Database(path)
    assert database._value("PRAGMA synchronous") == 2  # FULL
    assert database._value("PRAGMA journal_mode") == "wal"
    database.close()


def test_database_write_refused_keeps_nothing_of_the_batch(path: Path) -> None:
    database = Database(path)
    database.write([kept(1)])
    with pytest.raises(StoreWriteError, match=r"cannot write .*registry\.db: UNIQUE"):
        database.write([kept(2), kept(3), kept(1, "other")])
    database.write([kept(2, "after")])
    assert [worker.worker_id for worker in database.snapshot().workers] == ["after", "worker-1"]
    database.close()


def test_database_history_in_the_file_never_exceeds_its_bound_by_more_than_a_tenth(path: Path) -> None:
    # Each opening adds fewer entries than set off the trimming: a restart must not put it off.
    step = TRIM_EVERY_ENTRIES * 2 // 3
    largest = 0
    for first in range(1, HISTORY_ENTRIES * 3 // 2, step):
        database = Database(path)
        database.write([kept(number, "one") for number in range(first, first + step)])
        largest = max(largest, database._value("SELECT count(*) FROM entries"))
        database.close()
    assert len(read(path).entries) == HISTORY_ENTRIES
    assert HISTORY_ENTRIES < largest <= HISTORY_ENTRIES + TRIM_EVERY_ENTRIES + step


def test_database_history_written_one_by_one_is_trimmed_too(path: Path) -> None:
    database = Database(path)
    trimmed_at = HISTORY_ENTRIES + TRIM_EVERY_ENTRIES
    database.write([kept(number, "one") for number in range(1, trimmed_at)])
    database.write([kept(trimmed_at, "one")])
    assert database._value("SELECT min(event_id) FROM entries") == TRIM_EVERY_ENTRIES + 1
    database.close()


def test_database_with_more_history_than_its_bound_loads_the_newest(path: Path) -> None:
    more = TRIM_EVERY_ENTRIES // 2  # not enough to set off the trimming
    write(path, *(kept(number, "one") for number in range(1, HISTORY_ENTRIES + 1)))
    write(path, *(kept(number, "one") for number in range(HISTORY_ENTRIES + 1, HISTORY_ENTRIES + more + 1)))
    entries = read(path).entries
    assert (entries[0].event_id, entries[-1].event_id) == (more + 1, HISTORY_ENTRIES + more)


@settings(max_examples=30, deadline=None)  # each example makes a file
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=6, max_size=6),
    metadata=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4),
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
)
def test_database_of_any_text_and_number_gives_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    metadata: dict[str, str],
    numbers: list[int],
) -> None:
    worker = replace(
        stored(1), endpoint=texts[0], instance_id=texts[1], wanted_id=texts[2], health_reason=texts[3],
        admin_reason=texts[4], metadata=metadata, registered_at_ms=numbers[0], last_heartbeat_ms=numbers[1],
    )  # fmt: skip
    line = replace(entry(1), at_ms=numbers[2], reason=texts[5], endpoint=texts[0])
    path = tmp_path_factory.mktemp("any") / "registry.db"
    write(path, Change(line.worker_id, worker, 7, line))
    snapshot = read(path)
    assert snapshot.workers == (worker,)
    assert dict(snapshot.workers[0].metadata) == metadata
    assert snapshot.entries == (line,)
    assert snapshot.incarnation_floor == 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that is a file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, timeout=30).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=30)


def test_database_on_a_full_disk_says_so_and_keeps_what_it_acknowledged(small_disk: Path) -> None:
    path = small_disk / "registry.db"
    database = Database(path)
    acknowledged = 0

    def fill() -> None:
        nonlocal acknowledged
        while acknowledged < 100_000:
            database.write([kept(acknowledged + 1), gone(acknowledged + 2, "nobody")])
            acknowledged += 2

    with pytest.raises(StoreError) as caught:
        fill()
    database.close()
    text = str(caught.value)
    assert text.startswith(f"cannot write {path}: ")
    assert "full" in text or "I/O" in text
    assert "\n" not in text
    assert acknowledged > 0
    # Acknowledged changes are there once there is room again.
    roomy = small_disk.parent / "roomy"
    shutil.copytree(small_disk, roomy)
    entries = read(roomy / "registry.db").entries
    ids = [each.event_id for each in entries]
    # The batch that was refused may be there too: the disk was full after it was committed.
    assert ids in (list(range(1, acknowledged + 1)), list(range(1, acknowledged + 3)))
