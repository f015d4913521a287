"""A worker has two control planes: one slow answer moves it away from the first, and it goes back (DESIGN
55)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.clock import SystemClock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.model import Resources
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from minicloud.worker.queries import QueryTracker
from tests.unit.worker.fakes import events


@dataclass
class Registry:
    """A `Registry` has the workers of one control plane. Two of them may share one."""

    incarnations: dict[str, int] = field(default_factory=dict)
    next_incarnation: int = 1


class Pair:
    """A `Pair` is two control planes, the second in use from `move_away` to a `look_back` that finds the
    first."""

    def __init__(self, *, shared: bool = False) -> None:
        first = Registry()
        self.registries = [first, first if shared else Registry(next_incarnation=100)]
        self.used = 0
        self.first_answers = True
        self.looks_s: list[float] = []
        self.left: list[tuple[str, Deregister]] = []
        self.other_answers = True

    @property
    def address(self) -> str:
        return f"cp{self.used}"

    @property
    def away(self) -> bool:
        return self.used > 0

    def renew(self) -> None:
        pass

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        await trio.lowlevel.checkpoint()
        registry = self.registries[self.used]
        registry.incarnations["w"] = registry.next_incarnation
        registry.next_incarnation += 1
        return RegisterAnswer(True, "w", registry.incarnations["w"], 30.0)

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        await trio.lowlevel.checkpoint()
        known = self.registries[self.used].incarnations.get("w") == heartbeat.incarnation
        return HeartbeatAnswer(known, "" if known else "register", next_heartbeat_s=30.0)

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        await trio.lowlevel.checkpoint()
        return self.registries[self.used].incarnations.pop("w", None) is not None

    async def look_back(self, timeout_s: float) -> bool:
        self.looks_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.first_answers:
            self.used = 0
        return self.first_answers

    async def leave_other(self, address: str, leave: Deregister, timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()
        if not self.other_answers:
            raise ControlPlaneError("cp1: away")
        self.left.append((address, leave))


@asynccontextmanager
async def running(pair: Pair, queries: QueryTracker | None = None) -> AsyncIterator[Agent]:
    async def endpoint() -> str:
        return "10.0.0.7:9091"

    agent = Agent(
        AgentConfig(wanted_id="w", drain_timeout_s=300.0),
        pair,
        endpoint=endpoint,
        resources=lambda active: Resources(),
        queries=queries or QueryTracker(),
        clock=SystemClock(),
        random=Random(1),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run)
        yield agent
        nursery.cancel_scope.cancel()


async def test_worker_away_looks_back_once_an_interval_until_the_first_answers(
    autojump_clock: MockClock,
) -> None:
    pair = Pair()
    async with running(pair):
        await trio.sleep(100)
        assert pair.looks_s == []  # it is not away
        pair.first_answers = False
        pair.used = 1
        await trio.sleep(200)
        gaps = [later - earlier for earlier, later in zip(pair.looks_s, pair.looks_s[1:], strict=False)]
        assert len(gaps) >= 3
        assert gaps == [30.0] * len(gaps)
        pair.first_answers = True
        await trio.sleep(61)
        looks = len(pair.looks_s)
        await trio.sleep(200)
        assert (pair.used, len(pair.looks_s)) == (0, looks)


async def test_worker_that_is_back_leaves_the_other_with_the_membership_it_had_there(
    autojump_clock: MockClock,
) -> None:
    pair = Pair()
    async with running(pair) as agent:
        pair.used = 1
        await trio.sleep(70)  # registered at the second, and away for more than an interval
        await trio.sleep(70)
        assert pair.used == 0
        assert agent.state.incarnation == 2
        assert pair.left == [("cp1", Deregister("w", "went back to another control plane", 100))]
        assert pair.registries[0].incarnations == {"w": 2}


async def test_worker_that_was_away_twice_has_left_twice(autojump_clock: MockClock) -> None:
    pair = Pair()
    async with running(pair):
        for _ in range(2):
            pair.used = 1
            await trio.sleep(150)
            assert pair.used == 0
    assert [leave.incarnation for _, leave in pair.left] == [100, 101]


async def test_worker_whose_membership_is_the_same_at_both_does_not_leave_it(
    autojump_clock: MockClock,
) -> None:
    pair = Pair(shared=True)
    async with running(pair) as agent:
        pair.used = 1
        await trio.sleep(200)
        assert pair.used == 0
        assert pair.left == []
        assert agent.state.registered
        assert agent.state.incarnation == 1


async def test_worker_goes_on_where_the_other_cannot_be_left(autojump_clock: MockClock) -> None:
    pair = Pair()
    pair.other_answers = False
    with capture_logs() as logs:
        async with running(pair) as agent:
            pair.used = 1
            await trio.sleep(150)
            assert agent.state.registered
    (line,) = events(logs, "other_control_plane_not_left")
    assert line["control_plane"] == "cp1"


async def test_worker_that_is_ended_while_away_stays_with_the_one_in_use_and_leaves_it(
    autojump_clock: MockClock,
) -> None:
    pair = Pair()
    pair.first_answers = False
    queries = QueryTracker()
    async with running(pair, queries) as agent:
        pair.used = 1
        await trio.sleep(70)
        with queries.query():
            agent.stop("SIGTERM")
            pair.first_answers = True
            await trio.sleep(150)
            assert pair.used == 1
            assert agent.state.registered
        await trio.sleep(1)
        assert pair.registries[1].incarnations == {}


class OldPair(Pair):
    """An `OldPair` has no incarnations: a leave there ends whatever worker has the id."""

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        await trio.lowlevel.checkpoint()
        self.registries[self.used].incarnations["w"] = 0
        return RegisterAnswer(True, "w", 0, 30.0)


async def test_worker_does_not_leave_the_other_where_that_could_end_its_new_membership(
    autojump_clock: MockClock,
) -> None:
    pair = OldPair()
    async with running(pair) as agent:
        pair.used = 1
        pair.registries[0].incarnations.clear()
        await trio.sleep(150)
        assert pair.used == 0
        assert pair.registries[0].incarnations == {"w": 0}
        assert agent.state.registered
        assert pair.left == []
