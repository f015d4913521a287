"""The folder with the unpacked files may be emptied, and the executable be replaced, while it runs (DESIGN
78)."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import HOST, ControlPlane, Launcher, Process, eventually

SERVE = ("--grpc-port", "0", "--http-port", "0", "--data-dir", "none", "--log-format", "console")
ID = "{worker_id}"


@pytest.fixture
def own(executable: Path, tmp_path: Path, unpacked: Path) -> Iterator[Launcher]:
    """Return a launcher of a copy of the executable, which a test may replace."""
    copy = tmp_path / "own" / "minicloud"
    copy.parent.mkdir()
    shutil.copy2(executable, copy)
    with Launcher(tmp_path, {"TMPDIR": str(unpacked)}, (str(copy),)) as launcher:
        yield launcher


def replace(launch: Launcher) -> None:
    """Put another program in place of the copy, as an upgrade does."""
    other = launch.folder / "other"
    other.write_bytes(b"#!/bin/sh\nexit 1\n")
    other.rename(launch.folder / "own" / "minicloud")


def empty(unpacked: Path) -> None:
    """Remove all files in the folders of running executables."""
    for folder in unpacked.iterdir():
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def paths_of(control_plane: ControlPlane) -> list[tuple[str, str]]:
    """Return every method and path of the API but the stream, for a registered worker and for an
    unknown one."""
    document = control_plane.get("/openapi.json")
    operations = [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "delete")
    ]
    operations.sort(key=lambda operation: operation[0] == "DELETE")  # the worker is needed until its removal
    return [
        (method, path.replace(ID, worker))
        for method, path in operations
        for worker in (("worker-1", "nobody") if ID in path else ("",))
    ]


def test_control_plane_whose_folder_is_emptied_serves_everything_and_ends_in_order(
    own: Launcher, unpacked: Path
) -> None:
    control_plane = own.control_plane(data_dir=own.folder / "data")
    worker = own.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    empty(unpacked)
    replace(own)
    pages = ["", "/docs.css", "/docs.js", "/swagger-ui.css", "/swagger-ui-bundle.js", "/favicon.png"]
    asked = [*(("GET", f"/docs{page}") for page in pages), *paths_of(control_plane), ("GET", "/nowhere")]
    assert len(asked) >= 20
    statuses = {}
    for method, path in asked:
        statuses[method, path] = control_plane.request(method, path, {"accept-encoding": "gzip"}).status
    assert {status for status in statuses.values() if status >= 500} == set(), statuses
    assert [statuses["GET", f"/docs{page}"] for page in pages] == [200] * len(pages)
    control_plane.until_status("worker-1", "HEALTHY")  # it has registered again after its removal
    assert worker.end() == 0
    assert control_plane.end() == 0
    assert "Traceback" not in control_plane.stderr + worker.stderr
    assert list(unpacked.iterdir()) == []


def test_worker_whose_folder_is_emptied_finds_its_control_plane_again_by_name(
    own: Launcher, unpacked: Path
) -> None:
    ports = own.reserved_ports()
    first = own.control_plane(ports=ports)
    worker = own.worker(f"localhost:{first.grpc_port}", "worker-1")
    assert worker.worker_id == "worker-1"
    assert first.end() == 0
    second = own.control_plane(ports=ports)
    empty(unpacked)
    second.until_status("worker-1", "HEALTHY")
    second.post("/api/workers/worker-1/drain")
    assert worker.exit_code() == 0
    assert second.end() == 0


def test_line_with_an_escaped_character_is_logged_after_the_folder_was_emptied(
    own: Launcher, unpacked: Path
) -> None:
    process = own.run(*SERVE, "--log-level", "debug")
    line = eventually(lambda: re.search(r"control_plane_ready .*http=.*:(\d+)'", process.stderr), "it serves")
    empty(unpacked)
    connection = HTTPConnection(HOST, int(line[1]), timeout=30)
    connection.request("GET", "/a%0Ab")
    assert connection.getresponse().status == 404
    connection.close()
    assert process.end() == 0
    assert r"path=/a\nb" in process.stderr


def test_events_are_followed_after_the_folder_was_emptied(own: Launcher, unpacked: Path) -> None:
    ports = own.reserved_ports()
    first = own.control_plane(ports=ports)
    followed = own.run("events", "-f", "--url", first.url, name="events")
    assert own.worker(first, "worker-1").worker_id == "worker-1"
    eventually(lambda: "worker-1" in followed.stdout, "it follows")
    empty(unpacked)
    assert first.end() == 0
    eventually(lambda: "trying again" in followed.stderr, lambda: f"it reconnects: {followed.stderr}")
    assert followed.end(signal.SIGINT) == 130
    assert "Traceback" not in followed.stderr


def test_report_of_a_simulation_is_written_after_the_folder_was_emptied(
    own: Launcher, unpacked: Path
) -> None:
    run = ("sim", "--scenario", "steady", "--workers", "40", "--report", "page", "--json", "run.json")
    simulation = own.run(*run)
    eventually(lambda: "steady" in simulation.stderr or not simulation.running, "it runs")
    empty(unpacked)
    assert simulation.exit_code() == 0, simulation.stderr
    assert "<style>" in (own.folder / "page" / "index.html").read_text()


def while_it_starts(launch: Launcher, unpacked: Path) -> tuple[Process, psutil.Process]:
    """Stop a control plane after it has secured its files and before it has read most of them.

    Returns it with its inner process.
    """
    process = launch.run(*SERVE)

    def secured() -> psutil.Process | None:
        for inner in psutil.Process(process.pid).children():
            for folder in unpacked.iterdir():
                opened = opened_by(inner)
                if str(folder) in opened and opened.count(str(folder / "base_library.zip")) > 1:
                    return inner
        return None

    deadline_s = time.monotonic() + 30
    while (inner := secured()) is None:  # without a pause, as it has read everything in a tenth of a second
        assert time.monotonic() < deadline_s, process.stderr
    inner.suspend()
    return process, inner


def opened_by(process: psutil.Process) -> list[str]:
    """Return the files that it has open; none while that is changing."""
    folder = f"/proc/{process.pid}/fd"
    try:
        return [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]
    except OSError:
        return []


@pytest.mark.parametrize("lost", ["executable", "library"])
def test_start_goes_on_with_the_files_it_began_with(own: Launcher, unpacked: Path, lost: str) -> None:
    process, inner = while_it_starts(own, unpacked)
    if lost == "executable":
        replace(own)
    else:
        for folder in unpacked.iterdir():
            (folder / "base_library.zip").unlink()
    inner.resume()
    eventually(lambda: "control_plane_ready" in process.stderr, lambda: f"it serves: {process.stderr}")
    assert process.end() == 0


def test_folder_is_locked_while_the_program_runs(launch: Launcher, unpacked: Path) -> None:
    control_plane = launch.control_plane()
    (folder,) = unpacked.iterdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)
    assert control_plane.end() == 0


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="needs systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have other folders than its own cleaned up")
def test_systemd_leaves_the_folder_of_a_running_program_alone(launch: Launcher, unpacked: Path) -> None:
    control_plane = launch.control_plane()
    (folder,) = unpacked.iterdir()
    idle = unpacked / "idle"
    idle.mkdir()
    for each in (folder, idle):
        (each / "old").touch()
        os.utime(each / "old", (0, 0))
    rule = launch.folder / "rule.conf"
    rule.write_text(f"d {unpacked} 0755 root root m:1s\n")
    subprocess.run(["systemd-tmpfiles", "--clean", rule], check=True, capture_output=True, timeout=30)
    assert not (idle / "old").exists()  # systemd did clean
    assert (folder / "old").exists()
    assert control_plane.end() == 0
