"""Every flipped bit of the registry is harmless or named, and no crash is taken for damage (DESIGN 80)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from minicloud.core.errors import StoreError, StoreUnavailableError
from minicloud.store.port import Change, Snapshot
from minicloud.store.sqlite.database import Database
from tests.unit.store.changes import gone, kept
from tests.unit.store.files import by_hand, read

TRIALS = 300
WORKERS = 60
PAGE_BYTES = 4096


def registry(path: Path) -> Path:
    """Return a registry with a history: workers registered, registered again, and left."""
    database = Database(path)
    for first in range(1, 2 * WORKERS, 20):
        database.write([change(number) for number in range(first, first + 20)])
    database.close()
    return path


def change(number: int) -> Change:
    worker_id = f"worker-{number % WORKERS}"
    return gone(number, worker_id, number) if number % 7 == 0 else kept(number, worker_id, number)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return registry(tmp_path_factory.mktemp("sound") / "registry.db")


def flip(path: Path, random: Random) -> str:
    """Change one bit of the file, and return which one."""
    content = bytearray(path.read_bytes())
    offset, bit = random.randrange(len(content)), random.randrange(8)
    content[offset] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {offset} of {path.name}"


def opened(path: Path) -> Snapshot | str:
    """Return the registry as a control plane reads it, or the one line in which it refuses to start."""
    try:
        return read(path)
    except StoreError as error:
        refusal = error
    assert not isinstance(refusal, StoreUnavailableError), f"a later try is said to mend it: {refusal}"
    assert "\n" not in str(refusal)
    return str(refusal)


def test_any_bit_of_a_registry_that_changes_is_harmless_or_named(sound: Path, tmp_path: Path) -> None:
    random = Random(14)
    expected = read(sound)
    named = 0
    for _ in range(TRIALS):
        path = tmp_path / "registry.db"
        shutil.copyfile(sound, path)
        where = flip(path, random)
        found = opened(path)
        if isinstance(found, str):
            named += 1
            assert "minicloud restore" in found, (where, found)
        else:
            assert found == expected, where
        for left in tmp_path.glob("registry.db*"):
            left.unlink()
    assert named > TRIALS / 4  # half of the bits or so carry data


def test_any_byte_of_the_header_that_changes_is_harmless_or_named(sound: Path, tmp_path: Path) -> None:
    expected = read(sound)
    path = tmp_path / "registry.db"
    for offset in range(100):
        for mask in (0x01, 0x10, 0xFF):
            content = bytearray(sound.read_bytes())
            content[offset] ^= mask
            path.write_bytes(content)
            found = opened(path)
            named = isinstance(found, str) and "minicloud restore" in found
            assert found == expected or named, (offset, mask, found)
            for left in tmp_path.glob("registry.db*"):
                left.unlink()


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        (
            "UPDATE workers SET admin = 'ACTIVE' WHERE worker_id = 'worker-1'",
            "50 of 51 workers, 120 of 120",
        ),
        ("UPDATE workers SET incarnation = incarnation + 1", "0 of 51 workers, 120 of 120"),
        ("DELETE FROM workers WHERE worker_id = 'worker-1'", "50 of 51 workers, 120 of 120 events"),
        ("DELETE FROM entries WHERE event_id = 50", "51 of 51 workers, 119 of 120 events"),
        ("UPDATE floor SET incarnation = 1", "51 workers, 120 events"),
        ("UPDATE head SET batch = batch - 1", "51 workers, 120 events"),
        ("DELETE FROM head", "51 workers, 120 events"),
        ("DROP TABLE head", "51 workers, 120 events"),
        ("CREATE INDEX more ON workers (endpoint)", "51 workers, 120 events"),
    ],
)
def test_row_that_was_changed_or_lost_is_named_with_what_is_left(
    sound: Path, tmp_path: Path, statement: str, left: str
) -> None:
    path = tmp_path / "registry.db"
    shutil.copyfile(sound, path)
    by_hand(path, statement)
    found = opened(path)
    assert isinstance(found, str)
    assert f"is damaged ({left}" in found
    assert "match their checksums): bring back a backup (minicloud restore)" in found


def test_part_of_an_older_registry_is_named(tmp_path: Path) -> None:
    # The checksum of an unchanged row is right; the head shows the damage.
    path = registry(tmp_path / "registry.db")
    shutil.copyfile(path, tmp_path / "older.db")
    database = Database(path)
    database.write([kept(1001, "worker-1", 1001)])
    database.close()
    assert isinstance(opened(path), Snapshot)
    by_hand(
        path,
        f"ATTACH '{tmp_path / 'older.db'}' AS older",
        "REPLACE INTO workers SELECT * FROM older.workers WHERE worker_id = 'worker-1'",
    )
    assert "is damaged (51 of 51 workers, 121 of 121 events and 0 of 0 runs match" in str(opened(path))


# Crashes


@pytest.fixture
def crashed(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders of a control plane that died after the commit of a batch.

    In the first, the log is whole and the file lacks the batch. In the second, the file has it all, and the
    log is not emptied yet.
    """
    before, after = tmp_path / "before", tmp_path / "after"
    database = Database(registry(tmp_path / "data" / "registry.db"))
    database.snapshot()
    database._commit([change(number) for number in range(1000, 1020)])
    shutil.copytree(tmp_path / "data", before)
    database._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    shutil.copytree(tmp_path / "data", after)
    database.close()
    assert (before / "registry.db-wal").stat().st_size > PAGE_BYTES
    assert (before / "registry.db").read_bytes() != (after / "registry.db").read_bytes()
    return before / "registry.db", after / "registry.db"


def ids_of(snapshot: Snapshot) -> set[int]:
    return {entry.event_id for entry in snapshot.entries}


def expected_ids(found: Snapshot | str) -> bool:
    """Return True if it holds everything acknowledged, and all or nothing of the batch under way."""
    old = set(range(1, 2 * WORKERS + 1))
    return isinstance(found, Snapshot) and ids_of(found) in (old, old | set(range(1000, 1020)))


def copy_to(folder: Path, database: bytes, log: bytes) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "registry.db").write_bytes(database)
    (folder / "registry.db-wal").write_bytes(log)
    return folder / "registry.db"


def test_log_cut_off_at_any_length_loses_nothing_acknowledged(
    crashed: tuple[Path, Path], tmp_path: Path
) -> None:
    """Power is lost while the log is written, or while it is emptied."""
    for registry in crashed:
        database, log = registry.read_bytes(), registry.with_name("registry.db-wal").read_bytes()
        frame = 24 + PAGE_BYTES
        lengths = {0, 1, 31, 32, len(log) - 1, len(log)}
        lengths |= {32 + n * frame + more for n in range(len(log) // frame) for more in (0, 1, 24, 2000)}
        for length in sorted(lengths):
            found = opened(copy_to(tmp_path / "cut", database, log[:length]))
            assert expected_ids(found), (registry, length, found)
            if registry == crashed[1]:
                assert 1019 in ids_of(found), length  # type: ignore[arg-type]


def test_file_of_which_any_part_was_brought_up_to_date_is_whole_with_its_log(
    crashed: tuple[Path, Path], tmp_path: Path
) -> None:
    """Power is lost while the log is brought into the file, whose pages come in any order."""
    old, new = (registry.read_bytes() for registry in crashed)
    log = crashed[0].with_name("registry.db-wal").read_bytes()
    random = Random(3)
    for _ in range(60):
        size = random.choice((len(old), len(new)))
        pages = [
            (new if random.random() < 0.5 else old)[start : start + PAGE_BYTES] or b"\0" * PAGE_BYTES
            for start in range(0, size, PAGE_BYTES)
        ]
        found = opened(copy_to(tmp_path / "mixed", b"".join(pages), log))
        assert expected_ids(found), found
        assert 1019 in ids_of(found)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_log_damaged_after_a_crash_loses_nothing_acknowledged_or_is_named(
    crashed: tuple[Path, Path], tmp_path: Path, damage: str
) -> None:
    """If a part of the log is in the file already, and another part is lost, the file is damaged."""
    old, new = (registry.read_bytes() for registry in crashed)
    log = crashed[0].with_name("registry.db-wal").read_bytes()
    random = Random(15)
    named = 0
    for trial in range(TRIALS):
        half = [
            (new if random.random() < 0.5 else old)[start : start + PAGE_BYTES]
            for start in range(0, len(new), PAGE_BYTES)
        ]
        path = copy_to(tmp_path / "damaged", random.choice((old, new, b"".join(half))), log)
        wal = path.with_name("registry.db-wal")
        where = ""
        if damage == "flip":
            where = flip(wal, random)
        else:
            os.truncate(wal, random.randrange(len(log)))
        found = opened(path)
        if isinstance(found, str):
            named += 1
            assert "is damaged" in found, (trial, where, found)
        else:
            assert expected_ids(found), (trial, where)
    assert 0 < named < TRIALS


def test_log_is_empty_whenever_something_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    database = Database(path)
    wal = path.with_name("registry.db-wal")
    for number in range(1, 20):
        database.write([change(number)])
        assert wal.stat().st_size == 0
        shutil.copyfile(path, tmp_path / "alone.db")
        assert read(tmp_path / "alone.db").last_event_id == number
    database.close()


def test_batch_committed_and_not_sealed_is_given_again_and_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "registry.db"
    database = Database(path)
    database.write([kept(1, "a", 1)])
    seal = Database._seal

    def fail(self: Database) -> None:
        self._connection.execute("SELECT * FROM nothing")

    monkeypatch.setattr(Database, "_seal", fail)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="cannot write"):
            database.write([kept(2, "b", 2), kept(3, "a", 3)])
    monkeypatch.setattr(Database, "_seal", seal)
    database.write([kept(2, "b", 2), kept(3, "a", 3), gone(4, "b", 4)])
    database.close()
    snapshot = read(path)
    assert [entry.event_id for entry in snapshot.entries] == [1, 2, 3, 4]
    assert snapshot.workers == (kept(3, "a").worker,)
    assert snapshot.incarnation_floor == 4
