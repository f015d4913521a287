"""Links, calls over them, and disks: what can go wrong with them, and what then comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from minicloud.core.model import Status as WorkerStatus
from minicloud.core.model import WorkerId
from minicloud.request_id import HEADER, current_request_id
from minicloud.store.port import Change, MembershipEvent
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    WorkerManagementServiceBase,
    WorkerManagementServiceStub,
)
from sim.cluster.disk import Disk, DiskError
from sim.engine.clocks import NodeClock
from sim.engine.loop import run_virtually
from sim.engine.process import Process
from sim.engine.randomness import Streams
from sim.engine.timeline import Timeline
from sim.net.messages import MessageChannel, MessageServer
from sim.net.network import Delay, Network


class _Rig:
    """One client, one server, messages that take a second each way and calls that take a tenth."""

    def __init__(self, delay: Delay | None = None) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Streams(1), delay or Delay(1.0, 1.0))
        self.link = self.network.link("client", "server")
        self.client = Process(self.timeline, "client")
        self.server = Process(self.timeline, "server")
        self.taken: list[tuple[float, int]] = []
        self.request_ids: list[str] = []
        self.arrived: list[tuple[float, str]] = []
        rig = self

        class Service(WorkerManagementServiceBase):
            async def heartbeat(self, message: HeartbeatRequest) -> HeartbeatResponse:
                rig.taken.append((round(rig.timeline.now_s, 3), message.sequence))
                rig.request_ids.append(current_request_id())
                if message.sequence == 99:
                    raise RuntimeError("a bug")
                return HeartbeatResponse(acknowledged=True, next_heartbeat_ms=message.sequence)

        self.messages = MessageServer(self.server, [Service()], lambda: 0.1)
        channel = MessageChannel(self.client, NodeClock(self.timeline), self.link, lambda: self.messages)
        self.stub = WorkerManagementServiceStub(channel)  # type: ignore[arg-type]

    def send(self, name: str) -> None:
        """A bare message to the server."""
        self.link.send(self.link.to_server, self._arrive, name)

    def _arrive(self, name: str) -> None:
        self.arrived.append((round(self.timeline.now_s, 3), name))

    async def call(self, sequence: int, timeout_s: float = 10.0) -> str:
        """Send a heartbeat, and return its outcome with the instant."""
        try:
            answer = await self.stub.heartbeat(HeartbeatRequest(sequence=sequence), timeout=timeout_s)
        except GRPCError as error:
            return f"{error.status.name} at {self.timeline.now_s:.1f}"
        return f"{answer.next_heartbeat_ms} at {self.timeline.now_s:.1f}"

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def served() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.server.run, self.messages.serve)
                await main()
                self.timeline.clear()
                nursery.cancel_scope.cancel()

        run_virtually(served, self.timeline, 1)


# Links


def test_link_that_is_cut_loses_messages_under_way_and_new_ones_until_the_last_cut_is_lifted() -> None:
    rig = _Rig()
    direction = rig.link.to_server

    async def main() -> None:
        rig.send("under way")
        await trio.sleep(0.5)
        direction.cut += 1
        direction.cut += 1
        rig.send("sent while cut")
        await trio.sleep(2)
        direction.cut -= 1
        rig.send("still cut")
        await trio.sleep(2)
        direction.cut -= 1
        rig.send("whole")
        await trio.sleep(2)

    rig.run(main)
    assert rig.arrived == [(5.5, "whole")]
    counts = rig.network.counts
    assert (counts.sent, counts.delivered, counts.dropped) == (4, 1, 3)


def test_link_cut_one_way_carries_the_other() -> None:
    rig = _Rig()
    rig.link.to_client.cut += 1

    async def main() -> None:
        assert await rig.call(1) == "DEADLINE_EXCEEDED at 10.0"

    rig.run(main)
    assert rig.taken == [(1.1, 1)]


def test_link_that_is_held_delivers_in_order_when_the_last_hold_is_released() -> None:
    rig = _Rig()
    direction = rig.link.to_server

    async def main() -> None:
        direction.held += 2
        for name in ("a", "b", "c"):
            rig.send(name)
            await trio.sleep(0.1)
        await trio.sleep(5)
        rig.link.release(direction)
        await trio.sleep(1)
        assert rig.arrived == []
        rig.link.release(direction)
        await trio.sleep(1)

    rig.run(main)
    assert [name for _, name in rig.arrived] == ["a", "b", "c"]
    assert {at_s for at_s, _ in rig.arrived} == {6.3}
    assert direction.waiting == []


def test_link_that_is_cut_while_it_holds_loses_what_it_held() -> None:
    rig = _Rig()
    direction = rig.link.to_server

    async def main() -> None:
        direction.held += 1
        rig.send("a")
        await trio.sleep(2)
        direction.cut += 1
        rig.link.release(direction)
        await trio.sleep(2)

    rig.run(main)
    assert rig.arrived == []
    assert rig.network.counts.dropped == 1


def test_link_that_doubles_delivers_the_same_twice() -> None:
    rig = _Rig()
    rig.link.to_server.duplication = 1.0

    async def main() -> None:
        rig.send("a")
        await trio.sleep(20)

    rig.run(main)
    assert [name for _, name in rig.arrived] == ["a", "a"]
    assert rig.network.counts.duplicated == 1


def test_link_that_reorders_lets_later_messages_pass() -> None:
    rig = _Rig()
    rig.link.to_server.reordering = 0.5

    async def main() -> None:
        for number in range(20):
            rig.send(f"{number:02}")
        await trio.sleep(20)

    rig.run(main)
    names = [name for _, name in rig.arrived]
    assert names != sorted(names) == [f"{number:02}" for number in range(20)]


def test_link_that_is_slow_for_several_reasons_takes_the_sum_of_them() -> None:
    rig = _Rig()
    rig.link.to_server.extra += [Delay(0.5, 0.5), Delay(0.25, 0.25)]

    async def main() -> None:
        rig.send("a")
        await trio.sleep(5)

    rig.run(main)
    assert rig.arrived == [(1.75, "a")]
    assert rig.link.delay_s(rig.link.to_server) == 1.75


def test_link_of_one_node_draws_the_same_whatever_happens_on_another() -> None:
    def arrivals(trouble: bool) -> list[tuple[float, str]]:
        rig = _Rig(Delay(0.0, 1.0))
        other = rig.network.link("other", "server")

        async def main() -> None:
            if trouble:
                other.to_server.loss = 0.5
            rig.link.to_server.loss = 0.5
            for number in range(20):
                other.send(other.to_server, lambda: None)
                rig.send(str(number))
            await trio.sleep(5)

        rig.run(main)
        return rig.arrived

    assert arrivals(False) == arrivals(True)


# Calls


def test_call_takes_its_way_its_turn_and_its_way_back() -> None:
    rig = _Rig()
    answers: list[str] = []

    async def main() -> None:
        async def one(sequence: int) -> None:
            answers.append(await rig.call(sequence))

        async with trio.open_nursery() as nursery:
            for sequence in (1, 2, 3):
                nursery.start_soon(one, sequence)

    rig.run(main)
    assert sorted(at_s for at_s, _ in rig.taken) == [1.1, 1.2, 1.3]  # one after the other
    assert sorted(answer.partition(" at ")[2] for answer in answers) == ["2.1", "2.2", "2.3"]


def test_call_whose_answer_is_lost_ends_at_its_deadline_by_its_own_clock() -> None:
    rig = _Rig()
    rig.link.to_client.loss = 1.0

    async def main() -> None:
        assert await rig.call(1, timeout_s=4.0) == "DEADLINE_EXCEEDED at 4.0"

    rig.run(main)
    assert rig.taken == [(1.1, 1)]


def test_call_that_was_answered_leaves_no_deadline_behind() -> None:
    rig = _Rig()

    async def main() -> None:
        before = rig.timeline.planned
        assert await rig.call(1, timeout_s=1000.0) == "1 at 2.1"
        assert rig.timeline.planned == before

    rig.run(main)


def test_call_is_handled_under_the_request_id_it_brings_and_under_none_where_it_brings_none() -> None:
    rig = _Rig()

    async def main() -> None:
        await rig.stub.heartbeat(HeartbeatRequest(sequence=1), metadata={HEADER: "abc"})
        await rig.stub.heartbeat(HeartbeatRequest(sequence=2))

    rig.run(main)
    assert rig.request_ids == ["abc", ""]


def test_call_to_a_machine_without_a_server_is_refused() -> None:
    rig = _Rig()

    async def main() -> None:
        rig.server.kill()
        assert await rig.call(1) == "UNAVAILABLE at 2.0"

    rig.run(main)
    assert rig.taken == []


def test_call_to_a_paused_server_is_answered_when_it_goes_on() -> None:
    rig = _Rig()

    async def main() -> None:
        rig.server.pause()
        rig.timeline.at(5.0, rig.server.resume)
        assert await rig.call(1) == "1 at 6.0"

    rig.run(main)


def test_call_whose_connection_is_reset_fails_and_is_not_handled() -> None:
    rig = _Rig()

    async def main() -> None:
        rig.timeline.at(1.05, rig.messages.reset, frozenset({"somebody else"}))
        rig.timeline.at(1.06, rig.messages.reset, frozenset({"client"}))
        assert await rig.call(1) == "UNAVAILABLE at 2.1"
        assert rig.messages.open_calls == 0

    rig.run(main)
    assert rig.taken == []


def test_call_whose_handler_fails_is_answered_so_and_kept() -> None:
    rig = _Rig()

    async def main() -> None:
        assert await rig.call(99) == f"{Status.UNKNOWN.name} at 2.1"

    rig.run(main)
    assert [str(error) for _, error in rig.messages.failures] == ["a bug"]


def test_call_of_a_paused_client_returns_when_it_goes_on() -> None:
    rig = _Rig()

    async def main() -> None:
        rig.timeline.at(1.5, rig.client.pause)
        rig.timeline.at(7.0, rig.client.resume)
        assert await rig.call(1) == "1 at 7.0"

    rig.run(main)


# Disks


def _changes(count: int) -> list[Change]:
    offline, healthy = WorkerStatus.OFFLINE, WorkerStatus.HEALTHY
    return [
        Change(
            WorkerId("w"),
            None,
            0,
            MembershipEvent(number, 0, "registered", "new", WorkerId("w"), number, "", offline, healthy, ""),
        )
        for number in range(1, count + 1)
    ]


def _kept(disk: Disk) -> list[int]:
    return [entry.event_id for entry in disk.snapshot().entries]


@pytest.mark.parametrize("seed", range(8))
def test_disk_that_loses_power_has_what_was_synced_and_some_prefix_of_the_rest(seed: int) -> None:
    lost: list[tuple[int, int]] = []
    disk = Disk(Streams(seed).stream("disk"), lost_power=lambda written, kept: lost.append((written, kept)))
    changes = _changes(10)
    disk.write(changes[:4])
    disk.sync()
    disk.write(changes[4:])
    disk.crash()
    assert _kept(disk) == list(range(1, 5 + lost[0][1]))
    assert lost[0][0] == 6
    disk.sync()
    assert len(_kept(disk)) == 4 + lost[0][1]


def test_disk_crashes_of_many_seeds_keep_nothing_a_part_and_all() -> None:
    lengths = set()
    for seed in range(100):
        disk = Disk(Streams(seed).stream("disk"))
        disk.write(_changes(3))
        disk.crash()
        lengths.add(len(_kept(disk)))
    assert lengths == {0, 1, 2, 3}


def test_disk_that_fails_takes_no_write_and_keeps_what_it_has() -> None:
    disk = Disk(Streams(1).stream("disk"))
    disk.write(_changes(1))
    disk.sync()
    disk.failing += 1
    with pytest.raises(DiskError):
        disk.write(_changes(2))
    assert _kept(disk) == [1]


def test_disk_that_is_restored_has_what_it_had_at_the_backup() -> None:
    disk = Disk(Streams(1).stream("disk"))
    changes = _changes(3)
    disk.write(changes[:1])
    disk.sync()
    backup = disk.copy()
    disk.write(changes[1:])
    disk.sync()
    disk.restore(backup)
    assert _kept(disk) == [1]
    disk.wipe()
    assert _kept(disk) == []
