"""This module starts real MiniCloud processes on loopback, waits for them, calls them and ends them.

Always holds: a process sees none of the test run's settings, keeps its files in the test's own folder and
listens on loopback only; every wait is for a condition and has a deadline; every process has ended when the
`Launcher`'s context ends. Every process is run by `PROGRAM`, so that the same tests can drive a built
executable: MINICLOUD_EXECUTABLE names it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Self, TypeVar

import psutil
import pytest
import trio

from minicloud.rpc.channel import open_channel
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub

T = TypeVar("T")

_EXECUTABLE = os.environ.get("MINICLOUD_EXECUTABLE", "")
PROGRAM: Sequence[str] = [_EXECUTABLE] if _EXECUTABLE else [sys.executable, "-m", "minicloud"]
HOST = "127.0.0.1"

needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs the kernel to tell a child of its parent's death"
)

# Waits take a fraction of this on an idle machine; only a test that fails waits for so long.
WITHIN_S = 60.0
_POLL_S = 0.01


def eventually(condition: Callable[[], T | None], what: Callable[[], str] | str = "the condition") -> T:
    """Return the first true answer of `condition`; raise an assertion error with `what` after `WITHIN_S`."""
    deadline_s = time.monotonic() + WITHIN_S
    while not (answer := condition()):
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"not within {WITHIN_S:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_POLL_S)
    return answer


def is_running(pid: int) -> bool:
    """Return True if the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Process:
    """A `Process` is one process of the program. Its output goes to files, so that it never waits for the
    test."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._stdout, self._stderr = folder / f"{name}.out", folder / f"{name}.err"
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                command, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def stdout(self) -> str:
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the whole lines of its log so far. Text that is not JSON is an error, except last words to a
        person."""
        lines = self.stderr.rpartition("\n")[0].splitlines()
        lines = [line for line in lines if not line.startswith("minicloud: ")]
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            raise AssertionError(f"the log of {self.name} is not JSON:\n{self.stderr}") from None

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return its log lines of this event that have these fields."""
        return [
            line
            for line in self.log
            if line["event"] == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def until_logged(self, event: str, **fields: object) -> dict[str, Any]:
        """Return the first such line once it is there; raise an assertion error where the process ends
        without it."""

        def look() -> list[dict[str, Any]]:
            running = self.running  # before the look, as its last line may be the one
            found = self.logged(event, **fields)
            assert found or running, f"{self.name} ended without {event} {fields}:\n{self.stderr}"
            return found

        return eventually(look, lambda: f"{self.name} says {event} {fields}:\n{self.stderr}")[0]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def tree(self) -> list[psutil.Process]:
        """Return it and all its descendants: an executable that unpacks itself does its work in a child."""
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    @property
    def inner(self) -> psutil.Process:
        """Return the process that does the work. This is not for a program that starts others."""
        return self.tree[-1]

    def freeze(self) -> None:
        """Stop it (SIGSTOP), and wait until the kernel has done so."""
        for process in self.tree:
            process.suspend()
        eventually(
            lambda: all(process.status() == psutil.STATUS_STOPPED for process in self.tree),
            f"{self.name} stands still",
        )

    def thaw(self) -> None:
        for process in self.tree:
            process.resume()

    def exit_code(self) -> int:
        """Return its exit code once it has ended; negative for a signal that killed it."""
        try:
            return self._process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end:\n{self.stderr}") from None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it `number` and return the exit code once it has ended."""
        self.send(number)
        return self.exit_code()

    def kill(self) -> None:
        """Kill it at once. An executable's outer process ends as the inner one did."""
        self.inner.kill()
        assert self.exit_code() == -signal.SIGKILL

    def close(self) -> None:
        """End it if it still runs, in every state."""
        if self.running:
            self._process.kill()
        self._process.wait()


class Worker(Process):
    """A `Worker` is a worker's process."""

    @property
    def worker_id(self) -> str:
        """Return the id it was given last, once it has one."""
        return str(self.until_logged("registered")["worker_id"])


@dataclass(frozen=True, slots=True)
class Answer:
    """An `Answer` is the answer to an HTTP request. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ControlPlane(Process):
    """A `ControlPlane` is a control plane's process, with calls to it."""

    grpc_port: int
    http_port: int

    def await_ready(self) -> None:
        line = self.until_logged("control_plane_ready")
        grpc, http = line["grpc"][0], line["http"][0]
        self.grpc_port, self.http_port = int(grpc.rpartition(":")[2]), int(http.rpartition(":")[2])

    @property
    def address(self) -> str:
        return f"{HOST}:{self.grpc_port}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        connection = HTTPConnection(HOST, self.http_port, timeout=WITHIN_S)
        try:
            connection.request(method, path, headers=dict(headers or {}))
            response = connection.getresponse()
            body = response.read()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, body)
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the JSON at `path`, which must be there."""
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    def post(self, path: str) -> Any:
        answer = self.request("POST", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    @property
    def statuses(self) -> dict[str, str]:
        """Return the registered workers and their statuses."""
        return {worker["workerId"]: worker["status"] for worker in self.get("/api/workers")}

    def until_status(self, worker_id: str, status: str) -> None:
        """Wait until this worker is registered and has this status."""
        eventually(
            lambda: self.statuses.get(worker_id) == status,
            lambda: f"{worker_id} is {status}, but {self.statuses}",
        )

    def until_heard_from(self, worker_id: str) -> None:
        """Wait until one more heartbeat of this worker has come."""
        path = f"/api/workers/{worker_id}"
        last_ms = self.get(path)["lastHeartbeatMs"]
        eventually(lambda: self.get(path)["lastHeartbeatMs"] > last_ms, f"{worker_id} reports")

    def events_of(self, worker_id: str) -> list[dict[str, Any]]:
        """Return the history of one worker."""
        return [entry for entry in self.get("/api/events") if entry["workerId"] == worker_id]

    def call(self, method: Callable[[WorkerManagementServiceStub], Awaitable[T]]) -> T:
        """Return the answer to one gRPC call, on a connection of its own."""

        async def run() -> T:
            async with open_channel([(HOST, self.grpc_port)], random=Random(1)) as channel:
                with trio.fail_after(WITHIN_S):
                    return await method(channel.stub(WorkerManagementServiceStub))

        return trio.run(run)


class Launcher:
    """A `Launcher` starts processes of `program` in `folder`, and ends them all when its context does.

    `env` has the variables that they see besides the least.
    """

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, program: Sequence[str] = PROGRAM
    ) -> None:
        self.folder = folder
        self._env = dict(env or {})
        self._program = program
        self._processes: list[Process] = []
        self._ports: list[socket.socket] = []
        self._numbers = count(1)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a process: the path of programs, and nothing else of the test run."""
        folder = str(self.folder)
        least = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": folder,
            "TMPDIR": folder,
        }
        return least | self._env

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        name: str = "run",
        before: Sequence[str] = (),
    ) -> Process:
        """Start a process with these arguments; `before` is a command that runs the program given
        after it."""
        return self._start(Process, name, arguments, env or {}, before)

    def control_plane(
        self,
        *more: str,
        interval: str = "100ms",
        timeout: str = "30s",
        ports: tuple[int, int] = (0, 0),
        data_dir: Path | str = "none",
        before: Sequence[str] = (),
    ) -> ControlPlane:
        """Start a control plane on these ports for gRPC and HTTP, and return it once it is ready.

        `timeout` is long, so that a busy machine makes no worker UNHEALTHY in a test of something else.
        """
        arguments = [
            *("--grpc-port", str(ports[0]), "--http-port", str(ports[1]), "--data-dir", str(data_dir)),
            *("--heartbeat-interval", interval, "--heartbeat-timeout", timeout, "--log-format", "json"),
        ]
        control_plane = self._start(ControlPlane, "control-plane", [*arguments, *more], {}, before)
        control_plane.await_ready()
        return control_plane

    def worker(
        self,
        address: ControlPlane | str,
        worker_id: str = "",
        *more: str,
        data_dir: Path | str = "none",
        port: int = 0,
        before: Sequence[str] = (),
    ) -> Worker:
        """Start a worker, without waiting for it."""
        target = address if isinstance(address, str) else address.address
        arguments = [
            *("--worker", "--control-plane", target, "--port", str(port), "--data-dir", str(data_dir)),
            *("--log-format", "json"),
            *(("--id", worker_id) if worker_id else ()),
        ]
        return self._start(Worker, worker_id or "worker", [*arguments, *more], {}, before)

    def reserved_port(self) -> int:
        """Return a port that no other program gets while this test lasts, and that a process of the test can
        listen on.

        It is below the range that the system picks from: while a server is away, a client that keeps
        connecting to a port of that range may be given this very port for its own end, and meet itself.
        """
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            end = int(file.read().split()[0])
        candidates = list(range(max(1024, end - 12_000), end))
        Random(os.getpid()).shuffle(candidates)  # two test processes seldom meet
        for port in candidates:
            holder = socket.socket()
            try:
                holder.bind((HOST, port))
            except OSError:
                holder.close()
                continue
            # It is bound again here, so that no other test can bind it as well. Bound and not listening, it
            # refuses connections, and lets a server that sets the same option listen.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._ports.append(holder)
            return port
        raise AssertionError("no port is free")

    def reserved_ports(self) -> tuple[int, int]:
        """Return two of them, as a control plane needs to come back at the same place."""
        return self.reserved_port(), self.reserved_port()

    def taken_port(self) -> int:
        """Return a port on which another program listens."""
        listener = socket.create_server((HOST, 0))
        self._ports.append(listener)
        port: int = listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.close()
        for holder in self._ports:
            holder.close()

    def _start(
        self,
        kind: Callable[[str, Sequence[str], Path, Mapping[str, str]], ProcessT],
        name: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        before: Sequence[str],
    ) -> ProcessT:
        process = kind(
            f"{name}.{next(self._numbers)}",
            [*before, *self._program, *arguments],
            self.folder,
            {**self.environment, **env},
        )
        self._processes.append(process)
        return process


ProcessT = TypeVar("ProcessT", bound=Process)
