"""Promise 14: nothing is left when a run is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sim.oracle.remains import Remains
from sim.simulation.simulation import Simulation
from sim.verdict.promises import NOTHING_STUCK
from tests.sim.oracle.parts import Found, schedule_of


class Case(Found):
    """The remains of a simulation that does not run, in calm."""

    def __post_init__(self) -> None:
        self.simulation = Simulation(schedule_of(), [])
        self.timeline = self.simulation.timeline
        super().__post_init__()
        self.remains = Remains(self.simulation, self.ledger)
        self.remains.calm()
        self.run: Any = SimpleNamespace(
            process=SimpleNamespace(alive=True),
            server=SimpleNamespace(failures=[], open_calls=0),
            plane=SimpleNamespace(store=SimpleNamespace(flushed=_flushed)),
        )

    async def broken(self) -> bool:
        await self.remains.check(self.run)
        assert set(self.promises) <= {str(NOTHING_STUCK)}
        return bool(self.violations)


async def _flushed() -> None: ...


async def test_run_that_leaves_nothing_breaks_nothing() -> None:
    assert not await Case().broken()


async def test_control_plane_that_does_not_run_at_the_end_is_a_violation() -> None:
    case = Case()
    case.run.process.alive = False
    assert await case.broken()


async def test_call_that_failed_is_a_violation() -> None:
    case = Case()
    case.run.server.failures.append("a bug")
    assert await case.broken()


@pytest.mark.parametrize("trouble", ["cut", "held"])
async def test_link_that_is_stopped_at_the_end_is_a_violation(trouble: str) -> None:
    case = Case()
    network = case.simulation.cluster.network
    setattr(network.link("worker-1", "control-plane").to_client, trouble, 1)
    assert await case.broken()


@pytest.mark.parametrize(("more", "grown"), [(62, False), (63, True)])
async def test_events_that_pile_up_in_calm_are_a_violation(more: int, grown: bool) -> None:
    case = Case()
    for _ in range(more):  # two a worker, and fifty
        case.timeline.at(1.0, print)
    assert await case.broken() is grown
