"""Real mode between processes: `minicloud-sim --target` at a control plane that runs."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sim.cluster.topology import Topology
from sim.faults.schedule import Fault, Phases, Schedule
from sim.program.cli import COULD_NOT_RUN, HELD
from sim.program.main import main
from tests.integration.processes import ControlPlane, Launcher, Process, eventually

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 50


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    with Launcher(tmp_path) as launcher:
        yield launcher


@pytest.fixture
def simulators() -> Iterator[list[Process]]:
    """Yield a list for the simulators of a test; those still running at its end are killed."""
    started: list[Process] = []
    yield started
    for process in started:
        process.close()


def simulator(launch: Launcher, control_plane: ControlPlane, *arguments: str) -> Process:
    command = [sys.executable, "-m", "sim", "--target", control_plane.address, "--ramp", "500ms", *arguments]
    return Process("sim", command, launch.folder, {**launch.environment, "PYTHONPATH": str(ROOT)})


def test_fifty_workers_suffer_faults_at_a_real_control_plane_and_leave_it_clean(
    launch: Launcher, simulators: list[Process]
) -> None:
    control_plane = launch.control_plane()
    faults = (
        Fault("crash", 1.5, tuple(f"worker-{number}" for number in range(5)), 0.5),
        Fault("remove", 1.5, tuple(f"worker-{number}" for number in range(10, 20))),
        Fault("reset", 1.8, tuple(f"worker-{number}" for number in range(20, 25))),
        Fault("delay", 1.5, ("worker-30",), 0.5, {"low_s": 0.01, "high_s": 0.05}),
        Fault("pause", 1.5, ("worker-40",), 0.5),
    )
    # Long after the last fault, for a busy machine: all that is left is for everybody to have come back.
    plan = Schedule("faults", 1, Topology(workers=WORKERS), Phases(1.0, 1.5, 2.5), faults)
    (launch.folder / "plan.json").write_bytes(plan.to_json())
    simulators.append(simulator(launch, control_plane, "--replay", "plan.json", "--json", "figures.json"))
    (process,) = simulators
    assert process.exit_code() == HELD, process.stdout + process.stderr
    figures: dict[str, Any] = json.loads((launch.folder / "figures.json").read_bytes())
    assert figures["held"]
    assert (figures["workers"], figures["expected"], figures["registered"]) == (WORKERS,) * 3
    assert figures["registrations"] == WORKERS + 5 + 10
    assert figures["told_to_register"] == 10
    assert figures["connections"] >= WORKERS + 5 + 5
    assert figures["unexpected_errors"] == {}
    assert figures["heartbeats"] > WORKERS
    latency = figures["latency_seconds"]["heartbeat"]
    assert latency["count"] >= figures["heartbeats"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert figures["latency_seconds"]["deregister"]["count"] == WORKERS
    assert figures["control_plane_load"]["peak_rss_mb"] > 10
    assert figures["left_registered"] == 0
    assert control_plane.statuses == {}
    assert "50 of 50 at the end" in process.stdout


def test_interrupted_run_leaves_the_control_plane_clean(launch: Launcher, simulators: list[Process]) -> None:
    control_plane = launch.control_plane()
    simulators.append(simulator(launch, control_plane, "--workers", "20", "--duration", "50s"))
    (process,) = simulators
    eventually(lambda: len(control_plane.statuses) == 20, lambda: process.stderr)
    assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM, process.stderr
    assert control_plane.statuses == {}
    assert "interrupted" in process.stdout


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line a run is refused with."""
    assert main(arguments) == COULD_NOT_RUN
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_target_where_nobody_listens_is_refused_with_what_to_do(
    launch: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "--target", f"127.0.0.1:{launch.reserved_port()}")
    assert "Connection refused" in line
    assert "start a control plane with 'minicloud'" in line


def test_target_that_speaks_something_else_is_refused_with_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):  # closed at the end of the test
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        line = refused(capsys, "--target", address)
        server.shutdown(socket.SHUT_RDWR)
    assert line.startswith(f"minicloud-sim: --target {address}: UNAVAILABLE")
    assert line.endswith("name the gRPC port of a control plane")


def test_target_on_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--allow-remote" in refused(capsys, "--target", "192.0.2.1:9090")


def test_scenario_that_cannot_be_had_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "partition cannot be had" in refused(
        capsys, "--target", "192.0.2.1:9090", "--scenario", "partition"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--shrink",), "--shrink"),
        (("--check-determinism",), "--check-determinism"),
        (("--fault", "crash=worker-1"), "--fault"),
        (("--scenario", "steady", "--scenario", "steady"), "--scenario"),
        (("--ramp", "5"), "--ramp"),
        (("--duration", "x"), "--duration"),
    ],
)
def test_options_that_mean_nothing_in_real_mode_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    assert named in refused(capsys, "--target", "127.0.0.1:9", *arguments)
