"""Control plane and worker answer gRPC's standard services, health and reflection."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
import trio
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from minicloud.rpc.channel import Channel, open_channel
from minicloud.wire.gen.grpc.health.v1 import HealthCheckRequest, HealthCheckResponse, HealthStub
from minicloud.wire.gen.grpc.health.v1 import HealthCheckResponseServingStatus as ServingStatus
from minicloud.wire.gen.grpc.reflection.v1 import ServerReflectionRequest, ServerReflectionResponse
from tests.integration.processes import WITHIN_S, ControlPlane, Launcher, Process

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
HEALTH_NAME = "grpc.health.v1.Health"

T = TypeVar("T")


def on_channel(address: str, use: Callable[[Channel], Awaitable[T]]) -> T:
    async def run() -> T:
        host, _, port = address.rpartition(":")
        async with open_channel([(host, int(port))], random=Random(1)) as channel:
            with trio.fail_after(WITHIN_S):
                return await use(channel)

    return trio.run(run)


async def check(channel: Channel) -> ServingStatus:
    return (await channel.stub(HealthStub).check(HealthCheckRequest())).status


async def list_services(channel: Channel) -> list[str]:
    async with channel.request(
        REFLECTION, Cardinality.STREAM_STREAM, ServerReflectionRequest, ServerReflectionResponse
    ) as stream:
        await stream.send_message(ServerReflectionRequest(list_services=""), end=True)
        answer = await stream.recv_message()
    assert answer is not None
    assert answer.list_services_response is not None
    return [service.name for service in answer.list_services_response.service]


def statuses_while_ending(process: Process, address: str) -> tuple[list[ServingStatus], int]:
    """End `process` and return its exit code, with the statuses that a watcher got meanwhile."""

    async def watch(channel: Channel) -> list[ServingStatus]:
        seen = []
        async with channel.request(
            "/grpc.health.v1.Health/Watch", Cardinality.UNARY_STREAM, HealthCheckRequest, HealthCheckResponse
        ) as stream:
            await stream.send_message(HealthCheckRequest(), end=True)
            for tell in (True, False):
                answer = await stream.recv_message()
                assert answer is not None
                seen.append(answer.status)
                if tell:
                    process.send(signal.SIGTERM)
            with pytest.raises(GRPCError, match=r"UNAVAILABLE.*shutting down"):
                await stream.recv_message()
        return seen

    return on_channel(address, watch), process.exit_code()


def endpoint_of(control_plane: ControlPlane, worker_id: str) -> str:
    return str(control_plane.get(f"/api/workers/{worker_id}")["endpoint"])


def test_control_plane_answers_health_and_reflection(shared: ControlPlane) -> None:
    assert on_channel(shared.address, check) == ServingStatus.SERVING
    assert on_channel(shared.address, list_services) == [
        HEALTH_NAME,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "minicloud.execution.WorkerManagementService",
    ]


def test_worker_answers_health_and_reflection(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "answering")
    address = endpoint_of(shared, worker.worker_id)
    assert on_channel(address, check) == ServingStatus.SERVING
    assert HEALTH_NAME in on_channel(address, list_services)


def test_worker_told_to_answer_no_reflection_still_answers_health(
    launch: Launcher, shared: ControlPlane
) -> None:
    worker = launch.worker(shared, "shy", "--no-enable-reflection")
    address = endpoint_of(shared, worker.worker_id)
    assert on_channel(address, check) == ServingStatus.SERVING
    with pytest.raises(GRPCError, match="UNIMPLEMENTED"):
        on_channel(address, list_services)


def test_control_plane_told_to_end_tells_watchers_of_its_health_first(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    seen, code = statuses_while_ending(control_plane, control_plane.address)
    assert seen == [ServingStatus.SERVING, ServingStatus.NOT_SERVING]
    assert code == 0


def test_worker_told_to_end_tells_watchers_of_its_health_first(
    launch: Launcher, shared: ControlPlane
) -> None:
    worker = launch.worker(shared, "watched")
    seen, code = statuses_while_ending(worker, endpoint_of(shared, worker.worker_id))
    assert seen == [ServingStatus.SERVING, ServingStatus.NOT_SERVING]
    assert code == 0


def test_worker_told_to_end_is_not_serving_while_it_waits_for_its_goodbye(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    worker = launch.worker(control_plane, "leaving")
    address = endpoint_of(control_plane, worker.worker_id)
    control_plane.freeze()
    worker.send(signal.SIGTERM)
    worker.until_logged("stopping", signal="SIGTERM")
    assert on_channel(address, check) == ServingStatus.NOT_SERVING
    control_plane.thaw()
    assert worker.exit_code() == 0
    assert worker.until_logged("deregistered")


def test_worker_whose_data_folder_another_has_says_so_and_registers_nowhere(
    launch: Launcher, shared: ControlPlane, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    first = launch.worker(shared, "holder", data_dir=folder)
    assert first.worker_id == "holder"
    second = launch.worker(shared, "intruder", data_dir=folder)
    assert second.exit_code() == 1
    assert second.stderr.splitlines() == [
        f"minicloud: another worker uses the data folder {folder}: give this one its own with "
        "--data-dir FOLDER, or --data-dir none to keep nothing"
    ]
    assert shared.events_of("intruder") == []
    first.kill()
    assert launch.worker(shared, "heir", data_dir=folder).until_logged("registered")


def test_worker_whose_disk_hangs_starts_all_the_same(launch: Launcher, shared: ControlPlane) -> None:
    # This is the program with one function of the machine replaced; everything else is real.
    program = (
        "import sys, time\n"
        "from minicloud.worker.resources import LocalMachine\n"
        "LocalMachine.disk = lambda self, path: time.sleep(3600)\n"
        "from minicloud.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    script = launch.folder / "hanging_disk.py"
    script.write_text(program)
    arguments = [
        *("--worker", "--control-plane", shared.address, "--port", "0", "--data-dir", "none"),
        *("--id", "hanging", "--log-format", "json"),
    ]
    command = [sys.executable, str(script), *arguments]
    with closing(Process("hanging", command, launch.folder, launch.environment)) as worker:
        assert worker.until_logged("registered")["worker_id"] == "hanging"
        assert shared.get("/api/workers/hanging")["resources"]["diskMb"] == 0
        assert worker.end(signal.SIGTERM) == 0
