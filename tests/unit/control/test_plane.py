"""A control plane gives the right incarnations, over a store that was kept or lost (DESIGN 11)."""

from __future__ import annotations

from random import Random

import pytest

from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane, incarnation_floor
from minicloud.core.commands import Register
from minicloud.core.events import WorkerRegistered
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import WorkerId
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Snapshot
from tests.unit.control.house import WALL_S, FakeClock

WALL_MS = int(WALL_S * 1000)


def started(store: MemoryStore, wall_s: float) -> ControlPlane:
    clock = FakeClock(wall_s=wall_s)
    return ControlPlane(LivenessPolicy(), store, Metrics(), clock, Random(1), snapshot=store.snapshot())


def registered(plane: ControlPlane, instance: str) -> int:
    """Return the incarnation in which that installation gets `w`."""
    (event,) = plane.membership.execute(Register("h:1", WorkerId("g"), "w", instance))
    assert isinstance(event, WorkerRegistered)
    assert event.worker_id == "w"
    return event.incarnation


@pytest.mark.parametrize(
    ("kept", "wall_s", "floor"),
    [
        (0, WALL_S, WALL_MS),
        (41, WALL_S + 0.0019, WALL_MS + 1),
        (WALL_MS + 7, WALL_S, WALL_MS + 7),  # the wall clock was set back, and the registry is there
        (5, -3600.0, 5),
        (0, -3600.0, 0),
    ],
)
def test_incarnation_floor_is_what_was_kept_or_the_wall_clocks_milliseconds(
    kept: int, wall_s: float, floor: int
) -> None:
    assert incarnation_floor(Snapshot(incarnation_floor=kept), FakeClock(wall_s=wall_s)) == floor


def test_incarnations_after_a_lost_registry_are_above_all_that_were_given() -> None:
    first = started(MemoryStore(), WALL_S)
    given = [registered(first, "A") for _ in range(3)]
    assert given == [WALL_MS + 1, WALL_MS + 2, WALL_MS + 3]
    assert registered(started(MemoryStore(), WALL_S + 0.003), "B") == WALL_MS + 4


def test_incarnations_over_a_kept_registry_rise_though_the_wall_clock_was_set_back() -> None:
    store = MemoryStore()
    assert registered(started(store, WALL_S), "A") == WALL_MS + 1
    assert registered(started(store, WALL_S - 86400.0), "A") == WALL_MS + 2


def test_incarnation_of_a_worker_over_a_kept_registry_stays_until_it_registers() -> None:
    store = MemoryStore()
    registered(started(store, WALL_S), "A")
    again = started(store, WALL_S + 60.0)
    worker = again.membership.sweep_due().get("w")
    assert worker is not None
    assert worker.incarnation == WALL_MS + 1
    assert registered(again, "A") == WALL_MS + 60_001
