"""Real mode's fleet at the production control plane, on connections in memory and a virtual clock."""

from __future__ import annotations

import math
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from minicloud.clock import SystemClock
from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.core.commands import Remove
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.rpc.channel import Channel
from minicloud.rpc.server import Server
from minicloud.store.memory import MemoryStore
from minicloud.store.port import MembershipEvent
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub
from sim.cluster.topology import Topology
from sim.faults.schedule import Fault, Phases, Schedule
from sim.real.faults import UnsupportedFaultError, check_supported
from sim.real.figures import Figures, Method
from sim.real.fleet import Fleet, Moment
from sim.real.histogram import Histogram
from sim.real.ledger import Ledger
from sim.real.outcome import RealOutcome
from sim.real.report import Progress
from sim.real.target import RealModeError, allow_open_files, find_target

PHASES = Phases(10.0, 300.0, 60.0)


def schedule(*faults: Fault, workers: int = 20, duplicates: int = 0) -> Schedule:
    return Schedule("test", 1, Topology(workers=workers, duplicates=duplicates), PHASES, faults)


class World:
    """A control plane in memory, and what it wrote of its members."""

    def __init__(self) -> None:
        self.entries: list[MembershipEvent] = []
        self.plane = ControlPlane(LivenessPolicy(), MemoryStore(), Metrics(), SystemClock(), Random(1))
        self.plane.membership.subscribe(self.entries.append)
        self.server = Server([self.plane.service], random=Random(2))
        self.refusing = False
        self.streams: list[trio.StapledStream[MemorySendStream, MemoryReceiveStream]] = []  # its ends
        self.moments: list[Moment] = []

    async def run(self, plan: Schedule, *meanwhile: Callable[[Fleet], None]) -> RealOutcome:
        """Run `plan`, calling each of `meanwhile` after 100 s more of it, and return the outcome."""
        async with trio.open_nursery() as nursery:

            async def connect() -> trio.abc.Stream:
                if self.refusing:
                    raise ConnectionRefusedError(111, "Connection refused")
                ours, theirs = memory_stream_pair()
                self.streams.append(theirs)
                nursery.start_soon(self.server.serve_connection, theirs)
                return ours

            await nursery.start(self.plane.sweeper.run)
            channel = Channel(nursery, [connect], random=Random(3))
            operator = channel.stub(WorkerManagementServiceStub)
            fleet = Fleet(
                plan,
                "cp:9090",
                connect,
                operator,
                random=Random(4),
                run_id="r",
                ramp_s=5.0,
                report=self.moments.append,
            )

            async def interfere() -> None:
                for call in meanwhile:
                    await trio.sleep(100)
                    call(fleet)

            nursery.start_soon(interfere)
            outcome = await fleet.run()
            nursery.cancel_scope.cancel()
        return outcome

    @property
    def kinds(self) -> Counter[str]:
        """Return how often each kind of entry was published."""
        return Counter(str(entry.kind) for entry in self.entries)

    @property
    def left(self) -> list[str]:
        """Return the ids of the workers that are still registered."""
        return [worker.worker_id for worker in self.plane.membership.sweep_due().workers()]


async def test_fleet_without_faults_registers_reports_and_leaves(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(schedule())
    assert outcome.held
    assert (outcome.registered, outcome.expected, outcome.registrations) == (20, 20, 20)
    assert outcome.connections == 20
    assert outcome.errors == {}
    assert 20 * 11 <= outcome.heartbeats <= 20 * 13
    assert outcome.heartbeats_per_second == pytest.approx(20 / 30, rel=0.1)
    assert outcome.wall_seconds == PHASES.end_s
    assert outcome.latency_seconds["heartbeat"].count == outcome.heartbeats
    assert outcome.latency_seconds["deregister"].count == 20
    assert (world.left, outcome.left_registered) == ([], 0)
    assert max(moment.registered for moment in world.moments) == 20


async def test_fleet_spreads_its_starts_over_the_ramp(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(schedule())
    assert outcome.peak_registrations_per_second == 4
    assert [moment.registered for moment in world.moments[:7]] == [0, 4, 8, 12, 16, 20, 20]


async def test_crashed_worker_comes_back_as_itself(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(schedule(Fault("crash", 50.0, ("worker-3", "worker-4"), 30.0)))
    assert outcome.held
    assert outcome.registrations == 22
    assert world.kinds["registered"] == 22
    assert not [entry for entry in world.entries if "-3-" in entry.worker_id]


async def test_crashed_worker_that_stays_away_is_given_back_at_the_end(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(
        schedule(Fault("crash", 50.0, ("worker-3",), 300.0)), lambda fleet: fleet.stop()
    )
    assert outcome.interrupted
    assert outcome.held
    assert (outcome.registered, outcome.expected) == (19, 19)
    assert world.left == []


async def test_worker_with_an_empty_disk_takes_its_own_place_and_is_given_back(
    autojump_clock: MockClock,
) -> None:
    world = World()
    outcome = await world.run(schedule(Fault("wipe", 50.0, ("worker-3",), 30.0)))
    assert outcome.held
    # It is another installation, and asks for the same id from the same endpoint.
    of_it = [entry.detail for entry in world.entries if entry.worker_id == "sim-worker-3"]
    assert of_it == ["new", "again", "left"]
    assert "sim-worker-3-1" not in {entry.worker_id for entry in world.entries}
    assert world.left == []


async def test_duplicate_of_a_live_worker_gets_another_id(autojump_clock: MockClock) -> None:
    world = World()
    fault = Fault("duplicate-id", 50.0, ("worker-9",), options={"of": "worker-3"})
    outcome = await world.run(schedule(fault, duplicates=2))
    assert outcome.held
    ids = {entry.worker_id for entry in world.entries}
    assert {"sim-worker-3-1", "sim-worker-0-1", "sim-worker-1-1"} <= ids
    assert world.left == []


async def test_paused_worker_is_silent_until_it_goes_on(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(schedule(Fault("pause", 50.0, ("worker-3",), 200.0)))
    assert outcome.held
    kinds = [str(entry.kind) for entry in world.entries if entry.worker_id == "sim-worker-3"]
    assert kinds == ["registered", "unhealthy", "recovered", "departed"]


async def test_delay_longer_than_a_call_fails_calls_that_it_explains(autojump_clock: MockClock) -> None:
    world = World()
    fault = Fault("delay", 50.0, ("worker-3",), 60.0, {"low_s": 20.0, "high_s": 20.0})
    outcome = await world.run(schedule(fault))
    assert outcome.held
    assert outcome.errors["heartbeat"].keys() == {"DEADLINE_EXCEEDED"}
    assert outcome.latency_seconds["heartbeat"].max < 1.0


async def test_delay_is_no_part_of_what_calls_took(autojump_clock: MockClock) -> None:
    world = World()
    fault = Fault("delay", 50.0, ("worker-3",), 200.0, {"low_s": 2.0, "high_s": 2.0})
    outcome = await world.run(schedule(fault))
    assert outcome.errors == {}
    assert outcome.latency_seconds["heartbeat"].max < 1.0


async def test_delay_of_answers_is_none_of_requests(autojump_clock: MockClock) -> None:
    world = World()
    options: dict[str, float | str] = {"low_s": 20.0, "high_s": 20.0, "direction": "to-client"}
    outcome = await world.run(schedule(Fault("delay", 50.0, ("worker-3",), 200.0, options)))
    assert outcome.held
    assert outcome.errors["heartbeat"].keys() == {"DEADLINE_EXCEEDED"}
    assert not world.kinds["unhealthy"]  # its heartbeats have all arrived


async def test_reset_connection_is_made_anew(autojump_clock: MockClock) -> None:
    world = World()
    outcome = await world.run(schedule(Fault("reset", 50.0, ("worker-3", "worker-4"))))
    assert outcome.held
    assert outcome.connections == 22
    assert outcome.registrations == 20


async def test_removed_workers_all_register_again(autojump_clock: MockClock) -> None:
    world = World()
    everybody = tuple(f"worker-{number}" for number in range(20))
    outcome = await world.run(schedule(Fault("remove", 50.0, everybody)))
    assert outcome.held
    assert outcome.told_to_register == 20
    assert (outcome.registered, outcome.registrations) == (20, 40)
    assert world.left == []


async def test_worker_forgotten_for_no_reason_breaks_a_promise(autojump_clock: MockClock) -> None:
    world = World()

    def forget(fleet: Fleet) -> None:
        world.plane.membership.execute(Remove("sim-worker-3"))

    outcome = await world.run(schedule(), forget)
    assert not outcome.held
    (violation,) = outcome.violations
    assert (violation.promise, violation.node) == (
        "a registration that was acknowledged is there",
        "worker-3",
    )
    assert violation.at_s == pytest.approx(115, abs=16)


async def test_control_plane_that_goes_away_leaves_unexpected_errors(autojump_clock: MockClock) -> None:
    world = World()

    def go_away(fleet: Fleet) -> None:
        world.refusing = True
        for stream in world.streams:
            stream.send_stream.close()

    outcome = await world.run(schedule(), go_away)
    assert not outcome.held
    assert outcome.unexpected_errors["connect"] == {"Connection refused": outcome.connection_failures}
    assert outcome.unexpected_errors["heartbeat"]["UNAVAILABLE"] >= 20
    assert outcome.left_registered == 20


async def test_fleet_stopped_during_the_ramp_leaves_with_those_it_has(autojump_clock: MockClock) -> None:
    world = World()
    plan = schedule(workers=20)
    outcome = await world.run(plan, lambda fleet: fleet.stop())
    assert outcome.interrupted
    assert outcome.wall_seconds == 100.0
    assert world.left == []


async def test_fleet_stopped_twice_ends_at_once_and_says_who_is_left(autojump_clock: MockClock) -> None:
    world = World()

    def stop_twice(fleet: Fleet) -> None:
        fleet.stop()
        fleet.stop()

    outcome = await world.run(schedule(), stop_twice)
    assert trio.current_time() == pytest.approx(100.0)
    assert outcome.left_registered == 20 == len(world.left)


async def test_fleet_stopped_while_a_worker_stands_still_does_not_wait_for_it(
    autojump_clock: MockClock,
) -> None:
    world = World()
    outcome = await world.run(
        schedule(Fault("pause", 50.0, ("worker-3",), 250.0)), lambda fleet: fleet.stop()
    )
    assert trio.current_time() == pytest.approx(100.0, abs=1.0)
    assert outcome.held
    assert world.left == []


# What it can do


def test_faults_of_the_control_plane_and_of_the_network_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedFaultError, match="partition cannot be had with --target"):
        check_supported(schedule(Fault("partition", 50.0, ("worker-1",), 10.0)))
    with pytest.raises(UnsupportedFaultError, match=r"crash on control-plane: .* workers only"):
        check_supported(schedule(Fault("crash", 50.0, ("control-plane",), 10.0)))


def test_target_on_another_machine_is_refused_unless_allowed() -> None:
    with pytest.raises(RealModeError, match=r"192\.0\.2\.1.*--allow-remote"):
        find_target("192.0.2.1:9090", allow_remote=False)


@pytest.mark.parametrize("text", ["", "9090", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:1,127.0.0.1:2"])
def test_target_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RealModeError, match="is not HOST:PORT"):
        find_target(text, allow_remote=True)


class Limits:
    """A limit of open files, soft and hard."""

    def __init__(self, soft: int, hard: int) -> None:
        self.now = (soft, hard)

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.now

    def set(self, which: int, to: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.now = to


@pytest.mark.parametrize("hard", [8192, resource.RLIM_INFINITY])
def test_open_files_are_raised_to_what_workers_need(hard: int) -> None:
    limits = Limits(1024, hard)
    allow_open_files(5000, limits.get, limits.set)
    assert limits.now == (5064, hard)


def test_open_files_that_are_enough_stay_as_they_are() -> None:
    limits = Limits(8192, 8192)
    allow_open_files(5000, limits.get, limits.set)
    assert limits.now == (8192, 8192)


def test_open_files_that_may_not_be_raised_are_refused_with_what_to_do() -> None:
    limits = Limits(1024, 4096)
    with pytest.raises(RealModeError, match=r"ulimit -n 5064.*--workers 4032"):
        allow_open_files(5000, limits.get, limits.set)


# Figures


def test_histogram_percentiles_are_at_most_five_percent_too_high() -> None:
    random = Random(1)
    durations = sorted(random.lognormvariate(-6, 2) for _ in range(10_000))
    histogram = Histogram()
    for duration_s in durations:
        histogram.add(duration_s)
    for share in (0.5, 0.95, 0.99, 1.0):
        true_s = max(1e-5, durations[math.ceil(share * 10_000) - 1])
        assert true_s * (1 - 1e-9) <= histogram.percentile_s(share) <= true_s * 1.05 * (1 + 1e-9)
    assert histogram.quantiles().max == durations[-1]


def test_histogram_of_nothing_and_of_extremes_answers() -> None:
    histogram = Histogram()
    assert histogram.percentile_s(0.99) == 0.0
    for duration_s in (0.0, 1e-9, 1e9):
        histogram.add(duration_s)
    assert histogram.percentile_s(0.01) <= 1e-5
    assert histogram.quantiles().max == 1e9


def test_figures_count_the_busiest_second() -> None:
    figures = Figures()
    for at_s in (0.1, 0.9, 1.0, 1.2, 1.9, 7.0):
        figures.registered(at_s)
    assert figures.peak_registrations_per_second == 3


def test_figures_keep_errors_that_faults_explain_apart() -> None:
    figures = Figures()
    figures.failed(Method.HEARTBEAT, "UNAVAILABLE", expected=True)
    figures.failed(Method.HEARTBEAT, "UNAVAILABLE", expected=False)
    outcome = RealOutcome("test", 1, 1, "cp:9090")
    figures.fill(outcome)
    assert outcome.errors == {"heartbeat": {"UNAVAILABLE": 2}}
    assert outcome.unexpected_errors == {"heartbeat": {"UNAVAILABLE": 1}}


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"errors": {"heartbeat": {"UNAVAILABLE": 1}}}, True),
        ({"unexpected_errors": {"heartbeat": {"UNAVAILABLE": 1}}}, False),
        ({"violations_total": 1}, False),
        ({"left_registered": 1}, False),
        ({"registered": 9}, False),
        ({"registered": 9, "interrupted": True}, True),
    ],
)
def test_outcome_held_where_everybody_was_registered_and_nothing_unexplained_happened(
    change: dict[str, Any], held: bool
) -> None:
    outcome = replace(RealOutcome("test", 1, 10, "cp:9090", expected=10, registered=10), **change)
    assert outcome.held is held


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "lines"), [(StringIO(), 3), (Terminal(), 1)])
def test_progress_is_one_line_on_a_terminal_and_one_each_ten_seconds_elsewhere(
    stream: StringIO, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(stream)
    for second in range(25):
        progress(Moment(float(second), 60.0, True, False, 50, 49, 12.0, 3, 0, 0.002, 0.05, ("crash",)))
    shown = stream.getvalue()
    assert len(shown.splitlines() if lines > 1 else shown.rpartition("\r")[2].splitlines()) == lines
    assert "49 of 50 registered  12 heartbeats/s  p50 2.0 ms  p99 50 ms  3 errors  [crash]" in shown


def test_progress_fits_a_terminal_that_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream)
    progress(Moment(1.0, 60.0, True, False, 50, 49, 12.0, 3, 0, 0.002, 0.05, ("crash",)))
    assert len(stream.getvalue().removeprefix("\r").removesuffix("\x1b[K")) == 39


class Somebody:
    """A holder of ids."""

    def __init__(self, name: str, *, sure: bool = True) -> None:
        self.name = name
        self.sure = sure

    def surely_holds(self, worker_id: str) -> bool:
        return self.sure


def test_ledger_sees_an_id_given_to_two() -> None:
    figures = Figures()
    ledger = Ledger(figures, lambda: 7.0)
    ledger.given(Somebody("a"), "w", 1)
    ledger.given(Somebody("b"), "w", 2)
    assert [violation.promise for violation in figures.violations] == ["no two live workers share an id"]


@pytest.mark.parametrize("why", ["silent", "struck off", "itself"])
def test_ledger_grants_an_id_that_is_free_again(why: str) -> None:
    figures = Figures()
    ledger = Ledger(figures, lambda: 7.0)
    first = Somebody("a", sure=why != "silent")
    ledger.given(first, "w", 1)
    if why == "struck off":
        ledger.taken_back("w")
    ledger.given(first if why == "itself" else Somebody("b"), "w", 2)
    assert figures.violations == []


def test_ledger_sees_an_incarnation_that_does_not_rise() -> None:
    figures = Figures()
    ledger = Ledger(figures, lambda: 7.0)
    somebody = Somebody("a")
    for incarnation in (1, 2, 2, 3, 1, 0):
        ledger.given(somebody, "w", incarnation)
    assert [violation.promise for violation in figures.violations] == ["incarnations rise"] * 2
