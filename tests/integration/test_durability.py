"""Acknowledged changes are there after a restart: of a killed control plane, and of one whose disk is
full."""

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
from tests.integration.mounts import OwnMount, freezable, mounted
from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher, eventually

Acknowledged = dict[str, int]  # incarnations by id


def register_until_refused(
    control_plane: ControlPlane, *, clients: int, padding: int, then: Callable[[Acknowledged], None]
) -> Acknowledged:
    """Register workers, each of `clients` one after another, until one is not acknowledged.

    `then` is called after each answer.
    """
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

    acknowledged = register_until_refused(first, clients=8, padding=10, then=kill_in_the_middle)
    assert len(acknowledged) >= 100
    check_kept(launch.control_plane(data_dir=launch.folder), acknowledged)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[OwnMount]:
    with mounted(tmp_path / "disk", "size=400k") as disk:
        yield disk


def test_control_plane_whose_disk_is_full_has_kept_what_it_acknowledged(
    launch: Launcher, small_disk: OwnMount
) -> None:
    first = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    acknowledged = register_until_refused(first, clients=2, padding=3500, then=lambda _: None)
    assert len(acknowledged) > 5
    assert first.running
    first.kill()

    small_disk.change("size=64m")
    second = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    check_kept(second, acknowledged)
    # After that it can write again.
    worker = launch.worker(second, "after")
    eventually(lambda: "after" in second.statuses)
    assert worker.end() == 0


@pytest.fixture
def freezable_disk(tmp_path: Path) -> Iterator[OwnMount]:
    with freezable(tmp_path / "disk") as disk:
        yield disk


def refused(control_plane: ControlPlane) -> bool:
    """Return True if the control plane refuses changes, and check how it does."""
    ready = control_plane.request("GET", "/readyz")
    if ready.status == 200:
        return False
    assert ready.status == 503
    assert "cannot write" in ready.json["detail"]
    assert control_plane.request("GET", "/livez").status == 200
    return True


@pytest.mark.timeout(180)  # four processes, and a timeout, an outage and a recovery to wait for
def test_control_plane_on_a_full_disk_goes_on_in_memory_and_recovers_by_itself(
    launch: Launcher, small_disk: OwnMount
) -> None:
    ports = launch.reserved_ports()
    first = launch.control_plane(
        interval="200ms", timeout="3s", ports=ports, data_dir=small_disk.path, before=small_disk.inside
    )
    lives, dies = launch.worker(first, "lives"), launch.worker(first, "dies")
    first.until_status("lives", "HEALTHY")
    first.until_status("dies", "HEALTHY")
    small_disk.fill()
    # The first write that finds no room depends on what the log still holds; each one leaves less.
    for _ in range(1000):
        answer = first.request("POST", "/api/workers/lives/cordon")
        answer = answer if answer.status == 503 else first.request("POST", "/api/workers/lives/uncordon")
        if answer.status == 503:
            break
    assert refused(first)
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    cordoned = first.get("/api/workers/lives")["adminState"]
    dies.kill()
    first.until_status("dies", "UNHEALTHY")
    first.until_heard_from("lives")
    assert first.statuses["lives"] in ("HEALTHY", "DRAINING")

    # A refused change has no effect.
    for path in ("/api/workers/lives/drain", "/api/workers/dies/cordon"):
        assert first.request("POST", path).status == 503
    assert first.request("DELETE", "/api/workers/dies").status == 503
    assert first.get("/api/workers/lives")["adminState"] == cordoned
    assert first.statuses["dies"] == "UNHEALTHY"
    request = RegisterWorkerRequest(worker_id="late", endpoint="10.0.0.9:9091")
    with pytest.raises(GRPCError, match=r"UNAVAILABLE.*nothing was changed, try again later"):
        first.call(lambda stub: stub.register_worker(request))
    assert "late" not in first.statuses
    assert b"minicloud_store_available 0.0" in first.request("GET", "/metrics").body

    small_disk.free()
    first.until_logged("store_recovered")
    assert len(first.logged("store_unavailable")) == 1
    eventually(lambda: not refused(first))
    assert first.call(lambda stub: stub.register_worker(request)).registered
    # Everything that happened meanwhile is durable.
    kinds = [event["kind"] for event in first.events_of("dies")]
    assert kinds == ["registered", "unhealthy"]
    first.kill()
    second = launch.control_plane(
        timeout="30s", ports=ports, data_dir=small_disk.path, before=small_disk.inside
    )
    assert [event["kind"] for event in second.events_of("dies")] == kinds
    assert second.statuses["dies"] == "UNHEALTHY"
    assert second.get("/api/workers/lives")["adminState"] == cordoned
    assert "late" in second.statuses
    assert lives.end() == 0


@pytest.mark.timeout(180)  # four processes, and a timeout, an outage and a recovery to wait for
def test_control_plane_whose_disk_hangs_goes_on_in_memory_and_recovers_by_itself(
    launch: Launcher, freezable_disk: OwnMount
) -> None:
    data_dir = freezable_disk.path / "data"
    plane = launch.control_plane(
        interval="200ms", timeout="3s", data_dir=data_dir, before=freezable_disk.inside
    )
    lives, dies = launch.worker(plane, "lives"), launch.worker(plane, "dies")
    plane.until_status("lives", "HEALTHY")
    plane.until_status("dies", "HEALTHY")
    freezable_disk.freeze()
    answer = plane.request("POST", "/api/workers/lives/cordon")  # it waits for the disk, and not for ever
    assert (answer.status, "the disk hangs" in answer.json["detail"]) == (503, True)
    assert "the disk hangs" in plane.request("GET", "/readyz").json["detail"]
    assert plane.request("GET", "/livez").status == 200
    assert launch.run("health", "--address", plane.address).exit_code() == exits.FAILED
    dies.kill()
    plane.until_status("dies", "UNHEALTHY")
    plane.until_heard_from("lives")
    freezable_disk.thaw()
    plane.until_logged("store_recovered")
    assert len(plane.logged("store_unavailable")) == 1
    eventually(lambda: plane.request("GET", "/readyz").status == 200)
    plane.kill()
    again = launch.control_plane(data_dir=data_dir, before=freezable_disk.inside)
    assert [event["kind"] for event in again.events_of("dies")] == ["registered", "unhealthy"]
    assert again.get("/api/workers/lives")["adminState"] == "CORDONED"
    assert lives.end() == 0


def test_control_plane_starts_on_a_read_only_file_system_and_recovers_by_itself(
    launch: Launcher, small_disk: OwnMount
) -> None:
    first = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    worker = launch.worker(first, "known")
    first.until_status("known", "HEALTHY")
    assert first.events_of("known")  # the history shows it once it is durable
    first.kill()  # with a part of it in the write-ahead log
    worker.kill()
    small_disk.change("ro")
    second = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    assert second.statuses == {"known": "HEALTHY"}
    ready = second.request("GET", "/readyz")
    assert (ready.status, "read-only" in ready.json["detail"]) == (503, True)
    assert second.request("POST", "/api/workers/known/cordon").status == 503
    small_disk.change("rw")
    eventually(lambda: second.request("GET", "/readyz").status == 200)
    second.post("/api/workers/known/cordon")
    second.kill()
    third = launch.control_plane(data_dir=small_disk.path, before=small_disk.inside)
    assert third.statuses == {"known": "DRAINING"}


@pytest.mark.parametrize("broken", ["full", "read-only"])
def test_control_plane_that_cannot_make_its_registry_ends_so_that_it_is_started_again(
    launch: Launcher, small_disk: OwnMount, broken: str
) -> None:
    if broken == "full":
        small_disk.fill()
    else:
        small_disk.change("ro")
    ended = launch.run(
        *("--grpc-port", "0", "--http-port", "0", "--data-dir", f"{small_disk.path}/data"),
        before=small_disk.inside,
    )
    assert ended.exit_code() == exits.FAILED
    (line,) = ended.stderr.splitlines()
    assert line.startswith("minicloud: cannot ")
    assert str(small_disk.path) in line
