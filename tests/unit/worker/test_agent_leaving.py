"""An agent leaves in order: stopped, drained, given up on, or cut off. All of it is on virtual time."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.clock import SystemClock
from minicloud.core.commands import Deregister
from minicloud.worker.agent import DRAINED
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import Phase
from minicloud.worker.control_plane import HeartbeatAnswer, RegisterAnswer
from tests.unit.worker.fakes import (
    ACKNOWLEDGED,
    AWAY,
    CORDON,
    DRAIN,
    REGISTER,
    SILENCE,
    Scripted,
    Slow,
    World,
    events,
    gaps,
)


async def test_stop_when_idle_deregisters_with_the_reason_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True, "w", 5, 30.0)
    await nursery.start(world.run)
    await trio.sleep(100)
    world.agent.stop("SIGTERM")
    world.agent.stop("SIGINT")  # this comes too late to be the reason
    stopped_s = trio.current_time()
    await trio.sleep(100)
    assert [call.said for call in world.control_plane.leaves] == [Deregister("w", "SIGTERM", 5)]
    assert world.left() == ("SIGTERM", stopped_s)
    assert world.beat_times_s[-1] < stopped_s
    assert world.phase() is Phase.LEFT
    assert not world.agent.state.registered


async def test_stop_during_a_query_waits_for_it_and_keeps_heartbeating(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    world.agent.stop("SIGTERM")
    await trio.sleep(149)
    assert world.phase() is Phase.STOPPING
    assert not world.queries.accepting  # the acknowledgements since have not changed that
    assert world.control_plane.leaves == []
    assert max(gaps(world.beat_times_s)) <= 31.5
    assert world.beat_times_s[-1] > 160
    await trio.sleep(2)
    assert world.left() == ("SIGTERM", 200)


async def test_stop_during_a_query_that_does_not_end_leaves_after_the_drain_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=20.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 1000)
    await trio.sleep(50)
    with capture_logs() as logs:
        world.agent.stop("SIGTERM")
        await trio.sleep(100)
    assert world.left() == ("SIGTERM", 70)
    assert [call.at_s for call in world.control_plane.leaves] == [70]
    (abandoned,) = events(logs, "queries_abandoned")
    assert abandoned["active_queries"] == 1


async def test_stop_while_cordoned_is_not_undone_by_the_cordon_being_lifted(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    world.control_plane.heartbeat_script.append(CORDON)
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(31)
    assert world.phase() is Phase.CORDONED
    world.agent.stop("SIGTERM")
    await trio.sleep(100)
    assert not world.queries.accepting
    assert world.phase() is Phase.STOPPING


async def test_stop_during_a_query_while_away_does_not_register_any_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    world.control_plane.go_away()
    nursery.start_soon(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    attempts = len(world.control_plane.registrations)
    world.agent.stop("SIGTERM")
    await trio.sleep(200)
    assert len(world.control_plane.registrations) == attempts
    assert world.left() == ("SIGTERM", 200)


async def test_stop_when_told_meanwhile_to_register_again_does_not(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 100)
    await trio.sleep(10)
    world.control_plane.usual_heartbeat = REGISTER
    world.agent.stop("SIGTERM")
    await trio.sleep(200)
    assert len(world.control_plane.registrations) == 1
    assert world.control_plane.leaves == []  # the control plane had removed it already
    assert world.left() == ("SIGTERM", 100)


@pytest.mark.parametrize("answer", [SILENCE, Slow(60.0, True)], ids=["silence", "too late"])
async def test_stop_never_acknowledged_returns_after_five_seconds(
    autojump_clock: MockClock, nursery: trio.Nursery, answer: Scripted[bool]
) -> None:
    world = World()
    world.control_plane.usual_deregister = answer
    await nursery.start(world.run)
    await trio.sleep(50)
    with capture_logs() as logs:
        world.agent.stop("SIGTERM")
        await trio.sleep(100)
    assert world.left() == ("SIGTERM", 55)
    assert len(events(logs, "deregistration_failed")) == 1


async def test_stop_while_away_tries_to_leave_until_its_deadline(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_deregister = AWAY
    await nursery.start(world.run)
    await trio.sleep(50)
    with capture_logs() as logs:
        world.agent.stop("SIGTERM")
        await trio.sleep(100)
    assert world.left() == ("SIGTERM", 55)
    (failed,) = events(logs, "deregistration_failed")
    assert failed["error"] == str(AWAY)
    tries = [call.at_s for call in world.control_plane.leaves]
    assert len(tries) >= 5
    assert max(gaps(tries)) <= 1
    assert world.control_plane.renewed_s == tries  # each try is on a fresh connection


async def test_stop_of_what_is_not_known_returns_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_deregister = False
    await nursery.start(world.run)
    await trio.sleep(50)
    with capture_logs() as logs:
        world.agent.stop("SIGTERM")
        await trio.sleep(100)
    assert world.left() == ("SIGTERM", 50)
    (failed,) = events(logs, "deregistration_failed")
    assert failed["error"] == "the control plane knows no such member"


@pytest.mark.parametrize("first", [AWAY, SILENCE], ids=["away", "silence"])
@pytest.mark.parametrize("then", [True, False], ids=["acknowledged", "carried out before"])
async def test_stop_answered_at_a_later_try_has_left(
    autojump_clock: MockClock, nursery: trio.Nursery, first: Scripted[bool], then: bool
) -> None:
    world = World()
    world.control_plane.deregister_script.extend([first, then])
    await nursery.start(world.run)
    await trio.sleep(50)
    with capture_logs() as logs:
        world.agent.stop("SIGTERM")
        await trio.sleep(100)
    reason, at_s = world.left()
    assert reason == "SIGTERM"
    assert 50 <= at_s < 53
    assert len(world.control_plane.leaves) == 2
    assert len(events(logs, "deregistered")) == 1
    assert events(logs, "deregistration_failed") == []


async def test_stop_during_a_query_is_announced_at_once_and_with_every_later_heartbeat(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    before = len(world.control_plane.heartbeats)
    world.agent.stop("SIGTERM")
    await trio.sleep(150)
    beats = world.control_plane.heartbeats
    assert not any(call.said.leaving for call in beats[:before])
    assert all(call.said.leaving for call in beats[before:])
    assert beats[before].at_s == 50
    assert len(beats) - before >= 5
    load = beats[before].said.resources
    assert load is not None
    assert load.active_queries == 1
    sequences = [call.said.sequence for call in beats]
    assert sequences == list(range(1, len(beats) + 1))


async def test_announcement_that_is_lost_is_repeated_before_the_next_heartbeat_is_due(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    before = len(world.control_plane.heartbeats)
    world.control_plane.heartbeat_script.extend([AWAY, AWAY])
    world.agent.stop("SIGTERM")
    await trio.sleep(1.5)  # two delays, of 0.5 and 1 s at most
    announced = world.control_plane.heartbeats[before:]
    assert len(announced) >= 3
    assert all(call.said.leaving for call in announced)


async def test_stop_without_a_query_sends_no_announcement(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    await nursery.start(world.run)
    await trio.sleep(50)
    before = len(world.control_plane.heartbeats)
    world.agent.stop("SIGTERM")
    await trio.sleep(10)
    assert len(world.control_plane.heartbeats) == before
    assert world.left()[0] == "SIGTERM"


async def test_drain_for_an_operator_is_not_announced_as_a_shutdown(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w"))
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(199)
    assert len(world.control_plane.heartbeats) >= 6
    assert not any(call.said.leaving for call in world.control_plane.heartbeats)
    world.agent.stop("SIGTERM")  # a draining worker may be asked to end before it has finished
    await trio.sleep(0.5)
    assert world.control_plane.heartbeats[-1].said.leaving


async def test_announcement_answered_with_register_ends_the_heartbeats(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0))
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    world.control_plane.usual_heartbeat = REGISTER
    world.agent.stop("SIGTERM")
    await trio.sleep(1)
    beats = len(world.control_plane.heartbeats)
    await trio.sleep(120)
    assert len(world.control_plane.heartbeats) == beats
    assert len(world.control_plane.registrations) == 1


async def test_stop_between_two_registration_attempts_returns_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.go_away()
    nursery.start_soon(world.run)
    await trio.sleep(1000)
    attempts = len(world.control_plane.registrations)
    world.agent.stop("SIGINT")
    await trio.sleep(100)
    assert world.left() == ("SIGINT", 1000)
    assert len(world.control_plane.registrations) == attempts
    assert world.control_plane.leaves == []


async def test_stop_during_a_registration_hears_it_out_and_takes_it_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = Slow(4.0, RegisterAnswer(True, "w", 3, 30.0))
    nursery.start_soon(world.run)
    await trio.sleep(1)
    world.agent.stop("SIGTERM")
    await trio.sleep(10)
    assert [call.said for call in world.control_plane.leaves] == [Deregister("w", "SIGTERM", 3)]
    assert world.left()[1] == 4


async def test_stop_during_a_registration_never_answered_returns_after_five_seconds(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", call_timeout_s=60.0))
    world.control_plane.usual_register = SILENCE
    nursery.start_soon(world.run)
    await trio.sleep(1)
    world.agent.stop("SIGTERM")
    await trio.sleep(100)
    assert world.left() == ("SIGTERM", 6)


async def test_stop_before_the_run_returns_without_a_call(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.agent.stop("SIGTERM")
    assert await nursery.start(world.run) == ""
    assert world.left()[0] == "SIGTERM"
    assert world.control_plane.registrations == []


async def test_drain_when_idle_leaves_as_drained(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World()
    world.control_plane.heartbeat_script.append(DRAIN)
    await nursery.start(world.run)
    await trio.sleep(100)
    assert world.left()[0] == DRAINED
    assert [call.said for call in world.control_plane.leaves] == [Deregister("w", DRAINED, 1)]
    assert world.left()[1] == world.beat_times_s[0]


async def test_drain_during_a_query_waits_however_long_and_keeps_heartbeating(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=20.0))
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 5000)
    await trio.sleep(4999)
    assert world.phase() is Phase.DRAINING
    assert not world.queries.accepting
    assert max(gaps(world.beat_times_s)) <= 31.5
    await trio.sleep(2)
    assert world.left() == (DRAINED, 5000)


@pytest.mark.parametrize("after", [ACKNOWLEDGED, CORDON], ids=["resumed", "cordoned instead"])
async def test_drain_taken_back_before_the_queries_end_stays(
    autojump_clock: MockClock, nursery: trio.Nursery, after: HeartbeatAnswer
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([DRAIN, DRAIN])
    world.control_plane.usual_heartbeat = after
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(55)
    assert world.phase() is Phase.DRAINING
    await trio.sleep(500)
    assert world.left()[0] is None
    assert world.queries.active == 0
    assert world.queries.accepting is (after is ACKNOWLEDGED)
    assert world.phase() is (Phase.ACTIVE if after is ACKNOWLEDGED else Phase.CORDONED)


async def test_drain_taken_back_and_given_again_leaves_once_idle(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([DRAIN, ACKNOWLEDGED, DRAIN, ACKNOWLEDGED])
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 400)
    await trio.sleep(399)
    assert world.left()[0] is None
    await trio.sleep(2)
    assert world.left() == (DRAINED, 400)


async def test_drain_taken_back_and_given_again_when_idle_leaves(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([DRAIN, ACKNOWLEDGED, ACKNOWLEDGED, ACKNOWLEDGED])
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 70)
    await trio.sleep(200)
    assert world.left()[0] == DRAINED


async def test_drain_taken_back_and_given_again_many_times_takes_one_task(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([DRAIN, ACKNOWLEDGED] * 20)
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 2000)
    before = trio.lowlevel.current_statistics().tasks_living
    await trio.sleep(1000)
    assert trio.lowlevel.current_statistics().tasks_living <= before + 1
    assert world.left()[0] is None


async def test_drain_during_an_outage_leaves_once_idle(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.append(DRAIN)
    world.control_plane.usual_heartbeat = SILENCE
    world.control_plane.usual_deregister = SILENCE
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 500)
    await trio.sleep(499)
    assert world.phase() is Phase.DRAINING
    await trio.sleep(100)
    assert world.left() == (DRAINED, 505)


async def test_drain_outlives_a_registration_lost_meanwhile(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.heartbeat_script.extend([DRAIN, REGISTER])
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 300)
    await trio.sleep(200)
    assert len(world.control_plane.registrations) == 2
    assert world.phase() is Phase.DRAINING
    assert not world.queries.accepting
    await trio.sleep(200)
    assert world.left() == (DRAINED, 300)


async def test_stop_while_draining_leaves_for_the_stop_and_within_its_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=20.0))
    world.control_plane.usual_heartbeat = DRAIN
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 1000)
    await trio.sleep(100)
    world.agent.stop("SIGTERM")
    await trio.sleep(100)
    assert world.left() == ("SIGTERM", 120)


async def test_run_cancelled_says_nothing_to_the_control_plane(autojump_clock: MockClock) -> None:
    world = World()
    with trio.move_on_after(100):
        await world.agent.run()
    assert len(world.beat_times_s) >= 3
    assert world.control_plane.leaves == []


class FastClock(SystemClock):
    """A `FastClock` is the clock of a node, and runs twice as fast as the world's."""

    def monotonic_s(self) -> float:
        return 2 * trio.current_time()

    async def sleep_until(self, deadline_s: float) -> None:
        await trio.sleep_until(deadline_s / 2)


async def test_agent_keeps_its_own_clock_and_no_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(clock=FastClock())
    world.control_plane.usual_deregister = Slow(1000.0, True)
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 10000)
    await trio.sleep(300)
    assert all(14 <= gap_s <= 16 for gap_s in gaps(world.beat_times_s))
    world.agent.stop("SIGTERM")
    await trio.sleep(100)
    assert world.left()[1] == 300 + 25 / 2 + 5 / 2
