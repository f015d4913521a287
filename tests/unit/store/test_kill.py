"""A control plane that is killed at any moment has kept everything that it acknowledged.

A killed process loses its memory, but not what it has handed to the kernel. That a commit also waits for the
disk is tested by `test_database_waits_for_the_disk_at_each_commit`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from minicloud.store.port import Snapshot, StoredWorker
from tests.unit.store.crash_child import change
from tests.unit.store.files import read

KILLS = 6
ROOT = Path(__file__).resolve().parents[3]


def child(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.unit.store.crash_child", str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def check(snapshot: Snapshot, acknowledged: set[int]) -> None:
    """Check that everything acknowledged is kept, that nothing follows a gap, and that workers agree with
    entries."""
    kept_ids = [entry.event_id for entry in snapshot.entries]
    assert kept_ids == list(range(1, len(kept_ids) + 1))
    assert acknowledged <= set(kept_ids)
    workers: dict[str, StoredWorker] = {}
    for event_id in kept_ids:
        each = change(event_id)
        assert snapshot.entries[event_id - 1] == each.entry
        if each.worker is None:
            workers.pop(each.worker_id, None)
        else:
            workers[each.worker_id] = each.worker
    assert snapshot.workers == tuple(workers[worker_id] for worker_id in sorted(workers))
    assert snapshot.incarnation_floor == len(kept_ids)


def test_store_killed_at_any_moment_has_kept_everything_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "data" / "registry.db"
    random = Random(7)
    acknowledged: set[int] = set()
    for _ in range(KILLS):
        with child(path) as process:
            assert process.stdout is not None
            # The kill comes after so many acknowledgements, at any point of the writer's round.
            for _ in range(random.randrange(1, 150)):
                acknowledged.add(int(process.stdout.readline()))
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:  # the lines it still printed
                if line.endswith(b"\n"):
                    acknowledged.add(int(line))
            assert process.wait(timeout=10) == -signal.SIGKILL
        check(read(path), acknowledged)
    assert len(acknowledged) > KILLS


def test_store_killed_at_its_first_opening_can_be_opened_again(tmp_path: Path) -> None:
    # The file may never have been opened completely: the kill falls into making the tables, or near it.
    random = Random(11)
    for number in range(4):
        path = tmp_path / str(number) / "registry.db"
        with child(path) as process:
            while not path.exists():
                assert process.poll() is None
            for _ in range(random.randrange(200)):  # some tens of microseconds
                path.exists()
            process.kill()
            assert process.stdout is not None
            acknowledged = {int(line) for line in process.stdout if line.endswith(b"\n")}
        check(read(path), acknowledged)


@pytest.mark.parametrize("largest_bytes", [60_000, 200_000])
def test_store_whose_file_may_not_grow_acknowledges_nothing_that_it_loses(
    tmp_path: Path, largest_bytes: int
) -> None:
    # The kernel refuses to write past the limit, which looks like a failing disk without being root.
    path = tmp_path / "data" / "registry.db"
    with child(path, str(largest_bytes)) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = errors.decode().splitlines()
    assert line.startswith(f"not acknowledged: cannot write {path}: ")
    acknowledged = {int(each) for each in output.split()}
    assert acknowledged
    check(read(path), acknowledged)
