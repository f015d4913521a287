"""A log that is not read any more holds nothing up: the process goes on, ends in time, and counts what is
missing."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from minicloud.lines import FLUSH_S, MOST_BYTES
from tests.integration.processes import HOST, WITHIN_S, Launcher, Process, eventually

SERVE = ("--host", HOST, "--data-dir", "none", "--log-level", "debug", "--log-format", "json")
CONTROL_PLANE = ("--grpc-port", "0", "--http-port", "0", "--heartbeat-interval", "100ms")
PIPE_BYTES = 4096  # the least capacity of a pipe
LONG_PATH = "/" + "x" * 6000


class Reader:
    """A `Reader` reads a process's standard error only on request.

    `redirected` is a command that runs the command after it with standard error, or output, going here.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "pipe"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.text = ""

    def redirected(self, descriptor: int = 2) -> tuple[str, ...]:
        return ("sh", "-c", f'exec "$0" "$@" {descriptor}>"{self.path}"')

    def read(self) -> str:
        """Return all text written so far, with what was read before."""
        try:
            while piece := os.read(self._fd, 65536):
                self.text += piece.decode()
        except BlockingIOError:
            pass
        return self.text

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines() if line.startswith("{")]

    def until_logged(self, event: str) -> dict[str, Any]:
        """Read until there is a line of this event, and return it."""

        def look() -> list[dict[str, Any]]:
            whole = self.read().rpartition("\n")[0]
            return [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]

        return eventually(look, lambda: f"{event} is logged:\n{self.text}")[0]

    def until_said(self, pattern: str) -> str:
        found = eventually(lambda: re.search(pattern, self.read()), lambda: f"{pattern}:\n{self.text}")
        return found[1]

    def fill(self) -> None:
        """Fill the pipe up."""
        fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            while os.write(fd, b"x" * PIPE_BYTES):
                pass
        except BlockingIOError:
            pass
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


@contextmanager
def client_of(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection(HOST, port, timeout=WITHIN_S)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def unread_control_plane(launch: Launcher, reader: Reader, *more: str) -> tuple[Process, int, str]:
    """Return the HTTP port and the gRPC address of a control plane whose log is read until it is ready."""
    process = launch.run(*SERVE, *CONTROL_PLANE, *more, before=reader.redirected(), name="control-plane")
    ready = reader.until_logged("control_plane_ready")
    return process, int(ready["http"][0].rpartition(":")[2]), ready["grpc"][0]


def dropped(connection: HTTPConnection) -> float:
    metrics = ask(connection, "/metrics").decode()
    (count,) = re.findall(r"^minicloud_log_lines_dropped_total (\S+)$", metrics, re.MULTILINE)
    return float(count)


def ends_in_time(process: Process, number: signal.Signals = signal.SIGTERM) -> None:
    since_s = time.monotonic()
    assert process.end(number) == 0
    # Its end takes well under a second by itself; the rest is for a busy machine.
    assert time.monotonic() - since_s < FLUSH_S + 6


def test_control_plane_whose_log_nobody_reads_serves_counts_what_it_drops_and_ends_in_time(
    launch: Launcher, reader: Reader
) -> None:
    process, http_port, grpc_address = unread_control_plane(launch, reader)
    worker = launch.worker(grpc_address, "worker-1")
    assert worker.worker_id == "worker-1"
    with client_of(http_port) as client:
        assert dropped(client) == 0
        for _ in range(MOST_BYTES // len(LONG_PATH) + 100):
            ask(client, LONG_PATH)
        assert dropped(client) > 0
        path = "/api/workers/worker-1"
        last_ms = json.loads(ask(client, path))["lastHeartbeatMs"]
        eventually(lambda: json.loads(ask(client, path))["lastHeartbeatMs"] > last_ms, "heartbeats go on")
        assert json.loads(ask(client, path))["status"] == "HEALTHY"
    assert not worker.logged("contact_lost")
    assert worker.end() == 0
    ends_in_time(process)


def test_control_plane_whose_log_is_read_again_says_how_much_is_missing(
    launch: Launcher, reader: Reader
) -> None:
    process, http_port, _ = unread_control_plane(launch, reader)
    with client_of(http_port) as client:
        for _ in range(MOST_BYTES // len(LONG_PATH) + 100):
            ask(client, LONG_PATH)
        missing = dropped(client) + 1  # the answer is logged after it is made
        line = reader.until_logged("log_lines_dropped")
        assert (line["level"], line["lines"]) == ("warning", missing)
        ask(client, "/livez")
        assert dropped(client) == missing
    assert process.end() == 0
    events = [line["event"] for line in reader.lines]
    assert events[-1] == "control_plane_stopped"
    assert len([line for line in reader.lines if line.get("path") == LONG_PATH]) > MOST_BYTES // 7000


def test_worker_whose_log_nobody_reads_goes_on_reporting_and_ends_in_time(
    launch: Launcher, reader: Reader
) -> None:
    control_plane = launch.control_plane()
    arguments = ("--worker", "--control-plane", control_plane.address, "--port", "0", "--id", "worker-1")
    worker = launch.run(*SERVE, *arguments, before=reader.redirected(), name="worker")
    reader.until_logged("registered")
    for _ in range(3):
        # Each time it logs a warning and a registration, and the pipe has room for some 4096 bytes.
        for _ in range(8):
            control_plane.request("DELETE", "/api/workers/worker-1")
            control_plane.until_status("worker-1", "HEALTHY")
    control_plane.until_heard_from("worker-1")
    ends_in_time(worker)
    assert control_plane.statuses == {}


def test_process_told_twice_to_end_has_said_so(launch: Launcher, reader: Reader) -> None:
    control_plane = launch.control_plane()
    arguments = ("--worker", "--control-plane", control_plane.address, "--port", "0", "--id", "worker-1")
    worker = launch.run(*SERVE, *arguments, before=reader.redirected(), name="worker")
    reader.until_logged("registered")
    control_plane.freeze()  # so that its deregistration is not answered
    worker.send(signal.SIGTERM)
    reader.until_logged("stopping")
    assert worker.end(signal.SIGINT) == 128 + signal.SIGINT
    assert reader.lines[-1]["event"] == "ended_at_once"


def test_dev_whose_output_nobody_reads_goes_on_and_ends_in_time(launch: Launcher, reader: Reader) -> None:
    ports = ("--grpc-port", "0", "--http-port", "0", "--worker-port", "0")
    cluster = launch.run("dev", "--workers", "1", *ports, before=reader.redirected(1), name="dev")
    url = reader.until_said(r"REST +http://127\.0\.0\.1:(\d+)/api")
    reader.until_said(r"(worker-1 +\|.* registered )")
    with client_of(int(url)) as client:
        for _ in range(40):
            for change in ("cordon", "uncordon"):
                client.request("POST", f"/api/workers/worker-1/{change}", headers={"content-length": "0"})
                assert client.getresponse().read()
        assert json.loads(ask(client, "/api/workers/worker-1"))["status"] == "HEALTHY"
    assert len(reader.text) < 40 * PIPE_BYTES
    ends_in_time(cluster)


def test_dev_interrupted_where_nobody_reads_either_output_ends_all_the_same(
    launch: Launcher, reader: Reader
) -> None:
    ports = ("--grpc-port", "0", "--http-port", "0", "--worker-port", "0")
    both = ("sh", "-c", f'exec "$0" "$@" >"{reader.path}" 2>&1')
    cluster = launch.run("dev", "--workers", "3", *ports, before=both, name="dev")
    reader.until_said(r"(REST +http)")
    reader.fill()
    assert cluster.end(signal.SIGINT) == 130
