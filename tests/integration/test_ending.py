"""Signals and drains end each process in order: this is what it does before its end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minicloud.app.control_plane import GRACE_S
from minicloud.cli import exits
from minicloud.http2.connection import PREFACE
from tests.integration.processes import HOST, PROGRAM, WITHIN_S, ControlPlane, Launcher, eventually
from tests.terminal import Terminal
from tests.unit.http2.raw_frames import SETTINGS, frame_bytes

ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@contextmanager
def peer_that_answers_nothing(control_plane: ControlPlane) -> Iterator[socket.socket]:
    """Connect a gRPC client that stops after the handshake.

    It keeps a control plane that is ending waiting for as long as that waits for any client.
    """
    with socket.create_connection((HOST, control_plane.grpc_port), WITHIN_S) as peer:
        peer.sendall(PREFACE + frame_bytes(SETTINGS, 0, 0))
        assert peer.recv(9)
        yield peer


@pytest.mark.parametrize("number", ENDING)
def test_worker_told_to_end_deregisters_with_a_reason_and_exits_0(
    launch: Launcher, shared: ControlPlane, number: signal.Signals
) -> None:
    worker_id = f"told-to-end-{number.name}"
    worker = launch.worker(shared, worker_id)
    assert worker.worker_id == worker_id
    assert worker.end(number) == 0
    # Its request has been carried out: nothing has to be waited for here.
    assert worker_id not in shared.statuses
    departed = shared.events_of(worker_id)[-1]
    assert (departed["kind"], departed["detail"], departed["reason"]) == ("departed", "left", "shutdown")
    told = [line["event"] for line in worker.log]
    assert told[told.index("stopping") :][-2:] == ["deregistered", "worker_stopped"]
    assert worker.until_logged("worker_stopped", reason="shutdown")


@pytest.mark.parametrize("number", ENDING)
def test_control_plane_told_to_end_exits_0_and_its_worker_waits_for_it(
    launch: Launcher, number: signal.Signals
) -> None:
    control_plane = launch.control_plane()
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    assert control_plane.end(number) == 0
    told = [line["event"] for line in control_plane.log]
    assert told.index("stopping") < told.index("control_plane_stopped") == len(told) - 1
    assert control_plane.until_logged("stopping", signal=number.name)
    assert "Traceback" not in control_plane.stderr
    worker.until_logged("contact_lost")
    # It ends without a control plane to deregister from, too.
    assert worker.end(number) == 0
    assert worker.until_logged("deregistration_failed")


def test_control_plane_that_is_ending_is_not_ready_and_a_second_signal_ends_it_at_once(
    launch: Launcher,
) -> None:
    control_plane = launch.control_plane()
    assert control_plane.get("/livez") == {"status": "alive"}
    assert control_plane.get("/readyz") == {"status": "ready"}
    with peer_that_answers_nothing(control_plane):
        control_plane.send(signal.SIGTERM)
        control_plane.until_logged("stopping")
        since_s = time.monotonic()
        eventually(lambda: not is_ready(control_plane), "it is not ready")
        assert time.monotonic() - since_s < GRACE_S  # it did not wait for the whole grace
        assert control_plane.running
        # SIGTERM again, at once, would be a repeat of the first (DESIGN 36).
        assert control_plane.end(signal.SIGINT) == 128 + signal.SIGINT
    assert control_plane.until_logged("ended_at_once", signal="SIGINT")
    assert not control_plane.logged("control_plane_stopped")


def test_control_plane_started_by_nohup_outlives_its_terminal(launch: Launcher) -> None:
    control_plane = launch.control_plane(before=("nohup",))
    control_plane.send(signal.SIGHUP)
    assert control_plane.get("/livez") == {"status": "alive"}
    assert control_plane.end(signal.SIGTERM) == 0
    assert [line["signal"] for line in control_plane.logged("stopping")] == ["SIGTERM"]


def test_worker_whose_terminal_is_closed_leaves_in_order(launch: Launcher, shared: ControlPlane) -> None:
    arguments = ["--worker", "--control-plane", shared.address, "--port", "0", "--data-dir", "none"]
    with Terminal([*PROGRAM, *arguments, "--id", "hung-up"], env=launch.environment) as terminal:
        shared.until_status("hung-up", "HEALTHY")
        terminal.hang_up()
        assert terminal.exit_code() == 0
    departed = shared.events_of("hung-up")[-1]
    assert (departed["kind"], departed["detail"], departed["reason"]) == ("departed", "left", "shutdown")


def is_ready(control_plane: ControlPlane) -> bool:
    """Return True if it is ready for a load balancer, which asks for an answer of 200."""
    try:
        return control_plane.request("GET", "/readyz").status == 200
    except OSError:
        return False


def test_worker_told_twice_to_end_ends_at_once(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    control_plane.freeze()  # so that its deregistration is not answered
    worker.send(signal.SIGTERM)
    worker.until_logged("stopping", signal="SIGTERM")
    assert worker.end(signal.SIGINT) == 128 + signal.SIGINT
    assert worker.until_logged("ended_at_once", signal="SIGINT")


def test_worker_told_to_end_before_anybody_answers_exits_0(launch: Launcher) -> None:
    worker = launch.worker(f"{HOST}:{launch.reserved_port()}", "worker-1")
    worker.until_logged("registration_failed")
    assert worker.end() == 0


def test_worker_drained_leaves_with_that_reason_and_exits_0(launch: Launcher, shared: ControlPlane) -> None:
    drained = launch.worker(shared, "drained")
    assert drained.worker_id == "drained"
    assert shared.post("/api/workers/drained/drain")["adminState"] == "DRAINING"
    assert drained.exit_code() == 0
    assert "drained" not in shared.statuses
    departed = shared.events_of("drained")[-1]
    assert (departed["kind"], departed["detail"], departed["reason"]) == ("departed", "drained", "drained")
    assert drained.until_logged("worker_stopped", reason="drained")


def test_drain_taken_back_before_the_worker_heard_of_it_changes_nothing(
    launch: Launcher, shared: ControlPlane
) -> None:
    worker = launch.worker(shared, "spared")
    assert worker.worker_id == "spared"
    worker.freeze()
    shared.post("/api/workers/spared/drain")
    shown = shared.post("/api/workers/spared/uncordon")
    assert (shown["status"], shown["adminState"]) == ("HEALTHY", "ACTIVE")
    worker.thaw()
    for _ in range(3):  # the first may have been under way when the worker was stopped
        shared.until_heard_from("spared")
    assert worker.running
    assert not worker.logged("ordered", to="drain")


def test_cordoned_worker_is_spared_until_it_is_uncordoned(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "cordoned")
    assert worker.worker_id == "cordoned"
    shared.post("/api/workers/cordoned/cordon")
    worker.until_logged("ordered", to="cordon")
    shown = shared.get("/api/workers/cordoned")
    assert (shown["status"], shown["adminState"], shown["schedulable"]) == ("DRAINING", "CORDONED", False)
    shared.post("/api/workers/cordoned/uncordon")
    worker.until_logged("ordered", to="work")
    assert shared.statuses["cordoned"] == "HEALTHY"


LOSES_THE_LEADERSHIP = """
import sys
import minicloud.app.control_plane as app
from minicloud.__main__ import main
from minicloud.core.errors import LeadershipLostError
from minicloud.store.memory import MemoryStore

class Lost(MemoryStore):
    async def run(self, *, task_status):
        task_status.started()
        raise LeadershipLostError("another control plane has taken over the registry")

app.MemoryStore = Lost
sys.exit(main(["--grpc-port", "0", "--http-port", "0", "--data-dir", "none"]))
"""


def test_control_plane_that_loses_the_leadership_ends_so_that_it_is_started_again() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOSES_THE_LEADERSHIP],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ended.returncode == exits.FAILED
    assert ended.stderr.splitlines()[-1] == "minicloud: another control plane has taken over the registry"
