"""Real processes: workers come, fall silent, return and are replaced."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    WorkerManagementServiceStub,
)
from tests.integration.processes import ControlPlane, Launcher

# These are for tests in which a worker has to be found missing. No test counts on a worker to keep up
# meanwhile.
SOON = "600ms"


def test_worker_that_registers_is_shown_with_what_it_has(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "shown", "--zone", "eu-1a")
    assert worker.worker_id == "shown"
    shown = shared.get("/api/workers/shown")
    assert shown["status"] == "HEALTHY"
    assert shown["zone"] == "eu-1a"
    assert shown["resources"]["cpuCores"] >= 1
    assert shown["resources"]["memoryMb"] > 0
    assert shown["endpoint"].startswith("127.0.0.1:")
    registered = shared.until_logged("worker_registered", worker_id="shown")
    assert registered["endpoint"] == shown["endpoint"]
    shared.until_heard_from("shown")


def test_worker_without_a_wanted_id_gets_one(launch: Launcher, shared: ControlPlane) -> None:
    worker_id = launch.worker(shared).worker_id
    assert worker_id
    assert shared.statuses[worker_id] == "HEALTHY"


def test_worker_that_stands_still_is_unhealthy_until_it_goes_on(launch: Launcher) -> None:
    control_plane = launch.control_plane(timeout=SOON)
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    worker.freeze()
    control_plane.until_status("worker-1", "UNHEALTHY")
    shown = control_plane.get("/api/workers/worker-1")
    assert not shown["schedulable"]
    assert shown["statusReason"].startswith("no heartbeat for 0.6")
    assert control_plane.get("/api/workers/healthy") == []
    worker.thaw()
    control_plane.until_status("worker-1", "HEALTHY")
    # The worker has the same registration, not a new one.
    assert control_plane.get("/api/workers/worker-1")["incarnation"] == shown["incarnation"]
    assert len(control_plane.logged("worker_registered")) == 1
    assert control_plane.until_logged("worker_recovered", old_status="UNHEALTHY", new_status="HEALTHY")


def test_worker_that_falls_silent_is_missed_though_nobody_asks(launch: Launcher) -> None:
    control_plane = launch.control_plane(timeout=SOON)
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    worker.kill()
    # The log is the only source here: a call would have the control plane sweep first.
    missed = control_plane.until_logged("worker_unhealthy", worker_id="worker-1")
    assert (missed["old_status"], missed["new_status"]) == ("HEALTHY", "UNHEALTHY")


def test_worker_replaced_while_it_stood_still_registers_under_another_id(launch: Launcher) -> None:
    control_plane = launch.control_plane(timeout=SOON)
    old = launch.worker(control_plane, "worker-1")
    assert old.worker_id == "worker-1"
    incarnation = control_plane.get("/api/workers/worker-1")["incarnation"]
    old.freeze()
    control_plane.until_status("worker-1", "UNHEALTHY")
    newcomer = launch.worker(control_plane, "worker-1")
    assert newcomer.worker_id == "worker-1"
    takeover = control_plane.until_logged("worker_registered", detail="takeover")
    assert takeover["old_status"] == "UNHEALTHY"
    assert takeover["incarnation"] == incarnation + 1
    old.thaw()
    old.until_logged("told_to_register")
    assert old.until_logged("registered", worker_id="worker-1-1")["wanted_id"] == "worker-1"
    newcomer.kill()
    control_plane.until_status("worker-1", "UNHEALTHY")
    assert set(control_plane.statuses) == {"worker-1", "worker-1-1"}


def test_two_live_workers_that_want_one_id_get_two(launch: Launcher, shared: ControlPlane) -> None:
    workers = [launch.worker(shared, "both") for _ in range(2)]
    assert {worker.worker_id for worker in workers} == {"both", "both-1"}
    assert shared.statuses["both"] == shared.statuses["both-1"] == "HEALTHY"


def test_worker_killed_and_started_again_gets_its_id_back_from_its_folder(
    launch: Launcher, shared: ControlPlane
) -> None:
    folder = launch.folder / "installation"
    first = launch.worker(shared, "restarted", data_dir=folder)
    assert first.worker_id == "restarted"
    incarnation = shared.get("/api/workers/restarted")["incarnation"]
    first.kill()
    # The old worker is not missing yet: only the identity in the folder shows that the two are one.
    again = launch.worker(shared, "restarted", data_dir=folder)
    assert again.worker_id == "restarted"
    registered = shared.until_logged("worker_registered", worker_id="restarted", detail="again")
    assert registered["incarnation"] == incarnation + 1


def test_workers_come_back_under_their_ids_when_the_control_plane_was_killed(launch: Launcher) -> None:
    ports = launch.reserved_ports()
    folder = launch.folder / "control-plane"
    first = launch.control_plane(data_dir=folder, ports=ports)
    workers = [launch.worker(first, f"worker-{number}") for number in (1, 2)]
    assert [worker.worker_id for worker in workers] == ["worker-1", "worker-2"]
    first.post("/api/workers/worker-2/cordon")
    before = {shown["workerId"]: shown for shown in first.get("/api/workers")}
    last_event = first.get("/api/events")[-1]["eventId"]
    first.kill()
    for worker in workers:
        worker.until_logged("contact_lost")

    second = launch.control_plane(data_dir=folder, ports=ports)
    for worker in workers:
        worker.until_logged("contact_restored")
        assert not worker.logged("told_to_register")
    assert second.statuses == {"worker-1": "HEALTHY", "worker-2": "DRAINING"}
    for worker_id, was in before.items():
        second.until_heard_from(worker_id)
        shown = second.get(f"/api/workers/{worker_id}")
        kept = ("incarnation", "endpoint", "adminState", "zone")
        assert [shown[name] for name in kept] == [was[name] for name in kept]
    # Membership did not change, and its history continues.
    assert second.get("/api/events")[-1]["eventId"] == last_event
    assert all(worker.running for worker in workers)


def test_workers_of_a_control_plane_that_keeps_nothing_register_again(launch: Launcher) -> None:
    ports = launch.reserved_ports()
    first = launch.control_plane(ports=ports)
    worker = launch.worker(first, "worker-1")
    assert worker.worker_id == "worker-1"
    first.kill()
    second = launch.control_plane(ports=ports)
    worker.until_logged("told_to_register")
    second.until_status("worker-1", "HEALTHY")


def test_worker_of_a_lost_registry_is_fenced_though_a_newcomer_has_its_id(launch: Launcher) -> None:
    ports = launch.reserved_ports()
    first = launch.control_plane(ports=ports)
    old = launch.worker(first, "worker-1")
    assert old.worker_id == "worker-1"
    incarnation = first.get("/api/workers/worker-1")["incarnation"]
    old.freeze()
    first.kill()

    second = launch.control_plane(ports=ports)
    newcomer = launch.worker(second, "worker-1")
    assert newcomer.worker_id == "worker-1"
    shown = second.get("/api/workers/worker-1")
    assert shown["incarnation"] > incarnation

    def beat(of: int) -> Callable[[WorkerManagementServiceStub], Awaitable[HeartbeatResponse]]:
        return lambda stub: stub.heartbeat(HeartbeatRequest(worker_id="worker-1", incarnation=of))

    refused = second.call(beat(incarnation))
    assert (refused.acknowledged, refused.instructions.get("action")) == (False, "register")
    assert second.call(beat(shown["incarnation"])).acknowledged

    old.thaw()
    old.until_logged("told_to_register")
    assert old.until_logged("registered", worker_id="worker-1-1")["wanted_id"] == "worker-1"
    assert second.get("/api/workers/worker-1")["endpoint"] == shown["endpoint"]
    assert not newcomer.logged("told_to_register")


def test_worker_whose_first_control_plane_is_dead_goes_to_the_second(
    launch: Launcher, shared: ControlPlane
) -> None:
    dead = f"127.0.0.1:{launch.reserved_port()}"
    worker = launch.worker(f"{dead},{shared.address}", "second-choice")
    assert worker.until_logged("registered")["control_plane"] == shared.address
    assert shared.statuses["second-choice"] == "HEALTHY"
    assert worker.end(signal.SIGTERM) == 0
    assert "second-choice" not in shared.statuses


def test_worker_told_to_give_up_ends_with_code_3(launch: Launcher) -> None:
    dead = f"127.0.0.1:{launch.reserved_port()}"
    worker = launch.worker(dead, "worker-1", "--exit-after-failures", "2")
    assert worker.exit_code() == 3
    (gave_up,) = worker.logged("worker_gave_up")
    assert "2 times in a row" in gave_up["error"]
    assert dead in gave_up["error"]
