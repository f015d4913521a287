"""An agent's heartbeats go out in time, through slow answers, outages and orders. All of it is on virtual
time."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.core.model import Status
from minicloud.worker.agent_state import Phase
from minicloud.worker.control_plane import HeartbeatAnswer, RegisterAnswer
from minicloud.worker.queries import NotAcceptingError
from minicloud.worker.ticks import JITTER
from tests.unit.worker.fakes import ACKNOWLEDGED, AWAY, CORDON, SILENCE, Slow, World, events, gaps

HOUR_S = 3600.0


async def test_heartbeats_over_hours_keep_the_told_interval_without_drift(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = Slow(2.0, ACKNOWLEDGED)
    await nursery.start(world.run)
    registered_s = trio.current_time()
    await trio.sleep(4 * HOUR_S)
    times_s = world.beat_times_s
    assert registered_s <= times_s[0] <= registered_s + 30
    assert all(30 * (1 - JITTER) <= gap_s <= 30 * (1 + JITTER) for gap_s in gaps(times_s))
    # Jitter does not add up: after hours, every beat still lies at its place of one grid.
    assert abs((times_s[-1] - times_s[0]) - 30 * (len(times_s) - 1)) <= 30 * JITTER
    assert len(times_s) == 4 * HOUR_S / 30


async def test_heartbeats_keep_the_interval_told_with_the_registration_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True, "w", 1, 7.0)
    world.control_plane.usual_heartbeat = HeartbeatAnswer(True)
    await nursery.start(world.run)
    await trio.sleep(700)
    assert world.agent.state.interval_s == 7.0
    assert all(7 * (1 - JITTER) <= gap_s <= 7 * (1 + JITTER) for gap_s in gaps(world.beat_times_s))
    assert len(world.beat_times_s) == 100


async def test_heartbeats_carry_load_incarnation_and_a_sequence_rising_by_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True, "w", 7, 30.0)
    world.control_plane.heartbeat_script.extend([ACKNOWLEDGED, AWAY, AWAY])
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, HOUR_S)
    await trio.sleep(HOUR_S / 2)
    said = [call.said for call in world.control_plane.heartbeats]
    assert [heartbeat.sequence for heartbeat in said] == list(range(1, len(said) + 1))
    assert {heartbeat.incarnation for heartbeat in said} == {7}
    assert {heartbeat.resources.active_queries for heartbeat in said if heartbeat.resources} == {1}
    state = world.agent.state
    assert (state.acknowledged, state.failed) == (len(said) - 2, 2)
    assert state.last_acknowledged_s == world.beat_times_s[-1]


async def test_heartbeats_of_agents_registered_together_spread_over_the_interval(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    worlds = [World(seed=seed) for seed in range(300)]
    for world in worlds:
        nursery.start_soon(world.run)
    await trio.sleep(31)
    per_tenth = [0] * 10
    for world in worlds:
        per_tenth[min(int(world.beat_times_s[0] / 3), 9)] += 1
    assert all(12 <= count <= 55 for count in per_tenth), per_tenth


async def test_heartbeats_answered_after_more_than_an_interval_skip_ticks_and_never_burst(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = Slow(70.0, ACKNOWLEDGED)
    await nursery.start(world.run)
    await trio.sleep(HOUR_S)
    times_s = world.beat_times_s
    assert len(times_s) >= 35
    # A tick every 30 s, two of them missed while waiting: a beat every 90 s, on the same grid.
    assert all(90 - 30 * JITTER <= gap_s <= 90 + 30 * JITTER for gap_s in gaps(times_s))
    assert abs((times_s[-1] - times_s[0]) - 90 * (len(times_s) - 1)) <= 30 * JITTER


async def test_heartbeats_after_one_long_pause_are_back_on_the_grid(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([ACKNOWLEDGED, Slow(1000.0, ACKNOWLEDGED)])
    await nursery.start(world.run)
    await trio.sleep(2000)
    before_s, paused_s, after_s, *rest_s = world.beat_times_s
    assert 1000 < after_s - paused_s <= 1000 + 30 * (1 + JITTER)
    assert abs((after_s - before_s) % 30 - 15) >= 15 - 2 * 30 * JITTER  # near a multiple of 30
    assert all(gap_s >= 30 * (1 - JITTER) for gap_s in gaps([after_s, *rest_s]))


async def test_interval_changed_by_an_answer_is_kept_from_then_on(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True, "w", 1, 60.0)
    world.control_plane.heartbeat_script.extend(
        [HeartbeatAnswer(True, next_heartbeat_s=60.0)] * 3 + [HeartbeatAnswer(True, next_heartbeat_s=4.0)]
    )
    world.control_plane.usual_heartbeat = HeartbeatAnswer(True)  # has no interval: the last one still holds
    await nursery.start(world.run)
    await trio.sleep(400)
    found_s = gaps(world.beat_times_s)
    assert all(57 <= gap_s <= 63 for gap_s in found_s[:3])
    assert all(3.6 <= gap_s <= 4.4 for gap_s in found_s[3:])
    assert len(found_s) > 20
    assert world.agent.state.interval_s == 4.0


async def test_heartbeat_failed_is_tried_again_well_within_the_interval(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([ACKNOWLEDGED, ACKNOWLEDGED, AWAY, ACKNOWLEDGED])
    await nursery.start(world.run)
    await trio.sleep(300)
    found_s = gaps(world.beat_times_s)
    assert found_s[2] <= 0.5  # the repeat
    assert 28 <= found_s[2] + found_s[3] <= 32  # which took no tick's place


async def test_heartbeats_in_an_outage_of_hours_stay_within_three_an_interval_and_tell_it_twice(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    await nursery.start(world.run)
    await trio.sleep(100)
    with capture_logs() as logs:
        world.control_plane.usual_heartbeat = AWAY
        before = len(world.beat_times_s)
        await trio.sleep(4 * HOUR_S)
        assert world.state().outage is not None
        assert world.phase() is Phase.ACTIVE
        assert world.queries.accepting  # the worker goes on working
        failed = len(world.beat_times_s) - before
        world.control_plane.usual_heartbeat = ACKNOWLEDGED
        await trio.sleep(30 * (1 + JITTER))
    assert 4 * HOUR_S / 30 <= failed <= 3 * 4 * HOUR_S / 30
    assert max(gaps(world.beat_times_s)) <= 30 * (1 + JITTER)
    told = [(entry["event"], entry["log_level"]) for entry in logs if entry["log_level"] != "debug"]
    assert told == [("contact_lost", "warning"), ("contact_restored", "info")]
    (lost,) = events(logs, "contact_lost")
    assert (lost["error"], lost["worker_id"], lost["incarnation"]) == (str(AWAY), "w", 1)
    (restored,) = events(logs, "contact_restored")
    assert restored["failures"] == failed
    assert isinstance(restored["outage_s"], float)
    assert 4 * HOUR_S - 30 <= restored["outage_s"] <= 4 * HOUR_S + 60
    assert world.state().outage is None
    assert len(world.control_plane.registrations) == 1  # the id was kept without asking again


async def test_heartbeats_unanswered_leave_time_for_more_before_a_lease_of_two_minutes_ends(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = SILENCE
    await nursery.start(world.run)
    await trio.sleep(120)
    assert len(world.beat_times_s) >= 5


async def test_worker_cordoned_refuses_queries_until_the_cordon_is_lifted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([CORDON, CORDON])
    await nursery.start(world.run)
    with capture_logs() as logs:
        await trio.sleep(35)
        assert world.phase() is Phase.CORDONED
        with pytest.raises(NotAcceptingError):
            await world.run_query(1)
        await trio.sleep(60)
        assert world.phase() is Phase.ACTIVE
        await world.run_query(1)
    assert [entry["to"] for entry in events(logs, "ordered")] == ["cordon", "work"]
    assert world.control_plane.leaves == []


async def test_worker_expected_to_be_draining_without_instructions_only_refuses_queries(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = HeartbeatAnswer(True, expected_status=Status.DRAINING)
    await nursery.start(world.run)
    await trio.sleep(100)
    assert world.phase() is Phase.CORDONED
    assert not world.queries.accepting
    assert world.left()[0] is None


@pytest.mark.parametrize(
    "answer",
    [
        HeartbeatAnswer(True, "dance"),
        HeartbeatAnswer(True, expected_status=None),
        HeartbeatAnswer(True, expected_status=Status.UNHEALTHY),
    ],
    ids=["unknown action", "unknown status", "unhealthy"],
)
async def test_worker_told_what_it_does_not_know_carries_on(
    autojump_clock: MockClock, nursery: trio.Nursery, answer: HeartbeatAnswer
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = answer
    await nursery.start(world.run)
    await trio.sleep(100)
    assert world.phase() is Phase.ACTIVE
    assert world.queries.accepting
