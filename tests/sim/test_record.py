"""Recording: the hash of a run, its figures over time, and what is kept of the first violation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grpclib.const import Status

from minicloud.store.port import MembershipEvent
from sim.cluster.control_plane import ControlPlaneRun
from sim.faults.schedule import Schedule
from sim.net.exchanges import Exchange
from sim.record.last_calls import LastCalls
from sim.record.record import Record
from sim.record.recorder import Recorder
from sim.record.trace import Trace
from sim.scenario.expand import expand
from sim.scenario.scenario import load
from sim.simulation.simulation import Simulation, SimulationObserver
from sim.verdict.outcome import Outcome, Violation


class Accuser(SimulationObserver):
    """Finds that the first worker to become UNHEALTHY should not have."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def begins(self, simulation: Simulation) -> None:
        self._timeline = simulation.timeline

    def changed(self, run: ControlPlaneRun, entry: MembershipEvent) -> None:
        if entry.kind == "unhealthy" and not self.violations:
            self.violations.append(
                Violation("1 no-early-verdict", self._timeline.now_s, entry.worker_id, "too early")
            )


def schedule_of(scenario: str, seed: int = 1, workers: int = 9) -> Schedule:
    return expand(load(scenario), seed, workers)


def recorded(
    schedule: Schedule, observers: Sequence[SimulationObserver] = (), trace: Path | None = None
) -> tuple[Outcome, Record]:
    violations = next((one.violations for one in observers if isinstance(one, Accuser)), [])
    recorder = Recorder(schedule, violations, trace)
    Simulation(schedule, [*observers, recorder]).run()
    outcome = Outcome(schedule.name, schedule.seed, schedule.topology.workers)
    recorder.fill(outcome)
    return outcome, recorder.record()


def test_hash_of_one_seed_run_twice_is_the_same(tmp_path: Path) -> None:
    first, _ = recorded(schedule_of("partition"), trace=tmp_path / "first")
    second, _ = recorded(schedule_of("partition"), trace=tmp_path / "second")
    assert first.trace_hash == second.trace_hash
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_hash_of_another_seed_is_another() -> None:
    first, _ = recorded(schedule_of("steady"))
    second, _ = recorded(schedule_of("steady", seed=2))
    assert first.trace_hash != second.trace_hash


def test_hash_with_and_without_a_file_is_the_same(tmp_path: Path) -> None:
    with_file, _ = recorded(schedule_of("steady"), trace=tmp_path / "trace")
    without, _ = recorded(schedule_of("steady"))
    assert with_file.trace_hash == without.trace_hash


def test_trace_of_lines_that_differ_in_one_hashes_differently() -> None:
    lines = [f"{number / 7!r} event {number}" for number in range(3000)]

    def digest(lines: list[str]) -> str:
        trace = Trace()
        for line in lines:
            trace.add(line)
        return trace.digest()

    assert digest(lines) == digest(lines)
    for changed in (0, 1500, 2999):
        other = [*lines[:changed], lines[changed].replace("e", "E", 1), *lines[changed + 1 :]]
        assert digest(other) != digest(lines)
    assert digest([lines[1], lines[0], *lines[2:]]) != digest(lines)


def test_trace_tells_of_every_kind_of_event(tmp_path: Path) -> None:
    recorded(schedule_of("control-plane-crash"), trace=tmp_path / "trace")
    recorded(schedule_of("partition"), trace=tmp_path / "other")
    text = (tmp_path / "trace").read_text() + (tmp_path / "other").read_text()
    kinds = {line.split()[1] for line in text.splitlines()}
    assert kinds >= {
        "started", "ended", "took", "RegisterWorker", "Heartbeat", "returned", "failed",
        "entry", "fault", "healed", "over",
    }  # fmt: skip


def test_samples_of_a_run_add_up_to_its_totals() -> None:
    outcome, record = recorded(schedule_of("partition"))
    assert sum(sample.heartbeats for sample in record.samples) == outcome.heartbeats
    assert sum(sample.registrations for sample in record.samples) == outcome.registrations
    assert outcome.heartbeats > 200
    assert outcome.virtual_seconds == record.schedule.phases.end_s
    assert record.samples[-1].at_s == outcome.virtual_seconds


def test_samples_of_a_partition_show_everybody_unhealthy_and_then_back() -> None:
    _, record = recorded(schedule_of("partition"))
    assert all(
        sample.healthy + sample.unhealthy + sample.draining == 9
        for sample in record.samples
        if sample.at_s > 10
    )
    assert max(sample.unhealthy for sample in record.samples) == 9
    assert record.samples[-1].healthy == 9


def test_samples_while_no_control_plane_runs_are_empty_and_told_as_outages() -> None:
    _, record = recorded(schedule_of("control-plane-crash"))
    assert record.outages
    for begin_s, end_s in record.outages:
        within = [sample for sample in record.samples if begin_s < sample.at_s < end_s]
        assert all(not sample.up and not sample.healthy for sample in within)
    assert record.samples[-1].healthy == 9


def test_samples_of_a_long_run_are_no_more_than_a_page_can_show() -> None:
    schedule = expand(load("steady"), 1, 2, 7200.0)
    _, record = recorded(schedule)
    assert 600 <= len(record.samples) <= 1201


def test_peak_of_registrations_counts_those_of_one_second() -> None:
    outcome, _ = recorded(schedule_of("steady", workers=30))
    assert 30 / 5 <= outcome.peak_registrations_per_second <= 20  # started over five seconds


def test_moment_of_a_violation_has_the_calls_of_its_node_and_the_lost_ones_among_them() -> None:
    accuser = Accuser()
    _, record = recorded(schedule_of("partition"), [accuser])
    moment = record.moment
    assert moment is not None
    assert moment.violation is accuser.violations[0]
    assert {exchange.client for exchange in moment.exchanges} == {moment.violation.node}
    assert any(not exchange.steps for exchange in moment.exchanges)
    whole = next(exchange for exchange in moment.exchanges if exchange.steps)
    assert [name for name, _ in whole.steps] == ["arrived", "answered", "returned"]
    assert whole.sent_s < whole.steps[0][1] <= whole.steps[1][1] < whole.steps[2][1] < whole.sent_s + 0.1
    assert whole.status is Status.OK
    assert f"{moment.violation.node} unhealthy" in {mark.text for mark in moment.marks}
    assert "partition begins" in {mark.text for mark in moment.marks}


def test_hash_of_a_run_with_a_violation_is_that_of_the_run_without() -> None:
    with_one, _ = recorded(schedule_of("partition"), [Accuser()])
    without, _ = recorded(schedule_of("partition"))
    assert with_one.trace_hash == without.trace_hash


def test_moment_of_a_run_without_violation_is_none() -> None:
    _, record = recorded(schedule_of("steady"))
    assert record.moment is None


def test_last_calls_of_a_client_are_its_newest() -> None:
    calls = LastCalls(2)
    first, second, third = (Exchange("a", "server", "/x/One", at_s) for at_s in (1.0, 2.0, 3.0))
    others = Exchange("b", "server", "/x/One", 2.5)
    for exchange in (first, second, others, third):
        calls.of(exchange.client).append(exchange)
    assert list(calls.of("a")) == [second, third]
    assert list(calls.of("b")) == [others]
    assert list(calls.of("c")) == []
    assert calls.clients() == ["a", "b"]
