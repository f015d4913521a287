"""The executable is two processes that have to look like one: by signals, by their ends, by what they
leave."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.processes import PROGRAM, Launcher, Process, eventually, needs_linux
from tests.integration.test_dev import dev
from tests.terminal import CTRL_C, Terminal

# the bootloader's variable for the inner process: the folder with its files
HOME = "_PYI_APPLICATION_HOME_DIR"
SERVE = ("--grpc-port", "0", "--http-port", "0", "--data-dir", "none", "--log-format", "json")


def processes_of(unpacked: Path) -> list[psutil.Process]:
    """Return all processes that unpack themselves there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(unpacked) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def environment(process: psutil.Process) -> dict[str, str]:
    return {name: text for name, text in process.environ().items() if name.startswith(("_PYI", "LD_"))}


def children_of(process: Process) -> list[psutil.Process]:
    """Return the processes that the program itself has started, the outer one of each."""
    (inner,) = psutil.Process(process.pid).children()
    return inner.children()


def test_ended_in_order_it_leaves_nothing(launch: Launcher, unpacked: Path) -> None:
    control_plane = launch.control_plane()
    assert len(control_plane.tree) == 2
    assert len(list(unpacked.iterdir())) == 1
    assert control_plane.end() == 0
    assert list(unpacked.iterdir()) == []


def test_signal_to_both_processes_is_one_telling(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    control_plane.freeze()  # so that its deregistration is not answered, and it still runs at a second signal
    worker.inner.terminate()
    time.sleep(0.005)  # otherwise the two might be seen as one by luck
    worker.send(signal.SIGTERM)
    worker.until_logged("stopping", signal="SIGTERM")
    assert worker.end(signal.SIGINT) == 128 + signal.SIGINT
    assert [line["signal"] for line in worker.logged("ended_at_once")] == ["SIGINT"]


def test_outer_process_killed_takes_the_inner_one_with_it_in_order(launch: Launcher, unpacked: Path) -> None:
    control_plane = launch.control_plane(data_dir=launch.folder / "data")
    worker = launch.worker(control_plane, "worker-1")
    assert worker.worker_id == "worker-1"
    assert worker.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: control_plane.statuses == {}, "the worker takes its leave")
    assert control_plane.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: processes_of(unpacked) == [], "nobody is left")
    assert control_plane.logged("control_plane_stopped")
    assert list(unpacked.iterdir()) == []


def test_simulator_whose_outer_process_is_killed_leaves_nothing(launch: Launcher, unpacked: Path) -> None:
    simulator = launch.run(
        "sim", "--scenario", "steady", "--workers", "5", "--seeds", "1..9999", "--jobs", "1"
    )
    eventually(lambda: "steady" in simulator.stderr, "it runs")
    assert simulator.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: processes_of(unpacked) == [], "nobody is left")
    assert list(unpacked.iterdir()) == []


def test_outer_process_killed_while_the_inner_one_starts_leaves_nothing(
    launch: Launcher, unpacked: Path
) -> None:
    for delay_s in [step * 0.025 for step in range(12)]:
        process = launch.run(*SERVE)
        eventually(lambda: HOME in process.inner.environ(), "the inner process is there")  # noqa: B023
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(process.pid).wait(delay_s)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: processes_of(unpacked) == [], lambda: f"left: {processes_of(unpacked)}")
    assert list(unpacked.iterdir()) == []


@pytest.mark.parametrize("which", ["inner", "outer"])
def test_registry_survives_the_end_of_either_process(launch: Launcher, which: str) -> None:
    ports, data = launch.reserved_ports(), launch.folder / "data"
    first = launch.control_plane(ports=ports, data_dir=data)
    worker = launch.worker(first, "worker-1")
    assert worker.worker_id == "worker-1"
    inner = first.inner
    (inner if which == "inner" else psutil.Process(first.pid)).kill()
    assert first.exit_code() == -signal.SIGKILL
    eventually(lambda: not inner.is_running() or inner.status() == psutil.STATUS_ZOMBIE, "it has ended")
    second = launch.control_plane(ports=ports, data_dir=data)
    assert [entry["kind"] for entry in second.events_of("worker-1")] == ["registered"]
    second.until_heard_from("worker-1")
    assert worker.end() == 0


def test_ctrl_c_on_a_terminal_ends_it_in_order(launch: Launcher) -> None:
    with Terminal([*PROGRAM, *SERVE], env=launch.environment) as terminal:
        terminal.until_shown("control_plane_ready")
        (inner,) = psutil.Process(terminal.pid).children()
        # Otherwise the terminal would send it a second signal, which ends it at once.
        assert os.getpgid(inner.pid) != os.getpgid(terminal.pid)
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 0
        assert "control_plane_stopped" in terminal.shown
        assert "ended_at_once" not in terminal.shown


@needs_linux
def test_dev_starts_executables_that_stand_alone(launch: Launcher, unpacked: Path) -> None:
    process, _, _ = dev(launch, workers=2)
    assert len(process.tree) == 2 * 4  # dev, a control plane and two workers, two processes each
    folders = {each.environ().get(HOME) for each in process.tree}
    folders.discard(None)
    assert len(folders) == len(list(unpacked.iterdir())) == 4
    assert [environment(each) for each in children_of(process)] == [{}, {}, {}]
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: processes_of(unpacked) == [], "nobody is left")
    assert list(unpacked.iterdir()) == []


def test_dev_gives_its_children_the_users_libraries(launch: Launcher) -> None:
    given = {"LD_LIBRARY_PATH": "/opt/theirs"}
    process = launch.run(
        *("dev", "--workers", "0", "--grpc-port", "0", "--http-port", "0", "--worker-port", "0"), env=given
    )
    eventually(lambda: "REST" in process.stdout, lambda: process.stdout + process.stderr)
    (child,) = children_of(process)
    assert environment(child) == given
    assert process.end() == 0
