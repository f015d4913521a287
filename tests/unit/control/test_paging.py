"""Pages of workers are looked up and handed out in slices, while workers come, go and change (DESIGN 32)."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from minicloud.clock import SystemClock
from minicloud.control.membership import Membership
from minicloud.control.paging import page_of_workers
from minicloud.core.commands import Drain, Heartbeat, Register, Remove
from minicloud.core.model import Resources, Status, WorkerId
from minicloud.core.registry import Registry
from minicloud.store.memory import MemoryStore

MANY = 5_000
IDS = [f"w{number:05}" for number in range(MANY)]


def register(membership: Membership, *worker_ids: str) -> None:
    for worker_id in worker_ids:
        membership.execute(
            Register(
                endpoint="h:1", generated_id=WorkerId(worker_id), instance_id=worker_id, worker_id=worker_id
            )
        )


@pytest.fixture
async def membership() -> Membership:
    membership = Membership(Registry(), MemoryStore(), SystemClock())
    register(membership, *IDS)
    return membership


async def test_page_of_many_workers_lets_others_have_their_turn(membership: Membership) -> None:
    found, turns = trio.Event(), 0

    async def count_turns() -> None:
        nonlocal turns
        while not found.is_set():
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        page = await page_of_workers(membership, None, 0, "")
        found.set()
    assert list(page.worker_ids) == IDS
    assert turns > 0


async def test_page_looked_up_while_workers_come_and_go_holds_those_that_stay_once(
    membership: Membership,
) -> None:
    found = trio.Event()

    async def change() -> None:
        register(membership, "a-before-everyone", "w99999")
        membership.execute(Remove(IDS[0]))
        membership.execute(Remove(IDS[-1]))
        await found.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        page = await page_of_workers(membership, None, 0, "")
        found.set()
    assert list(page.worker_ids) == [*IDS[:-1], "w99999"]  # the first one left after the page had been made
    handed_out = [worker.worker_id for workers in page.slices(membership) for worker in workers]
    assert handed_out == [*IDS[1:-1], "w99999"]


@pytest.mark.parametrize("limit", [1, 100, 101, 2_000, 2_001, MANY - 1])
async def test_page_of_a_limit_goes_on_behind_its_last_worker(membership: Membership, limit: int) -> None:
    first = await page_of_workers(membership, None, limit, "")
    second = await page_of_workers(membership, None, 0, first.next_token)
    assert len(first.worker_ids) == limit
    assert [*first.worker_ids, *second.worker_ids] == IDS


@pytest.mark.parametrize("limit", [MANY, MANY + 1])
async def test_page_that_holds_everyone_is_the_last(membership: Membership, limit: int) -> None:
    page = await page_of_workers(membership, None, limit, "")
    assert list(page.worker_ids) == IDS
    assert page.next_token == ""


async def test_page_of_a_rare_status_is_found_among_many_workers(membership: Membership) -> None:
    membership.execute(Drain(IDS[-2]))
    membership.execute(Drain(IDS[-1]))
    first = await page_of_workers(membership, Status.DRAINING, 1, "")
    assert first.worker_ids == (IDS[-2],)
    assert (await page_of_workers(membership, Status.DRAINING, 1, first.next_token)).worker_ids == (IDS[-1],)
    assert (await page_of_workers(membership, Status.OFFLINE, 1, "")).worker_ids == ()


async def test_slices_show_workers_as_they_are_when_their_slice_is_taken(
    membership: Membership, autojump_clock: MockClock
) -> None:
    page = await page_of_workers(membership, Status.HEALTHY, 300, "")
    slices = page.slices(membership)
    assert [worker.worker_id for worker in next(slices)] == IDS[:100]
    membership.execute(Drain(IDS[150]))
    membership.execute(Remove(IDS[250]))
    membership.execute(Heartbeat(WorkerId(IDS[101]), Resources(cpu_cores=7), 0, 0))
    second = next(slices)
    assert [worker.worker_id for worker in second] == [*IDS[100:150], *IDS[151:200]]
    assert second[1].resources.cpu_cores == 7
    autojump_clock.jump(120)  # nothing is seen past its deadline, also in the middle of a page
    assert list(slices) == [[]]
