"""Both programs run under a service manager: real processes report to a real socket."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from tests.integration.processes import Launcher, Process, eventually
from tests.unit.app.notify_socket import NotifySocket, notify_socket


class Manager:
    """A `Manager` is a service manager's socket, with all messages it has received."""

    def __init__(self, listener: NotifySocket) -> None:
        self._listener = listener
        self.told: list[str] = []

    def runs(self, watchdog_s: float = 0.0) -> list[str]:
        """Return the command that runs the one after it as the service manager would."""
        watchdog = [f"WATCHDOG_USEC={watchdog_s * 1e6:.0f}"] if watchdog_s else []
        return ["env", f"NOTIFY_SOCKET={self._listener.address}", *watchdog]

    def look(self) -> list[str]:
        """Return all messages so far."""
        self.told += self._listener.received()
        return self.told

    def until_told(self, beginning: str, process: Process) -> str:
        """Return the first message that begins with this, once it has come."""
        return eventually(
            lambda: next((message for message in self.look() if message.startswith(beginning)), None),
            lambda: f"{beginning} among {self.told}:\n{process.stderr}",
        )


@pytest.fixture
def manager(launch: Launcher) -> Iterator[Manager]:
    with notify_socket(launch.folder) as listener:
        yield Manager(listener)


def test_control_plane_says_ready_once_it_answers_and_stopping_when_told_to_end(
    launch: Launcher, manager: Manager
) -> None:
    grpc_port, http_port = launch.reserved_ports()
    ports = ("--grpc-port", str(grpc_port), "--http-port", str(http_port))
    plane = launch.run(*ports, "--data-dir", "none", "--log-format", "json", before=manager.runs())
    manager.until_told("READY=1\nSTATUS=0 workers registered", plane)
    assert plane.until_logged("control_plane_ready"), plane.stderr  # it is sent once all ports serve
    answer = HTTPConnection("127.0.0.1", http_port, timeout=30)
    answer.request("GET", "/readyz")
    assert answer.getresponse().status == 200
    answer.close()
    assert not any(message.startswith("STOPPING") for message in manager.look())
    assert plane.end() == 0
    manager.until_told("STOPPING=1", plane)
    assert sum(message.startswith("READY") for message in manager.told) == 1


def test_control_plane_that_cannot_start_says_nothing(launch: Launcher, manager: Manager) -> None:
    taken = launch.taken_port()
    process = launch.run("--grpc-port", str(taken), "--http-port", "0", before=manager.runs())
    assert process.exit_code() == 1
    assert manager.look() == []


def test_worker_says_ready_without_its_control_plane_and_tells_when_it_is_registered(
    launch: Launcher, manager: Manager
) -> None:
    ports = launch.reserved_ports()
    worker = launch.run(
        *("--worker", "--id", "w-1", "--port", "0", "--data-dir", "none", "--log-format", "json"),
        *("--control-plane", f"127.0.0.1:{ports[0]}"),
        before=manager.runs(watchdog_s=0.2),
    )
    manager.until_told("READY=1\nSTATUS=registering", worker)
    launch.control_plane(ports=ports)
    manager.until_told("WATCHDOG=1\nSTATUS=w-1 active", worker)
    assert worker.end() == 0
    manager.until_told("STOPPING=1", worker)


@pytest.mark.parametrize("role", ["control plane", "worker"])
def test_watchdog_hears_of_a_process_only_while_its_loop_turns(
    launch: Launcher, manager: Manager, role: str
) -> None:
    before = manager.runs(watchdog_s=0.1)
    arguments = ["--worker", "--port", "0"] if role == "worker" else ["--grpc-port", "0", "--http-port", "0"]
    process = launch.run(*arguments, "--data-dir", "none", before=before)
    manager.until_told("WATCHDOG=1", process)
    process.freeze()
    manager.look()
    manager.told.clear()
    # It would have sent it ten times in the time in which another process starts and serves.
    launch.run("--version", name="other").exit_code()
    assert manager.look() == []
    process.thaw()
    manager.until_told("WATCHDOG=1", process)
    assert process.end(signal.SIGTERM) == 0


def test_processes_of_a_dev_cluster_do_not_speak_for_it(launch: Launcher, manager: Manager) -> None:
    ports = ("--grpc-port", "0", "--http-port", "0", "--worker-port", "0")
    cluster = launch.run("dev", "--workers", "1", *ports, before=manager.runs(watchdog_s=0.1))
    eventually(lambda: "worker_registered" in cluster.stdout, lambda: cluster.stdout)
    assert cluster.end() == 0
    assert manager.look() == []
