"""What was acknowledged is there after a restart: of one killed, and of one whose disk is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import trio
from grpclib.exceptions import GRPCError

from minicloud.cli import exits
from minicloud.rpc.channel import open_channel
from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest, WorkerManagementServiceStub
from tests.integration.mounts import OwnMount, mounted
from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher, eventually

Acknowledged = dict[str, int]  # incarnations by id


def register_until_gone(
    control_plane: ControlPlane, *, clients: int, padding: int, then: Callable[[Acknowledged], None]
) -> Acknowledged:
    """Register workers, each of `clients` one after another, until the control plane is gone. `then` is
    called after each answer."""
    acknowledged: Acknowledged = {}

    async def register(client: int) -> None:
        async with open_channel([(HOST, control_plane.grpc_port)], random=Random(client)) as channel:
            stub = channel.stub(WorkerManagementServiceStub)
            for number in range(10_000):
                request = RegisterWorkerRequest(
                    worker_id=f"worker-{client}-{number}",
                    endpoint=f"10.0.{client}.{number % 256}:{9000 + number // 256}",
                    metadata={"padding": "x" * padding},
                )
                try:
                    answer = await stub.register_worker(request, timeout=WITHIN_S)
                except GRPCError:
                    return
                assert answer.registered
                acknowledged[answer.assigned_worker_id] = answer.incarnation
                then(acknowledged)

    async def run() -> None:
        with trio.fail_after(WITHIN_S):
            async with trio.open_nursery() as nursery:
                for client in range(clients):
                    nursery.start_soon(register, client)

    trio.run(run)
    return acknowledged


def check_kept(control_plane: ControlPlane, acknowledged: Acknowledged) -> None:
    kept = {worker["workerId"]: worker["incarnation"] for worker in control_plane.get("/api/workers")}
    missing = {worker_id for worker_id in acknowledged if kept.get(worker_id) != acknowledged[worker_id]}
    assert not missing
    ids = [entry["eventId"] for entry in control_plane.get("/api/events?limit=1000")]
    assert ids == list(range(1, len(kept) + 1))


def test_control_plane_killed_while_it_registers_has_kept_what_it_acknowledged(launch: Launcher) -> None:
    first = launch.control_plane(data_dir=launch.folder)

    def kill_in_the_middle(acknowledged: Acknowledged) -> None:
        if len(acknowledged) == 100:
            first.kill()

    acknowledged = register_until_gone(first, clients=8, padding=10, then=kill_in_the_middle)
    assert len(acknowledged) >= 100
    check_kept(launch.control_plane(data_dir=launch.folder), acknowledged)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[OwnMount]:
    with mounted(tmp_path / "disk", "size=400k") as disk:
        yield disk


def test_control_plane_whose_disk_is_full_ends_and_has_kept_what_it_acknowledged(
    launch: Launcher, small_disk: OwnMount
) -> None:
    first = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    acknowledged = register_until_gone(first, clients=2, padding=8000, then=lambda _: None)
    assert len(acknowledged) > 5
    assert first.exit_code() == exits.FAILED  # not USAGE, on which a service manager would not restart it
    said = first.stderr.splitlines()[-1]
    assert said.startswith(f"minicloud: cannot write {small_disk.path}/registry.db: ")
    assert said.endswith("nothing acknowledged is lost, see to the disk and start again")
    assert "Traceback" not in first.stderr

    small_disk.change("size=64m")
    second = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    check_kept(second, acknowledged)
    # And it can write again.
    worker = launch.worker(second, "after")
    eventually(lambda: "after" in second.statuses)
    assert worker.end() == 0
