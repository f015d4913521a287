"""Over gRPC: workers leave, share an identity, count wrong, and are too many."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.core.commands import Cordon, Drain
from minicloud.core.model import WorkerId
from minicloud.wire.gen.minicloud.common import ResourceInfo, ResponseStatus, WorkerStatus
from minicloud.wire.gen.minicloud.execution import DeregisterWorkerRequest, ListWorkersRequest
from tests.unit.control.service_kit import Plane


@pytest.fixture
async def plane() -> Plane:
    return Plane()


async def leave(plane: Plane, worker_id: str = "w", reason: str = "SIGTERM") -> None:
    answer = await plane.service.deregister_worker(
        DeregisterWorkerRequest(worker_id=worker_id, reason=reason)
    )
    assert answer.deregistered


# Leaving


async def test_heartbeat_of_a_worker_that_shuts_down_is_answered_draining_and_without_orders(
    plane: Plane,
) -> None:
    await plane.register()
    answer = await plane.beat(state="leaving")
    assert answer.acknowledged
    assert answer.expected_status == WorkerStatus.DRAINING
    assert answer.instructions == {}
    assert list(plane.membership.sweep_due().schedulable_workers()) == []


@pytest.mark.parametrize("state", ["", "busy", "LEAVING"])
async def test_heartbeat_of_another_state_changes_no_status(plane: Plane, state: str) -> None:
    await plane.register()
    answer = await plane.beat(state=state)
    assert answer.expected_status == WorkerStatus.HEALTHY


async def test_heartbeat_that_announces_leaving_is_answered_once_that_is_durable(
    plane: Plane, autojump_clock: MockClock
) -> None:
    await plane.register()
    plane.store.gate = trio.Event()

    async def announce() -> None:
        await plane.beat(state="leaving")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(announce)
        await trio.sleep(1)
        assert nursery.child_tasks
        plane.store.gate.set()
    with trio.fail_after(1):
        plane.store.gate = trio.Event()
        await announce()  # another one changes nothing that is stored


async def test_deregistration_is_answered_once_it_is_durable(plane: Plane, autojump_clock: MockClock) -> None:
    await plane.register()
    plane.store.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave, plane)
        await trio.sleep(1)
        assert nursery.child_tasks
        plane.store.gate.set()


async def test_heartbeat_that_comes_late_is_answered_with_the_orders_that_stand(plane: Plane) -> None:
    await plane.register()
    plane.membership.execute(Drain("w", "its disk"))
    await plane.beat(incarnation=1, sequence=5)
    answer = await plane.beat(incarnation=1, sequence=5)
    assert answer.acknowledged
    assert answer.instructions == {"action": "drain", "reason": "its disk"}
    assert answer.expected_status == WorkerStatus.DRAINING
    assert answer.next_heartbeat_ms == 30_000


# Departed


async def test_list_workers_that_are_offline_has_those_that_departed_with_reason_and_time(
    plane: Plane,
) -> None:
    for worker_id in ("a", "b", "c"):
        await plane.register(worker_id, endpoint=f"{worker_id}:1", metadata={"zone": "z"})
    plane.membership.execute(Cordon("b"))
    await leave(plane, "b", "its disk is replaced")
    await leave(plane, "c")
    answer = await plane.list_workers(ListWorkersRequest(status_filter=WorkerStatus.OFFLINE))
    assert [(worker.worker_id, worker.status, worker.status_reason) for worker in answer.workers] == [
        ("b", WorkerStatus.OFFLINE, "its disk is replaced"),
        ("c", WorkerStatus.OFFLINE, "SIGTERM"),
    ]
    assert [(worker.endpoint, worker.metadata) for worker in answer.workers] == [
        ("b:1", {"zone": "z"}),
        ("c:1", {"zone": "z"}),
    ]
    for request in (ListWorkersRequest(), ListWorkersRequest(status_filter=WorkerStatus.HEALTHY)):
        assert [worker.worker_id for worker in (await plane.list_workers(request)).workers] == ["a"]


async def test_list_workers_that_are_offline_has_pages(plane: Plane) -> None:
    for number in range(5):
        await plane.register(f"w{number}", endpoint=f"h:{number + 1}")
        await leave(plane, f"w{number}")
    found: list[str] = []
    token = ""
    for _ in range(3):
        request = ListWorkersRequest(status_filter=WorkerStatus.OFFLINE, limit=2, page_token=token)
        answer = await plane.list_workers(request)
        found += [worker.worker_id for worker in answer.workers]
        token = answer.next_page_token
    assert (found, token) == ([f"w{number}" for number in range(5)], "")


async def test_register_of_an_installation_that_left_gives_its_generated_id_back(plane: Plane) -> None:
    first = await plane.register("", instance_id="A")
    await leave(plane, first.assigned_worker_id)
    again = await plane.register("", instance_id="A")
    assert again.assigned_worker_id == first.assigned_worker_id
    assert again.incarnation > first.incarnation
    assert plane.counts.registrations == {"new": 1, "returned": 1}


# Identities


async def test_clones_both_stay_and_the_log_warns_of_them(plane: Plane) -> None:
    first = await plane.register("w", "10.0.0.1:1", "X")
    second = await plane.register("w", "10.0.0.2:1", "X")
    displaced = await plane.beat("w", first.incarnation, 1)
    assert not displaced.acknowledged
    assert displaced.instructions == {"action": "register"}
    with capture_logs() as logs:
        third = await plane.register("w", "10.0.0.1:1", "X")
    assert (second.assigned_worker_id, third.assigned_worker_id) == ("w", "w-1")
    assert [(line["event"], line["log_level"], line["worker_id"]) for line in logs] == [
        ("identity_shared", "warning", "w-1")
    ]
    assert plane.counts.registrations == {"new": 1, "again": 1, "clone": 1}
    for worker_id, incarnation in (("w", second.incarnation), ("w-1", third.incarnation)):
        assert (await plane.beat(worker_id, incarnation, 2)).acknowledged


async def test_heartbeat_far_behind_is_told_to_register(plane: Plane) -> None:
    incarnation = (await plane.register()).incarnation
    await plane.beat("w", incarnation, 1_000_000)
    answer = await plane.beat("w", incarnation, 3)
    assert not answer.acknowledged
    assert answer.instructions == {"action": "register"}
    assert plane.counts.heartbeats == {"accepted": 1, "fenced": 1}


async def test_heartbeat_without_an_incarnation_blinds_nobody(plane: Plane) -> None:
    incarnation = (await plane.register()).incarnation
    await plane.beat("w", 0, 2**63 - 1)
    await plane.beat("w", incarnation, 1)
    assert plane.counts.heartbeats == {"accepted": 2}


# Figures and limits


async def test_negative_number_of_queries_counts_as_none_and_is_logged_once(plane: Plane) -> None:
    with capture_logs() as logs:
        assert (await plane.register(resources=ResourceInfo(active_queries=-1, cpu_cores=4))).registered
        for _ in range(3):
            assert (await plane.beat(resources=ResourceInfo(active_queries=-7, cpu_cores=4))).acknowledged
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    assert (worker.resources.active_queries, worker.resources.cpu_cores) == (0, 4)
    assert [line["active_queries"] for line in logs if line["event"] == "negative_queries"] == [-1]


async def test_negative_numbers_of_other_things_are_refused_as_before(plane: Plane) -> None:
    await plane.register()
    for resources in (ResourceInfo(memory_mb=-1, active_queries=-1), ResourceInfo(disk_used_mb=-1)):
        answer = await plane.beat(resources=resources)
        assert not answer.acknowledged
        assert answer.instructions == {}


async def test_metadata_beyond_its_limit_is_trimmed_and_its_zone_is_kept(plane: Plane) -> None:
    entries = {f"key-{number:03}": "v" * 90 for number in range(60)} | {"zone": "eu-1"}
    with capture_logs() as logs:
        assert (await plane.register(metadata=entries)).registered
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    kept = worker.metadata
    assert worker.zone == "eu-1"
    assert dict(kept).items() <= entries.items()
    assert 4096 - 97 < sum(len(key) + len(value) for key, value in kept.items()) <= 4096
    (line,) = [line for line in logs if line["event"] == "metadata_trimmed"]
    assert line["dropped"] == len(entries) - len(kept)
    assert line["first"] not in kept


async def test_metadata_with_one_entry_too_large_loses_that_one_alone(plane: Plane) -> None:
    await plane.register(metadata={"a": "x" * 5000, "b": "small", "ä": "ö" * 2048})
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    assert worker.metadata == {"b": "small"}


async def test_worker_beyond_the_limit_is_answered_with_the_remedy() -> None:
    plane = Plane(max_workers=1)
    await plane.register("a", endpoint="h:1")
    answer = await plane.register("b", endpoint="h:2")
    assert not answer.registered
    assert answer.response is not None
    assert answer.response.status == ResponseStatus.FAILED
    assert "raise --max-workers" in answer.response.metadata["error"]
    assert plane.counts.registrations == {"new": 1, "refused": 1}
    assert plane.membership.sweep_due().get(WorkerId("b")) is None
    await leave(plane, "a")
    assert (await plane.register("b", endpoint="h:2")).registered
