"""This benchmark runs a real control plane process: time to the first answer, cost of a connection, a long
list.

Everything is measured from outside, over loopback, by a client or by the kernel's figures.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from random import Random

import psutil
import trio

from minicloud.http2.connection import PREFACE
from minicloud.rpc.channel import open_channel
from minicloud.wire.gen.minicloud.common import ResourceInfo
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    RegisterWorkerRequest,
    WorkerManagementServiceStub,
)
from tests.bench.table import Figure
from tests.integration.processes import HOST, PROGRAM, WITHIN_S, ControlPlane, Launcher

STARTS = 7
CONNECTIONS = 2000
WORKERS = 5000
LISTS = 40
_SETTINGS = bytes(3) + b"\x04" + bytes(5)


def measure() -> list[Figure]:
    """Measure all figures, each with processes of its own."""
    return [*_start(), *_connections(), *_long_list()]


@contextmanager
def _launcher() -> Iterator[Launcher]:
    with tempfile.TemporaryDirectory() as folder, Launcher(Path(folder)) as launcher:
        yield launcher


def _start() -> list[Figure]:
    text = f"{statistics.median(first_answers_s(STARTS)) * 1000:,.0f} ms"
    return [Figure(f"process start to first answer, median of {STARTS}", text)]


def first_answers_s(count: int, program: Sequence[str] = PROGRAM) -> list[float]:
    """Measure, so many times, the seconds from the making of the process until it has answered a
    heartbeat."""
    took_s = []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder, Launcher(Path(folder), program=program) as launcher:
            ports = launcher.reserved_ports()
            began_s = time.perf_counter()
            process = launcher.run(
                "--grpc-port", str(ports[0]), "--http-port", str(ports[1]), "--data-dir", "data"
            )
            trio.run(_first_answer, ports[0])
            took_s.append(time.perf_counter() - began_s)
            process.end()
    return took_s


async def _first_answer(port: int) -> None:
    with trio.fail_after(WITHIN_S):
        while True:
            try:
                stream = await trio.open_tcp_stream(HOST, port)
            except OSError:
                await trio.sleep(0.005)
            else:
                await stream.aclose()
                break
        async with open_channel([(HOST, port)], random=Random(1)) as channel:
            await channel.stub(WorkerManagementServiceStub).heartbeat(HeartbeatRequest(worker_id="nobody"))


def _connections() -> list[Figure]:
    """Measure the resident memory that idle gRPC connections add, handshake done."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with _launcher() as launcher:
            control_plane = launcher.control_plane()
            watched = control_plane.inner
            trio.run(_hold, control_plane.grpc_port, 100, watched)  # memory that is allocated once, is
            before_bytes = watched.memory_info().rss
            held_bytes = trio.run(_hold, control_plane.grpc_port, CONNECTIONS, watched)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    text = f"{(held_bytes - before_bytes) / CONNECTIONS:,.0f}"
    return [Figure(f"bytes per open connection, of {CONNECTIONS:,} idle", text)]


async def _hold(port: int, connections: int, watched: psutil.Process) -> int:
    """Return the resident memory of `watched` while so many connections to it are open."""
    streams: list[trio.SocketStream] = []
    taking_turns = trio.CapacityLimiter(50)

    async def connect() -> None:
        async with taking_turns:
            stream = await trio.open_tcp_stream(HOST, port)
            await stream.send_all(PREFACE + _SETTINGS)
            assert await stream.receive_some()
            streams.append(stream)

    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(connect)
    held_bytes: int = watched.memory_info().rss
    for stream in streams:
        await stream.aclose()
    return held_bytes


def _long_list() -> list[Figure]:
    """Measure `GET /api/workers` of many workers, and the wait of other calls meanwhile."""
    with _launcher() as launcher:
        control_plane = launcher.control_plane(interval="30s", timeout="10m")
        trio.run(_register, control_plane.grpc_port)
        alone_s = trio.run(_heartbeats_during, control_plane.grpc_port, lambda: time.sleep(1))
        lists_s: list[float] = []
        size_bytes = 0

        def get_lists() -> None:
            nonlocal size_bytes
            for _ in range(LISTS):
                took_s, size_bytes = _get_list(control_plane)
                lists_s.append(took_s)

        beside_s = trio.run(_heartbeats_during, control_plane.grpc_port, get_lists)
    return [
        Figure(
            f"GET /api/workers of {WORKERS:,} ({size_bytes / 1e6:.1f} MB), p50 / p95",
            f"{_percentile(lists_s, 50) * 1000:.0f} / {_percentile(lists_s, 95) * 1000:.0f} ms",
        ),
        Figure(
            "a heartbeat beside it, p50 / slowest",
            f"{_percentile(beside_s, 50) * 1000:.1f} / {max(beside_s) * 1000:.0f} ms",
        ),
        Figure(
            "a heartbeat with nothing beside it, p50 / slowest",
            f"{_percentile(alone_s, 50) * 1000:.1f} / {max(alone_s) * 1000:.0f} ms",
        ),
    ]


async def _register(port: int) -> None:
    """Register `WORKERS` workers of a usual size."""
    async with open_channel([(HOST, port)], random=Random(1)) as channel:
        stub = channel.stub(WorkerManagementServiceStub)

        async def some(first: int) -> None:
            for number in range(first, WORKERS, 20):
                request = RegisterWorkerRequest(
                    worker_id=f"worker-{number}",
                    endpoint=f"10.0.{number >> 8}.{number & 255}:9091",
                    resources=ResourceInfo(
                        cpu_cores=16, memory_mb=65_536, disk_mb=1_000_000, cpu_utilization=0.42
                    ),
                    metadata={"zone": f"eu-1{'abc'[number % 3]}"},
                    instance_id=f"{number:032x}",
                )
                assert (await stub.register_worker(request)).registered

        async with trio.open_nursery() as nursery:
            for first in range(20):
                nursery.start_soon(some, first)


async def _heartbeats_during(port: int, work: Callable[[], None]) -> list[float]:
    """Return how long heartbeats took, sent one after another while `work` ran in a thread."""
    took_s: list[float] = []
    async with open_channel([(HOST, port)], random=Random(2)) as channel:
        stub = channel.stub(WorkerManagementServiceStub)

        async def beat() -> None:
            while True:
                began_s = time.perf_counter()
                assert (await stub.heartbeat(HeartbeatRequest(worker_id="worker-1"))).acknowledged
                took_s.append(time.perf_counter() - began_s)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            await trio.to_thread.run_sync(work)
            nursery.cancel_scope.cancel()
    return took_s


def _get_list(control_plane: ControlPlane) -> tuple[float, int]:
    """Return the seconds until the whole answer had come, and its size."""
    connection = HTTPConnection(HOST, control_plane.http_port, timeout=WITHIN_S)
    began_s = time.perf_counter()
    connection.request("GET", "/api/workers")
    body = connection.getresponse().read()
    took_s = time.perf_counter() - began_s
    connection.close()
    return took_s, len(body)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
