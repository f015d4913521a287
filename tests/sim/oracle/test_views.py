"""Promise 9: REST, gRPC and metrics have the same of every worker."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.store.memory import MemoryStore
from minicloud.wire.gen.minicloud.execution import ListWorkersResponse
from sim.engine.clocks import NodeClock
from sim.oracle.calls import Calls
from sim.oracle.entries import Entries
from sim.oracle.model import Judgement
from sim.oracle.views import compare_views
from sim.verdict.promises import VIEWS_AGREE
from tests.sim.oracle.parts import TOPOLOGY, Found, registration


class Case(Found):
    """A control plane at which three workers have registered, and what the oracle has counted of that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        clock = cast("Any", NodeClock(self.timeline))
        self.plane = ControlPlane(TOPOLOGY.timers, MemoryStore(), Metrics(per_worker=False), clock, Random(1))
        self.heartbeats = dict.fromkeys(Judgement, 0)
        self.counts = {("registered", "new"): 3}

    async def compare(self) -> list[str]:
        """The nodes that are found to be shown differently."""
        for worker_id in ("a", "b", "c"):
            await self.plane.service.register_worker(registration(worker_id))
        run = cast("Any", SimpleNamespace(plane=self.plane))
        calls = cast("Calls", SimpleNamespace(heartbeats=self.heartbeats))
        entries = cast("Entries", SimpleNamespace(counts=self.counts))
        await compare_views(run, self.ledger, calls, entries)
        assert set(self.promises) <= {str(VIEWS_AGREE)}
        return [violation.node for violation in self.violations]


async def test_views_of_one_control_plane_agree() -> None:
    case = Case()
    assert await case.compare() == []
    assert case.ledger.checks[VIEWS_AGREE] > 3


async def test_worker_that_grpc_shows_differently_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    list_workers = case.plane.service.list_workers

    async def changed(message: Any) -> ListWorkersResponse:
        answer = ListWorkersResponse.FromString(bytes(await list_workers(message)))
        answer.workers[1].incarnation += 1
        return answer

    monkeypatch.setattr(case.plane.service, "list_workers", changed)
    assert await case.compare() == ["b"]


async def test_worker_that_grpc_does_not_show_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()

    async def nothing(message: Any) -> ListWorkersResponse:
        return ListWorkersResponse()

    monkeypatch.setattr(case.plane.service, "list_workers", nothing)
    assert await case.compare() == ["a"]


@pytest.mark.parametrize("judgement", list(Judgement))
async def test_heartbeat_that_metrics_do_not_count_is_a_violation(judgement: Judgement) -> None:
    case = Case()
    case.heartbeats[judgement] = 1
    assert await case.compare() == ["control-plane"]


@pytest.mark.parametrize(("kind", "detail"), [("registered", "again"), ("departed", "left")])
async def test_change_that_metrics_do_not_count_is_a_violation(kind: str, detail: str) -> None:
    case = Case()
    case.counts[kind, detail] = 1
    assert await case.compare() == ["control-plane"]
