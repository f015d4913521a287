"""This benchmark counts unary heartbeats a CPU second of the server: ours, grpclib's on asyncio, grpc.aio.

The messages, the handler and the load are the same (grpcio's client, in its own process, a fixed number of
calls from a fixed number of concurrent callers). The figure is the CPU time of the server's process, which a
busy machine blurs less than elapsed time. Run it with `python -m tests.bench.rpc_throughput`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from minicloud.wire.gen.minicloud.common import ResourceInfo
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    WorkerManagementServiceBase,
)

METHOD = "/minicloud.execution.WorkerManagementService/Heartbeat"
CONNECTIONS = 4
CALLERS = 32


@dataclass(frozen=True, slots=True)
class Result:
    """A `Result` has the figures of one server."""

    server: str
    calls: int
    cpu_s: float
    memory_bytes: int

    @property
    def calls_per_cpu_s(self) -> float:
        return self.calls / self.cpu_s


class Heartbeats(WorkerManagementServiceBase):
    """A `Heartbeats` acknowledges each heartbeat without any order."""

    async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
        return HeartbeatResponse(acknowledged=bool(message.worker_id), next_heartbeat_ms=30_000)


def a_heartbeat() -> HeartbeatRequest:
    """Return a heartbeat of a usual size."""
    return HeartbeatRequest(
        worker_id="worker-0017",
        current_resources=ResourceInfo(
            cpu_cores=16,
            memory_mb=65_536,
            disk_mb=1_000_000,
            active_queries=3,
            cpu_utilization=0.42,
            memory_utilization=0.61,
        ),
        status_metadata={"zone": "eu-1a"},
        incarnation=3,
        sequence=1234,
    )


def measure(server: str, calls: int, warm_up: int = 500) -> Result:
    """Start `server` (a key of `SERVERS`), load it with `calls` heartbeats, read its CPU time, stop it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.rpc_throughput", "serve", server], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip()
        watched = psutil.Process(process.pid)
        _load(port, warm_up)
        before = watched.cpu_times()
        _load(port, calls)
        after = watched.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        return Result(server, calls, cpu_s, watched.memory_info().rss)
    finally:
        process.kill()
        process.wait()


def compare(calls: int) -> list[Result]:
    """Measure every server, one after the other."""
    return [measure(server, calls) for server in SERVERS]


def _load(port: str, calls: int) -> None:
    subprocess.run([sys.executable, "-m", "tests.bench.rpc_throughput", "load", port, str(calls)], check=True)


# The processes


def _serve_ours() -> None:
    from random import Random

    import trio

    from minicloud.rpc.server import Server

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        print(listeners[0].socket.getsockname()[1], flush=True)
        await Server([Heartbeats()], random=Random(1)).serve(listeners)

    trio.run(main)


def _serve_grpclib() -> None:
    import asyncio
    import socket

    import grpclib.server

    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        server = grpclib.server.Server([Heartbeats()])
        await server.start(sock=listening)
        print(listening.getsockname()[1], flush=True)
        await server.wait_closed()

    asyncio.run(main())


def _serve_grpc_aio() -> None:
    import asyncio

    import grpc.aio

    service = Heartbeats()

    async def heartbeat(request: HeartbeatRequest, context: object) -> HeartbeatResponse:
        return await service.heartbeat(request)

    async def main() -> None:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            heartbeat, request_deserializer=HeartbeatRequest.FromString, response_serializer=bytes
        )
        service_name, method = METHOD[1:].split("/")
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service_name, {method: handler})]
        )
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())


def _run_load(port: int, calls: int) -> None:
    import asyncio

    import grpc.aio

    async def main() -> None:
        request = bytes(a_heartbeat())
        left = calls
        # Channels to one address share a connection, except with a pool each.
        channels = [
            grpc.aio.insecure_channel(
                f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), ("bench.channel", n)]
            )
            for n in range(CONNECTIONS)
        ]

        async def caller(channel: grpc.aio.Channel) -> None:
            nonlocal left
            call = channel.unary_unary(METHOD)
            while left > 0:
                left -= 1
                reply = await call(request, timeout=30)
                assert reply

        async with asyncio.TaskGroup() as group:
            for n in range(CALLERS):
                group.create_task(caller(channels[n % CONNECTIONS]))
        for channel in channels:
            await channel.close()

    asyncio.run(main())


SERVERS: dict[str, Callable[[], None]] = {
    "minicloud": _serve_ours,
    "grpclib": _serve_grpclib,
    "grpc.aio": _serve_grpc_aio,
}


def main(arguments: list[str]) -> None:
    """Print the table without arguments; `serve NAME` and `load PORT CALLS` are the processes behind it."""
    if arguments[:1] == ["serve"]:
        SERVERS[arguments[1]]()
    elif arguments[:1] == ["load"]:
        _run_load(int(arguments[1]), int(arguments[2]))
    else:
        calls = int(arguments[0]) if arguments else 10_000
        results = compare(calls)
        ours = results[0].calls_per_cpu_s
        print(f"{'server':<12}{'calls/CPU s':>12}{'us/call':>10}{'RSS MB':>8}{'ours is':>10}")
        for result in results:
            rate = result.calls_per_cpu_s
            print(
                f"{result.server:<12}{rate:>12.0f}{1e6 / rate:>10.0f}{result.memory_bytes / 2**20:>8.0f}"
                f"{ours / rate:>9.2f}x"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
