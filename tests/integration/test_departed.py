"""Real processes: workers stop, come back and share an identity, and a control plane stands still."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.integration.processes import ControlPlane, Launcher, Worker, eventually


def offline(control_plane: ControlPlane) -> dict[str, str]:
    """Return the departed workers, and the reason of each."""
    found = control_plane.get("/api/workers?status=OFFLINE")
    return {worker["workerId"]: worker["statusReason"] for worker in found}


def test_cordon_outlives_the_workers_stop_and_the_control_planes_restart(
    launch: Launcher, tmp_path: Path
) -> None:
    ports, registry = launch.reserved_ports(), tmp_path / "registry"
    control_plane = launch.control_plane(ports=ports, data_dir=registry)
    port = launch.reserved_port()

    def start(plane: ControlPlane) -> Worker:
        worker = launch.worker(plane, "w1", data_dir=tmp_path / "w1", port=port)
        assert worker.worker_id == "w1"
        return worker

    worker = start(control_plane)
    assert control_plane.post("/api/workers/w1/cordon")["status"] == "DRAINING"
    assert worker.end() == 0
    assert offline(control_plane) == {"w1": "shutdown"}
    worker = start(control_plane)
    assert control_plane.statuses == {"w1": "DRAINING"}
    assert worker.end() == 0
    control_plane.kill()
    control_plane = launch.control_plane(ports=ports, data_dir=registry)
    assert offline(control_plane) == {"w1": "shutdown"}
    worker = start(control_plane)
    shown = control_plane.get("/api/workers/w1")
    assert (shown["adminState"], shown["schedulable"]) == ("CORDONED", False)
    assert control_plane.post("/api/workers/w1/uncordon")["status"] == "HEALTHY"


def test_worker_without_an_id_of_its_own_gets_the_same_one_after_each_orderly_restart(
    launch: Launcher, tmp_path: Path
) -> None:
    control_plane = launch.control_plane()
    port = launch.reserved_port()
    ids = []
    for _ in range(3):
        worker = launch.worker(control_plane, data_dir=tmp_path / "w", port=port)
        ids.append(worker.worker_id)
        assert worker.end() == 0
    assert len(set(ids)) == 1
    assert list(offline(control_plane)) == ids[:1]


def test_worker_that_keeps_nothing_and_is_killed_replaces_itself(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    port = launch.reserved_port()
    for number in range(3):
        worker = launch.worker(control_plane, "w1", port=port)
        assert worker.worker_id == "w1"
        if number == 0:
            control_plane.post("/api/workers/w1/cordon")
        worker.kill()
    assert control_plane.statuses == {"w1": "DRAINING"}


def test_workers_with_one_identity_on_two_machines_both_stay(launch: Launcher, tmp_path: Path) -> None:
    control_plane = launch.control_plane()
    first = launch.worker(control_plane, "w1", data_dir=tmp_path / "first", port=launch.reserved_port())
    assert first.worker_id == "w1"
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    second = launch.worker(control_plane, "w1", data_dir=tmp_path / "second", port=launch.reserved_port())
    assert second.worker_id == "w1"
    eventually(
        lambda: control_plane.statuses == {"w1": "HEALTHY", "w1-1": "HEALTHY"},
        lambda: f"both are members, but {control_plane.statuses}",
    )
    control_plane.until_logged("identity_shared", worker_id="w1-1")
    registered = len(control_plane.events_of("w1"))
    for worker_id in ("w1", "w1-1"):
        control_plane.until_heard_from(worker_id)
        control_plane.until_heard_from(worker_id)
    assert len(control_plane.events_of("w1")) == registered  # neither displaces the other any more


def test_control_plane_that_stands_still_longer_than_the_timeout_declares_nobody_dead(
    launch: Launcher,
) -> None:
    timeout_s = 2.0
    control_plane = launch.control_plane(timeout=f"{timeout_s}s")
    workers = [launch.worker(control_plane, f"w{number}") for number in range(3)]
    for worker in workers:
        assert worker.worker_id
    control_plane.freeze()
    until_s = time.monotonic() + 2 * timeout_s
    eventually(lambda: time.monotonic() > until_s, "it has stood still for twice the timeout")
    control_plane.thaw()
    stalled = control_plane.until_logged("control_plane_stalled")
    assert stalled["seconds"] >= timeout_s
    for worker in workers:
        control_plane.until_heard_from(worker.worker_id)
    assert control_plane.logged("worker_unhealthy") == []
    assert "minicloud_stalls_total 1.0" in control_plane.request("GET", "/metrics").body.decode()
