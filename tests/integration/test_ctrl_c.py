"""Ctrl-C on a terminal ends every command that waits: one line, exit code 130, and nothing half done.

Each command has an hour to wait, so that only Ctrl-C can end it while the test looks.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.processes import HOST, PROGRAM, WITHIN_S, ControlPlane, Launcher
from tests.terminal import CTRL_C, Terminal

ONE_LINE = ["minicloud: interrupted"]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Return a server that takes connections and never answers."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(WITHIN_S)
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


@contextmanager
def asked(server: socket.socket) -> Iterator[None]:
    """Run the block once `server` has received data, with the connection open."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(WITHIN_S)
        assert connection.recv(1)
        yield


@pytest.mark.parametrize(
    "arguments",
    [
        ("workers",),
        ("workers", "worker-1", "--json"),
        ("stats",),
        ("events",),
        ("events", "-f", "-n", "0"),
        ("cordon", "worker-1"),
        ("drain", "worker-1"),
        ("backup", "copy.db"),
    ],
    ids=" ".join,
)
def test_ctrl_c_ends_a_command_that_waits_for_an_answer(
    arguments: tuple[str, ...], silent: socket.socket, launch: Launcher, tmp_path: Path
) -> None:
    command = [*PROGRAM, *arguments, "--url", f"http://{HOST}:{port_of(silent)}", "--timeout", "1h"]
    with Terminal(command, env=launch.environment, cwd=tmp_path) as terminal:
        with asked(silent):
            terminal.press(CTRL_C)
            assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C)[-1:] == ONE_LINE
    assert not list(tmp_path.glob("copy.db*"))


def test_ctrl_c_ends_a_health_check_that_waits_for_an_answer(silent: socket.socket, launch: Launcher) -> None:
    command = [*PROGRAM, "health", "--address", f"{HOST}:{port_of(silent)}", "--timeout", "1h"]
    with Terminal(command, env=launch.environment) as terminal, asked(silent):
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C) == ONE_LINE


def test_ctrl_c_ends_events_that_are_followed(shared: ControlPlane, launch: Launcher) -> None:
    command = [*PROGRAM, "events", "-f", "--url", shared.url]
    with Terminal(command, env=launch.environment) as terminal:
        terminal.until_shown("Ctrl-C ends it")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C) == ONE_LINE


def test_ctrl_c_ends_the_wait_for_a_drain_and_not_the_drain(shared: ControlPlane, launch: Launcher) -> None:
    worker = launch.worker(shared, "drained-slowly")
    assert worker.worker_id == "drained-slowly"
    worker.freeze()
    command = [*PROGRAM, "drain", "drained-slowly", "--wait", "--url", shared.url]
    with Terminal(command, env=launch.environment) as terminal:
        terminal.until_shown("is draining")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C)[-1:] == ONE_LINE
    assert shared.get("/api/workers/drained-slowly")["adminState"] == "DRAINING"


def test_ctrl_c_ends_a_dev_cluster(launch: Launcher) -> None:
    arguments = ["dev", "--grpc-port", "0", "--http-port", "0", "--worker-port", "0", "--workers", "1"]
    with Terminal([*PROGRAM, *arguments], env=launch.environment | {"NO_COLOR": "1"}) as terminal:
        terminal.until_shown("worker-1      | started")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
        assert terminal.lines_after(CTRL_C)[-1:] == ONE_LINE
        assert "Traceback" not in terminal.shown


def test_ctrl_c_ends_a_control_plane_and_a_worker_in_order(launch: Launcher) -> None:
    # Servers end as they do on SIGTERM, with exit code 0.
    arguments = ["--grpc-port", "0", "--http-port", "0", "--data-dir", "none"]
    with Terminal([*PROGRAM, *arguments], env=launch.environment) as terminal:
        terminal.until_shown("control_plane_ready")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 0
        assert "control_plane_stopped" in terminal.lines_after(CTRL_C)[-1]
    arguments = ["--worker", "--control-plane", f"{HOST}:{launch.reserved_port()}", "--port", "0"]
    with Terminal([*PROGRAM, *arguments, "--data-dir", "none"], env=launch.environment) as terminal:
        terminal.until_shown("registration_failed")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 0
        assert "worker_stopped" in terminal.lines_after(CTRL_C)[-1]
