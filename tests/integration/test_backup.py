"""The registry is copied and put back, with real processes and real files."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Event, Thread

from tests.integration.processes import ControlPlane, Launcher, Worker


def done(launch: Launcher, *words: str) -> str:
    """Return the output of a command that succeeded."""
    process = launch.run(*words, name=words[0])
    assert process.exit_code() == 0, process.stderr
    return process.stdout


def refused(launch: Launcher, *words: str) -> str:
    """Return the one line with which a command fails."""
    process = launch.run(*words, name=words[0])
    assert process.exit_code() == 1, process.stdout
    (line,) = process.stderr.splitlines()
    return line.removeprefix("minicloud: ")


def registered(launch: Launcher, plane: ControlPlane, *worker_ids: str) -> list[Worker]:
    workers = [launch.worker(plane, worker_id) for worker_id in worker_ids]
    for worker_id in worker_ids:
        plane.until_status(worker_id, "HEALTHY")
    return workers


def test_registry_backed_up_while_it_runs_comes_back_after_all_is_lost(launch: Launcher) -> None:
    ports, folder, copy = launch.reserved_ports(), launch.folder / "data", launch.folder / "copy.db"
    plane = launch.control_plane(ports=ports, data_dir=folder)
    registered(launch, plane, "a", "b")
    assert plane.post("/api/workers/b/cordon")["status"] == "DRAINING"
    shown = done(launch, "backup", str(copy), "--url", plane.url)
    assert shown.startswith(f"{copy} holds 2 workers, 3 events, the last of ")
    plane.until_heard_from("a")  # the backup did not disturb the workers
    plane.kill()
    for path in folder.iterdir():
        path.unlink()
    done(launch, "restore", str(copy), "--data-dir", str(folder))
    again = launch.control_plane(ports=ports, data_dir=folder)
    # No worker can have registered again before this, so these are the workers of the copy.
    assert set(again.statuses) == {"a", "b"}
    again.until_status("b", "DRAINING")
    again.until_heard_from("a")
    again.until_heard_from("b")
    kinds = [entry["kind"] for entry in again.events_of("a")]
    assert kinds[0] == "registered"


def test_worker_registered_since_the_backup_registers_again(launch: Launcher) -> None:
    ports, folder, copy = launch.reserved_ports(), launch.folder / "data", launch.folder / "copy.db"
    plane = launch.control_plane(ports=ports, data_dir=folder)
    registered(launch, plane, "before")
    done(launch, "backup", str(copy), "--url", plane.url)
    (since,) = registered(launch, plane, "since")
    assert plane.end() == 0
    shown = done(launch, "restore", str(copy), "--data-dir", str(folder))
    old = Path(shown.splitlines()[1].removeprefix("what was there before is "))
    again = launch.control_plane(ports=ports, data_dir=folder)
    again.until_status("before", "HEALTHY")
    since.until_logged("told_to_register")
    again.until_status("since", "HEALTHY")
    connection = sqlite3.connect(old)
    assert connection.execute("SELECT count(*) FROM workers").fetchone() == (2,)
    connection.close()


def test_registry_in_use_is_neither_replaced_nor_read(launch: Launcher) -> None:
    folder, copy = launch.folder / "data", launch.folder / "copy.db"
    plane = launch.control_plane(data_dir=folder)
    registered(launch, plane, "a")
    done(launch, "backup", str(copy), "--url", plane.url)
    path = folder / "registry.db"
    assert refused(launch, "restore", str(copy), "--data-dir", str(folder)) == (
        f"{path} is in use by a control plane: stop the control plane first"
    )
    assert refused(launch, "backup", str(launch.folder / "other.db"), "--data-dir", str(folder)) == (
        f"{path} is in use by a control plane: leave --data-dir out, and it makes the copy itself"
    )
    plane.until_heard_from("a")
    assert plane.end() == 0
    assert sorted(each.name for each in folder.iterdir()) == ["registry.db"]


def test_backup_taken_while_changes_go_on_holds_no_half_of_one(launch: Launcher) -> None:
    plane = launch.control_plane(data_dir=launch.folder / "data")
    registered(launch, plane, "a")
    stop = Event()

    def change() -> None:
        while not stop.is_set():
            plane.post("/api/workers/a/cordon")
            plane.post("/api/workers/a/uncordon")

    changing = Thread(target=change)
    changing.start()
    try:
        for number in range(5):
            copy = launch.folder / f"copy-{number}.db"
            done(launch, "backup", str(copy), "--url", plane.url)
            connection = sqlite3.connect(copy)
            newest, entries = connection.execute("SELECT max(event_id), count(*) FROM entries").fetchone()
            (kind,) = connection.execute("SELECT kind FROM entries ORDER BY event_id DESC").fetchone()
            (admin,) = connection.execute("SELECT admin FROM workers").fetchone()
            connection.close()
            assert newest == entries > 1
            # The last entry and the worker's row agree.
            assert admin == {"cordoned": "CORDONED", "uncordoned": "ACTIVE"}[kind]
    finally:
        stop.set()
        changing.join()


def test_control_plane_without_a_file_has_nothing_to_back_up(launch: Launcher, shared: ControlPlane) -> None:
    line = refused(launch, "backup", str(launch.folder / "copy.db"), "--url", shared.url)
    assert line == "this control plane keeps its registry in memory (--data-dir none): nothing to copy"
