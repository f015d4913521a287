"""The gRPC service over a real membership answers each call, counts it, and waits for the store where it
must."""

from __future__ import annotations

import math

import pytest
import trio
from grpclib import GRPCError
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.control.sweeper import Sweeper
from minicloud.core.commands import Cordon, Drain, Remove, Uncordon
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.common import ResourceInfo, ResponseStatus, WorkerStatus
from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatResponse,
    ListWorkersRequest,
)
from tests.unit.control.service_kit import Plane


@pytest.fixture
async def plane() -> Plane:
    return Plane()


async def test_register_wanted_id_free_is_given_with_incarnation_and_interval(plane: Plane) -> None:
    answer = await plane.register("worker-1", instance_id="a")
    assert answer.registered
    assert answer.assigned_worker_id == "worker-1"
    assert answer.incarnation == 1
    assert answer.heartbeat_interval_ms == 30_000
    assert answer.response is not None
    assert answer.response.status == ResponseStatus.SUCCESS
    assert answer.response.timestamp is not None
    assert plane.counts.registrations == {"new": 1}


async def test_register_wanted_id_of_a_live_other_answers_with_a_variant(plane: Plane) -> None:
    await plane.register("worker-1", "a:1", "a")
    answer = await plane.register("worker-1", "b:1", "b")
    assert answer.registered
    assert answer.assigned_worker_id == "worker-1-1"
    assert plane.counts.registrations == {"new": 1, "renamed": 1}


async def test_register_without_wanted_id_generates_one_from_the_passed_in_chance(plane: Plane) -> None:
    first, second = await plane.register(""), await plane.register("")
    assert first.assigned_worker_id.startswith("worker-")
    assert first.assigned_worker_id != second.assigned_worker_id
    again = await Plane().register("")
    assert again.assigned_worker_id == first.assigned_worker_id  # the same seed


@pytest.mark.parametrize(
    ("worker_id", "endpoint", "resources", "says"),
    [
        ("w", "", None, "endpoint is missing"),
        ("w", "nowhere", None, "host:port"),
        ("w", "h:70000", None, "host:port"),
        ("a b", "h:1", None, "A-Z a-z 0-9"),
        ("x" * 129, "h:1", None, "128"),
        ("stats", "h:1", None, "reserved"),
        ("healthy", "h:1", None, "reserved"),
        ("w", "h:1", ResourceInfo(cpu_cores=-1), "cpu_cores"),
        ("w", "h:1", ResourceInfo(cpu_utilization=1.01), "cpu_utilization"),
        ("w", "h:1", ResourceInfo(memory_utilization=math.nan), "memory_utilization"),
    ],
)
async def test_register_malformed_is_refused_saying_what_is_wrong(
    plane: Plane, worker_id: str, endpoint: str, resources: ResourceInfo | None, says: str
) -> None:
    answer = await plane.register(worker_id, endpoint, resources=resources)
    assert not answer.registered
    assert answer.assigned_worker_id == ""
    assert answer.response is not None
    assert answer.response.status == ResponseStatus.FAILED
    assert says in answer.response.metadata["error"]
    assert len(plane.membership.sweep_due()) == 0
    assert plane.counts.registrations == {"refused": 1}


async def test_register_store_slow_is_answered_only_when_durable(
    plane: Plane, autojump_clock: MockClock
) -> None:
    plane.store.gate = trio.Event()
    answered = False

    async def register() -> None:
        nonlocal answered
        await plane.register()
        answered = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(register)
        await trio.sleep(10)
        assert len(plane.store.changes) == 1
        assert not answered
        plane.store.gate.set()
    assert answered


async def test_heartbeat_of_known_worker_is_acknowledged_and_kept_nowhere(
    plane: Plane, autojump_clock: MockClock
) -> None:
    await plane.register()
    await trio.sleep(100)
    answer = await plane.beat(resources=ResourceInfo(cpu_cores=4, active_queries=2), incarnation=1)
    assert answer.acknowledged
    assert answer.expected_status == WorkerStatus.HEALTHY
    assert answer.instructions == {}
    assert answer.next_heartbeat_ms == 30_000
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    assert worker.resources.active_queries == 2
    assert len(plane.store.changes) == 1
    assert plane.counts.heartbeats == {"accepted": 1}


async def test_heartbeats_are_logged_at_debug_with_their_result(plane: Plane) -> None:
    await plane.register()
    with capture_logs() as logs:
        await plane.beat(incarnation=1, sequence=7)
        await plane.beat(incarnation=1, sequence=7)
    assert [(line["log_level"], line["worker_id"], line["sequence"], line["result"]) for line in logs] == [
        ("debug", "w", 7, "accepted"),
        ("debug", "w", 7, "stale"),
    ]


async def test_heartbeat_of_unknown_worker_is_told_to_register(plane: Plane) -> None:
    answer = await plane.beat("nobody")
    assert not answer.acknowledged
    assert answer.instructions == {"action": "register"}
    assert answer.response is not None
    assert answer.response.status == ResponseStatus.FAILED
    assert plane.counts.heartbeats == {"unknown": 1}


async def test_heartbeat_of_older_incarnation_is_told_to_register(plane: Plane) -> None:
    await plane.register(instance_id="a")
    await plane.register(instance_id="a")
    answer = await plane.beat(incarnation=1)
    assert not answer.acknowledged
    assert answer.instructions == {"action": "register"}
    assert plane.counts.heartbeats == {"fenced": 1}
    assert (await plane.beat(incarnation=0)).acknowledged  # an old client is not fenced


async def test_heartbeat_twice_is_acknowledged_and_changes_nothing(plane: Plane) -> None:
    await plane.register()
    await plane.beat(incarnation=1, sequence=2, resources=ResourceInfo(active_queries=2))
    answer = await plane.beat(incarnation=1, sequence=1, resources=ResourceInfo(active_queries=1))
    assert answer.acknowledged
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    assert worker.resources.active_queries == 2
    assert plane.counts.heartbeats == {"accepted": 1, "stale": 1}


async def test_heartbeat_with_impossible_figures_is_refused_without_an_action(plane: Plane) -> None:
    await plane.register()
    answer = await plane.beat(resources=ResourceInfo(cpu_utilization=math.nan))
    assert not answer.acknowledged
    assert answer.instructions == {}
    assert answer.response is not None
    assert "cpu_utilization" in answer.response.metadata["error"]
    assert plane.counts.heartbeats == {"invalid": 1}


async def test_heartbeat_after_silence_is_acknowledged_once_the_recovery_is_durable(
    plane: Plane, autojump_clock: MockClock
) -> None:
    await plane.register()
    await trio.sleep(120)
    worker = plane.membership.sweep_due().get("w")
    assert worker is not None
    assert worker.status == "UNHEALTHY"
    plane.store.gate = trio.Event()
    with trio.move_on_after(5) as scope:
        await plane.beat()
    assert scope.cancelled_caught, "answered before the recovery was durable"
    assert worker.status == "HEALTHY"
    plane.store.gate.set()
    assert (await plane.beat()).expected_status == WorkerStatus.HEALTHY


async def test_heartbeat_whose_worker_is_removed_while_its_recovery_is_written_is_acknowledged_without_more(
    plane: Plane, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await plane.register()
    await trio.sleep(120)
    plane.store.gate = trio.Event()
    answers: list[HeartbeatResponse] = []

    async def beat() -> None:
        answers.append(await plane.beat())

    nursery.start_soon(beat)
    await trio.sleep(1)
    plane.membership.execute(Remove("w"))
    plane.store.gate.set()
    await trio.sleep(1)
    (answer,) = answers
    assert answer.acknowledged
    assert answer.next_heartbeat_ms == 0


async def test_heartbeat_tells_cordon_and_drain_and_takes_them_back(plane: Plane) -> None:
    await plane.register()
    plane.membership.execute(Cordon("w"))
    answer = await plane.beat()
    assert answer.expected_status == WorkerStatus.DRAINING
    assert answer.instructions["action"] == "cordon"
    plane.membership.execute(Drain("w"))
    assert (await plane.beat()).instructions["action"] == "drain"
    plane.membership.execute(Uncordon("w"))
    answer = await plane.beat()
    assert answer.expected_status == WorkerStatus.HEALTHY
    assert answer.instructions == {}


async def test_deregister_leaves_and_a_second_one_is_refused(plane: Plane) -> None:
    await plane.register()
    request = DeregisterWorkerRequest(worker_id="w", reason="shutdown")
    assert (await plane.service.deregister_worker(request)).deregistered
    assert len(plane.membership.sweep_due()) == 0
    again = await plane.service.deregister_worker(request)
    assert not again.deregistered
    assert again.response is not None
    assert "no worker 'w'" in again.response.metadata["error"]


async def test_deregister_of_older_incarnation_changes_nothing(plane: Plane) -> None:
    await plane.register(instance_id="a")
    await plane.register(instance_id="a")
    answer = await plane.service.deregister_worker(DeregisterWorkerRequest(worker_id="w", incarnation=1))
    assert not answer.deregistered
    assert len(plane.membership.sweep_due()) == 1


async def test_list_workers_filters_by_status_when_the_filter_is_there(
    plane: Plane, autojump_clock: MockClock
) -> None:
    await plane.register("a", "a:1")
    await trio.sleep(60)
    await plane.register("b", "b:1")
    await trio.sleep(60)

    async def ids(status: WorkerStatus | None) -> list[str]:
        answer = await plane.list_workers(ListWorkersRequest(status_filter=status))
        return [worker.worker_id for worker in answer.workers]

    assert await ids(None) == ["a", "b"]
    assert await ids(WorkerStatus.HEALTHY) == ["b"]
    assert await ids(WorkerStatus.UNHEALTHY) == ["a"]
    assert await ids(WorkerStatus.OFFLINE) == []


async def test_list_workers_pages_hold_everyone_once_while_workers_leave(plane: Plane) -> None:
    for number in range(10):
        await plane.register(f"w{number}", f"h:{number + 1}")
    seen: list[str] = []
    token = ""
    while True:
        answer = await plane.list_workers(ListWorkersRequest(limit=3, page_token=token))
        seen += [worker.worker_id for worker in answer.workers]
        token = answer.next_page_token
        if not token:
            break
        await plane.service.deregister_worker(DeregisterWorkerRequest(worker_id=seen[-1]))
    assert seen == [f"w{number}" for number in range(10)]


@pytest.mark.parametrize("workers", [0, 1, 250])
async def test_list_workers_made_in_slices_is_one_message(plane: Plane, workers: int) -> None:
    for number in range(workers):
        await plane.register(f"w{number:03}", f"h:{number + 1}", resources=ResourceInfo(cpu_cores=number))
    answer = await plane.list_workers(ListWorkersRequest())
    assert [worker.worker_id for worker in answer.workers] == [f"w{number:03}" for number in range(workers)]
    cores = [worker.resources.cpu_cores for worker in answer.workers if worker.resources is not None]
    assert cores == list(range(workers))
    assert answer.response is not None
    assert answer.response.status is ResponseStatus.SUCCESS


@pytest.mark.parametrize(
    "request_",
    [
        ListWorkersRequest(limit=-1),
        ListWorkersRequest(page_token="!!"),
        ListWorkersRequest(page_token="YSBi"),  # "a b", which is no id
        ListWorkersRequest(status_filter=WorkerStatus(9)),
    ],
    ids=["limit", "token", "token-id", "status"],
)
async def test_list_workers_bad_parameter_is_an_invalid_argument(
    plane: Plane, request_: ListWorkersRequest
) -> None:
    with pytest.raises(GRPCError, match="INVALID_ARGUMENT"):
        await plane.service.list_workers(request_)


async def test_sweeper_asleep_over_an_empty_cluster_wakes_for_the_first_deadline(
    plane: Plane, autojump_clock: MockClock
) -> None:
    entries: list[tuple[float, MembershipEvent]] = []
    plane.membership.subscribe(lambda entry: entries.append((trio.current_time(), entry)))
    sweeper = Sweeper(plane.membership)
    async with trio.open_nursery() as nursery:
        await nursery.start(sweeper.run)
        await trio.sleep(1000)
        await plane.register()
        registered_s = trio.current_time()
        await trio.sleep(30.25)  # no multiple of any period that could be polled with
        await plane.beat()
        last_heartbeat_s = trio.current_time()
        await trio.sleep(500)
        nursery.cancel_scope.cancel()
    assert registered_s + 30.25 == last_heartbeat_s
    assert [(when, entry.kind) for when, entry in entries] == [
        (registered_s, "registered"),
        (last_heartbeat_s + 120, "unhealthy"),  # at the deadline, without any reading
    ]


async def test_sweeper_forgets_an_unhealthy_worker_after_a_day(
    plane: Plane, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(Sweeper(plane.membership).run)
        await plane.register()
        await trio.sleep(120 + 24 * 3600 - 1)
        assert len(plane.membership.sweep_due()) == 1
        await trio.sleep(1.1)
        nursery.cancel_scope.cancel()
    assert [change.entry.kind for change in plane.store.changes if change.entry] == [
        "registered",
        "unhealthy",
        "departed",
    ]
    assert plane.store.changes[-1].worker is None
