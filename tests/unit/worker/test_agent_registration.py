"""An agent becomes a member, and becomes one again. All of it is on virtual time."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from minicloud.core.errors import RegistrationFailedError
from minicloud.net.backoff import Backoff
from minicloud.worker.agent_config import AgentConfig, told_interval_s
from minicloud.worker.agent_state import Phase
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from tests.unit.worker.fakes import ACKNOWLEDGED, AWAY, REGISTER, SILENCE, Call, World, events, gaps

HOUR_S = 3600.0


async def test_agent_started_registers_with_identity_endpoint_and_resources(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    config = AgentConfig(wanted_id="w", instance_id="ab" * 16, metadata={"zone": "b"})
    world = World(config)
    assert await nursery.start(world.run) == "w"
    (call,) = world.control_plane.registrations
    assert call.said.worker_id == "w"
    assert call.said.instance_id == "ab" * 16
    assert call.said.endpoint == "10.0.0.7:9091"
    assert call.said.metadata == {"zone": "b"}
    assert call.said.resources.cpu_cores == 4
    state = world.agent.state
    assert (state.phase, state.registered, state.worker_id, state.incarnation) == (Phase.ACTIVE, True, "w", 1)
    assert state.interval_s == 30.0
    assert state.last_acknowledged_s == call.at_s


async def test_registration_failing_backs_off_with_full_jitter_up_to_the_cap(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.go_away()
    nursery.start_soon(world.run)
    await trio.sleep(2 * HOUR_S)
    delays_s = gaps([call.at_s for call in world.control_plane.registrations])
    backoff = Backoff(0.5, 30.0)
    assert all(0 <= delay_s <= backoff.ceiling_s(n) for n, delay_s in enumerate(delays_s))
    late = delays_s[10:]
    assert min(late) < 3 < 27 < max(late)  # the whole range is used: full jitter
    assert 13 < sum(late) / len(late) < 17


async def test_registration_control_plane_away_for_hours_registers_once_it_is_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = AWAY
    nursery.start_soon(world.run)
    with capture_logs() as logs:
        await trio.sleep(6 * HOUR_S)
        assert world.phase() is Phase.REGISTERING
        assert world.queries.accepting
        world.control_plane.usual_register = RegisterAnswer(True, "w", 1, 30.0)
        await trio.sleep(30)
    assert world.phase() is Phase.ACTIVE
    failed = events(logs, "registration_failed")
    warnings = [entry for entry in failed if entry["log_level"] == "warning"]
    assert len(failed) > 1000
    assert [entry["attempt"] for entry in warnings] == [2**n for n in range(len(warnings))]
    assert warnings[0]["error"] == str(AWAY)
    assert warnings[0]["control_plane"] == "cp:9090"
    (restored,) = events(logs, "contact_restored")
    assert isinstance(restored["outage_s"], float)
    assert restored["outage_s"] >= 6 * HOUR_S - 1


async def test_registration_with_a_new_error_is_told_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    other = ControlPlaneError("cp:9090: certificate has expired")
    world.control_plane.register_script.extend([AWAY, AWAY, AWAY, AWAY, other])
    with capture_logs() as logs:
        nursery.start_soon(world.run)
        await trio.sleep(60)
    warnings = [entry for entry in events(logs, "registration_failed") if entry["log_level"] == "warning"]
    assert [entry["attempt"] for entry in warnings] == [1, 2, 4, 5]
    assert warnings[-1]["error"] == str(other)


async def test_registration_refused_is_logged_with_its_error_and_tried_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.register_script.append(RegisterAnswer(False, error="endpoint 'x' is not valid"))
    with capture_logs() as logs:
        await nursery.start(world.run)
    (failed,) = events(logs, "registration_failed")
    assert failed["log_level"] == "warning"
    assert failed["error"] == "refused: endpoint 'x' is not valid"
    assert len(world.control_plane.registrations) == 2
    assert events(logs, "contact_restored") == []  # the control plane did answer


async def test_registration_failing_as_often_as_allowed_raises(autojump_clock: MockClock) -> None:
    world = World(AgentConfig(wanted_id="w", exit_after_failures=3))
    world.control_plane.usual_register = AWAY
    world.control_plane.register_script.append(RegisterAnswer(False, error="no"))  # a refusal counts as well
    with pytest.raises(RegistrationFailedError, match=r"3 times in a row.*connection refused"):
        await world.agent.run()
    assert len(world.control_plane.registrations) == 3
    assert world.control_plane.leaves == []
    assert world.phase() is Phase.LEFT


async def test_registration_succeeding_in_between_starts_the_count_of_failures_anew(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", exit_after_failures=3))
    success = RegisterAnswer(True, "w", 1, 30.0)
    world.control_plane.register_script.extend([AWAY, AWAY, success, AWAY, AWAY, success])
    world.control_plane.heartbeat_script.append(REGISTER)
    await nursery.start(world.run)
    await trio.sleep(120)
    assert world.phase() is Phase.ACTIVE
    assert len(world.control_plane.registrations) == 6


async def test_registration_without_an_own_endpoint_yet_waits_for_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    found = False

    async def endpoint() -> str:
        if not found:
            raise ControlPlaneError("no way to the control plane (cp:9090: Network is unreachable)")
        return "10.0.0.9:9091"

    world = World(endpoint=endpoint)
    nursery.start_soon(world.run)
    await trio.sleep(60)
    assert world.control_plane.registrations == []
    found = True
    await trio.sleep(30)
    assert [call.said.endpoint for call in world.control_plane.registrations] == ["10.0.0.9:9091"]


async def test_registration_given_another_id_keeps_that_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.register_script.append(RegisterAnswer(True, "w-1", 4, 30.0))
    world.control_plane.usual_register = RegisterAnswer(True, "w-1", 9, 30.0)
    world.control_plane.heartbeat_script.extend([ACKNOWLEDGED, REGISTER])
    assert await nursery.start(world.run) == "w-1"
    await trio.sleep(120)
    assert [call.said.worker_id for call in world.control_plane.registrations] == ["w", "w-1"]
    beats = world.control_plane.heartbeats
    assert [(call.said.worker_id, call.said.incarnation) for call in beats[:4]] == [
        ("w-1", 4),
        ("w-1", 4),
        ("w-1", 9),
        ("w-1", 9),
    ]
    assert world.agent.state.incarnation == 9


@pytest.mark.parametrize(
    "answer",
    [
        REGISTER,
        HeartbeatAnswer(False, error="resources.memory_mb is -1: it must be 0 or more"),
        HeartbeatAnswer(True, "register"),
    ],
    ids=["unknown", "unacknowledged", "told so though acknowledged"],
)
async def test_heartbeat_answered_so_that_membership_is_in_doubt_registers_again(
    autojump_clock: MockClock, nursery: trio.Nursery, answer: HeartbeatAnswer
) -> None:
    world = World()
    world.control_plane.heartbeat_script.append(answer)
    await nursery.start(world.run)
    await trio.sleep(100)
    assert len(world.control_plane.registrations) == 2
    assert world.control_plane.registrations[1].at_s == world.beat_times_s[0]  # at once
    assert world.phase() is Phase.ACTIVE
    assert [call.said.sequence for call in world.control_plane.heartbeats] == list(
        range(1, len(world.control_plane.heartbeats) + 1)
    )


async def test_control_plane_that_forgets_everybody_each_beat_is_not_stormed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_heartbeat = REGISTER
    await nursery.start(world.run)
    await trio.sleep(HOUR_S)
    assert 120 < len(world.control_plane.registrations) < 480  # a phase of U(0, 30) s between two


async def test_old_control_plane_that_sends_zeros_is_kept_content(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True, "w")
    world.control_plane.usual_heartbeat = HeartbeatAnswer(True)
    world.control_plane.heartbeat_script.extend([HeartbeatAnswer(True), HeartbeatAnswer(False)])
    await nursery.start(world.run)
    await trio.sleep(HOUR_S)
    assert len(world.control_plane.registrations) == 2
    assert {call.said.incarnation for call in world.control_plane.heartbeats} == {0}
    assert all(27 < gap_s < 33 for gap_s in gaps(world.beat_times_s)[2:])
    assert world.phase() is Phase.ACTIVE


async def test_control_plane_that_names_no_id_leaves_the_wanted_one(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World()
    world.control_plane.usual_register = RegisterAnswer(True)
    assert await nursery.start(world.run) == "w"


async def test_control_plane_that_names_no_id_where_none_was_wanted_counts_as_a_failure(
    autojump_clock: MockClock,
) -> None:
    world = World(AgentConfig(exit_after_failures=1))
    world.control_plane.usual_register = RegisterAnswer(True)
    with pytest.raises(RegistrationFailedError, match="--id"):
        await world.agent.run()


async def test_registration_unanswered_is_tried_again_after_its_timeout(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", call_timeout_s=7.0))
    world.control_plane.register_script.append(SILENCE)
    await nursery.start(world.run)
    first, second = (call.at_s for call in world.control_plane.registrations)
    assert 7.0 <= second - first <= 7.5


async def test_agents_failing_together_do_not_retry_together(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    worlds = [World(seed=seed) for seed in range(50)]
    for world in worlds:
        world.control_plane.usual_register = AWAY
        nursery.start_soon(world.run)
    await trio.sleep(60)

    def last(calls: list[Call[RegistrationRequest]]) -> float:
        return calls[-1].at_s

    assert len({round(last(world.control_plane.registrations), 1) for world in worlds}) > 40


@pytest.mark.parametrize(
    ("told_s", "kept_s"), [(0.0, 30.0), (-1.0, 30.0), (0.001, 0.1), (12.5, 12.5), (1e9, 600.0)]
)
def test_interval_told_is_kept_within_bounds(told_s: float, kept_s: float) -> None:
    assert told_interval_s(told_s, 30.0) == kept_s


class Moving:
    """A `Moving` is an endpoint that changes, and that may not be found for a time."""

    def __init__(self) -> None:
        self.now: str | ControlPlaneError = "10.0.0.7:9091"

    async def __call__(self) -> str:
        await trio.lowlevel.checkpoint()
        if isinstance(self.now, ControlPlaneError):
            raise self.now
        return self.now


async def test_endpoint_that_has_changed_is_registered_with_the_next_heartbeat(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    endpoint = Moving()
    world = World(endpoint=endpoint)
    with capture_logs() as logs:
        await nursery.start(world.run)
        await trio.sleep(100)
        assert len(world.control_plane.registrations) == 1
        endpoint.now = "10.0.0.8:9091"
        await trio.sleep(33)
        endpoint.now = AWAY  # there is no connection at this moment, so no change is known
        await trio.sleep(100)
    assert [call.said.endpoint for call in world.control_plane.registrations] == [
        "10.0.0.7:9091",
        "10.0.0.8:9091",
    ]
    assert world.control_plane.registrations[1].said.worker_id == "w"
    (changed,) = events(logs, "endpoint_changed")
    assert (changed["was"], changed["endpoint"]) == ("10.0.0.7:9091", "10.0.0.8:9091")


async def test_endpoint_that_changes_while_the_worker_ends_is_not_registered_any_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    endpoint = Moving()
    world = World(AgentConfig(wanted_id="w", drain_timeout_s=300.0), endpoint=endpoint)
    await nursery.start(world.run)
    nursery.start_soon(world.run_query, 200)
    await trio.sleep(50)
    endpoint.now = "10.0.0.8:9091"
    world.agent.stop("SIGTERM")
    await trio.sleep(149)
    assert len(world.control_plane.registrations) == 1
    assert len(world.beat_times_s) >= 6  # it reports until its end
    await trio.sleep(2)
    assert len(world.control_plane.leaves) == 1


async def test_endpoint_is_verified_after_each_registration_without_holding_up_heartbeats(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    verified = []

    async def verify(endpoint: str) -> None:
        verified.append(endpoint)
        await trio.sleep(1000)

    endpoint = Moving()
    world = World(endpoint=endpoint, verify=verify)
    await nursery.start(world.run)
    await trio.sleep(65)
    assert len(world.beat_times_s) >= 2
    endpoint.now = "10.0.0.8:9091"
    await trio.sleep(65)
    assert verified == ["10.0.0.7:9091", "10.0.0.8:9091"]
    world.agent.stop("SIGTERM")
    await trio.sleep(1)
    assert world.left()[0] == "SIGTERM"


async def test_worker_kept_away_for_a_day_is_back_within_half_a_minute(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(seed=3)
    world.control_plane.go_away()
    nursery.start_soon(world.run)
    await trio.sleep(24 * 3600)
    attempts = [call.at_s for call in world.control_plane.registrations]
    assert max(gaps(attempts)) <= 30.0
    assert max(gaps(attempts)) > 29.0
    assert 14.0 < sum(gaps(attempts[10:])) / len(attempts[11:]) < 16.0  # 15 s, as AgentConfig has it


async def test_member_kept_away_for_a_day_is_heard_again_within_half_a_minute(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(AgentConfig(wanted_id="w", heartbeat_interval_s=600.0), seed=3)
    world.control_plane.usual_register = RegisterAnswer(True, "w", 1, 600.0)
    world.control_plane.usual_heartbeat = AWAY
    await nursery.start(world.run)
    await trio.sleep(24 * 3600)
    late = world.beat_times_s[20:]
    assert max(gaps(late)) <= 30.0
    assert max(gaps(late)) > 29.0
