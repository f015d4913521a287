"""The registry agrees with a naive model through any sequence of commands, gaps of time and restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from minicloud.core.commands import (
    Command,
    Cordon,
    Deregister,
    Drain,
    Heartbeat,
    Register,
    Remove,
    Sweep,
    Uncordon,
)
from minicloud.core.errors import DisplacedError, FencedError, InvalidError, UnknownWorkerError
from minicloud.core.events import AdminChanged, Event, RivalHeard, WorkerLoaded, WorkerRegistered
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Resources, Worker, WorkerId
from minicloud.core.registry import FAR_BEHIND, Registry
from minicloud.core.stats import cluster_stats
from tests.unit.core.naive import Naive

TIMEOUT_S, RETENTION_S = 10.0, 50.0
MAX_DEPARTED = 3
LONG = "x" * 128

WANTED = st.sampled_from(["", "w", "w", "w", "w-1", "w-2", "g", LONG])
GENERATED = st.sampled_from(["g", "g-1", "w-12"])
INSTANCE = st.sampled_from(["", "", "A", "B", "C", "D"])
ENDPOINT = st.sampled_from(["h:1", "h:2", "h:3"])
ANY_ID = st.sampled_from(["w", "w-1", "w-2", "w-3", "g", "g-1", "w-12", LONG, LONG[:126] + "-1", "nobody"])
RESOURCES = st.builds(
    lambda cpu_cores, cpu_utilization: Resources(cpu_cores=cpu_cores, cpu_utilization=cpu_utilization),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.5, 1.0]),
)


def departed_at_s(worker: Worker) -> float:
    assert worker.departed is not None
    return worker.departed.at_s


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.run_number = 1
        self.start_floor = 0
        self.registry = self.new_registry()
        self.naive = Naive(TIMEOUT_S, RETENTION_S, MAX_DEPARTED)
        self.events: list[Event] = []
        self.highest: dict[str, int] = {}

    def new_registry(self) -> Registry:
        return Registry(
            LivenessPolicy(heartbeat_timeout_s=TIMEOUT_S, retention_s=RETENTION_S),
            self.start_floor,
            run=self.run_number,
            max_departed=MAX_DEPARTED,
        )

    def apply(self, event: Event) -> None:
        self.registry.apply(event)
        self.events.append(event)

    def do(self, command: Command) -> tuple[Event, ...]:
        try:
            events = self.registry.decide(command, self.now_s)
        except DisplacedError as error:
            self.apply(RivalHeard(WorkerId(error.worker_id), self.now_s))
            self.naive.rivals[error.worker_id].heard_s = self.now_s
            raise
        for event in events:
            self.apply(event)
        return events

    @rule(passed_s=st.sampled_from([0.0, 1.0, 4.0, 9.0, 10.0, 11.0, 50.0, 60.0, 200.0]))
    def pass_time(self, passed_s: float) -> None:
        self.now_s += passed_s
        while self.registry.next_deadline_s() <= self.now_s:
            assert self.do(Sweep())
        self.naive.pass_time(self.now_s)

    @rule(wanted=WANTED, instance=INSTANCE, endpoint=ENDPOINT, generated=GENERATED, resources=RESOURCES)
    def register(
        self, wanted: str, instance: str, endpoint: str, generated: str, resources: Resources
    ) -> None:
        command = Register(endpoint, WorkerId(generated), wanted, instance, resources)
        expected = self.naive.whose(command, self.now_s)
        *_, event = self.registry.decide(command, self.now_s)
        assert isinstance(event, WorkerRegistered)
        assert (event.worker_id, event.registration) == expected
        before = self.naive.workers.get(event.worker_id)
        if before is not None and before.status != "UNHEALTHY":  # no live worker's id is given away
            assert (instance and instance == before.instance) or endpoint == before.endpoint
        assert event.incarnation > self.highest.get(event.worker_id, 0)
        self.highest[event.worker_id] = event.incarnation
        self.do(command)
        self.naive.register(command, self.now_s)

    @rule(
        worker_id=ANY_ID,
        older=st.sampled_from([None, 0, 0, 0, 1, -1]),
        sequence=st.sampled_from([0, 1, 2, 3, 4, 15, 16]),
        resources=st.none() | RESOURCES,
        leaving=st.booleans(),
    )
    def heartbeat(
        self, worker_id: str, older: int | None, sequence: int, resources: Resources | None, leaving: bool
    ) -> None:
        worker = self.naive.workers.get(worker_id)
        incarnation = 0 if older is None or worker is None else worker.incarnation - older
        command = Heartbeat(worker_id, resources, incarnation, sequence, leaving)
        if worker is None:
            with pytest.raises(UnknownWorkerError):
                self.do(command)
        elif incarnation not in (0, worker.incarnation):
            rival = self.naive.rivals.get(worker_id)
            displaced = rival is not None and rival.incarnation == incarnation
            with pytest.raises(FencedError) as refused:
                self.do(command)
            assert isinstance(refused.value, DisplacedError) is displaced
        elif incarnation and 0 < sequence < worker.sequence - FAR_BEHIND:
            with pytest.raises(FencedError):
                self.do(command)
        else:
            events = self.do(command)
            if sequence and sequence <= worker.sequence:
                assert events == ()
                return
            changed = worker.silent_since_s is not None or worker.unheard_until_s is not None
            assert len(events) == 1 + changed + (leaving and not worker.leaving)
            worker.heard_s, worker.silent_since_s, worker.unheard_until_s = self.now_s, None, None
            worker.leaving |= leaving
            worker.sequence = (sequence if incarnation else 0) or worker.sequence
            worker.resources = resources or worker.resources

    @rule(
        worker_id=ANY_ID,
        what=st.sampled_from([Cordon, Uncordon, Drain]),
        reason=st.sampled_from(["", "", "its disk", "its fan"]),
    )
    def operate(self, worker_id: str, what: type[Cordon | Uncordon | Drain], reason: str) -> None:
        worker = self.naive.known(worker_id)
        if worker is None:
            with pytest.raises(UnknownWorkerError):
                self.do(what(worker_id))
            return
        if worker.departure and what is Drain:
            with pytest.raises(InvalidError):
                self.do(what(worker_id))
            return
        admin, default = {
            Cordon: ("CORDONED", "cordoned by an operator"),
            Uncordon: ("ACTIVE", "uncordoned by an operator"),
            Drain: ("DRAINING", "draining for an operator"),
        }[what]
        overruled = (worker.admin, admin) == ("DRAINING", "CORDONED")
        said_before = worker.admin == admin and reason in ("", worker.admin_reason)
        taken_back = (worker.admin, admin) == ("ACTIVE", "ACTIVE")
        events = self.do(what(worker_id, reason))
        if overruled or said_before or taken_back:
            assert events == ()
        else:
            assert isinstance(events[0], AdminChanged)
            worker.admin, worker.admin_reason = admin, reason or default
            if worker.departure and admin == "ACTIVE":
                self.naive.retain(worker, self.now_s)
                self.naive.evict()

    @rule(worker_id=ANY_ID, remove=st.booleans(), older=st.booleans())
    def leave(self, worker_id: str, remove: bool, older: bool) -> None:
        worker = self.naive.workers.get(worker_id)
        if worker is None:
            with pytest.raises(UnknownWorkerError):
                self.do(Remove(worker_id) if remove else Deregister(worker_id))
        elif older and worker.incarnation > 1 and not remove:
            with pytest.raises(FencedError):
                self.do(Deregister(worker_id, "", worker.incarnation - 1))
        else:
            self.do(Remove(worker_id) if remove else Deregister(worker_id, "", worker.incarnation))
            drained = worker.admin == "DRAINING"
            departure = "removed" if remove else "drained" if drained else "left"
            self.naive.leave(worker_id, departure, self.now_s)

    @rule(
        away_s=st.sampled_from([0.0, 5.0, 30.0]),
        floor=st.sampled_from([0, 0, 3, 1000]),
        grace_s=st.sampled_from([0.0, 5.0, 10.0, 25.0]),
    )
    def restart(self, away_s: float, floor: int, grace_s: float) -> None:
        """Have a new registry take up everything that is stored, after a while.

        Its floor is at least `floor`, and it waits `grace_s` for the workers that were HEALTHY.
        """
        registered = sorted(self.registry.workers(), key=lambda worker: worker.health_since_s)
        departed = sorted(self.registry.departures.workers(), key=departed_at_s)
        self.now_s += away_s
        self.start_floor = max(self.registry.incarnation_floor, floor)
        self.run_number += 1
        self.registry = self.new_registry()
        self.events = []
        before, self.naive = self.naive, Naive(TIMEOUT_S, RETENTION_S, MAX_DEPARTED)
        self.naive.floor = max(before.floor, floor)
        for worker in (*departed, *registered):
            known = replace(worker, sequence=0)
            self.apply(WorkerLoaded(worker.worker_id, self.now_s, known, self.now_s + grace_s))
            naive = before.known(worker.worker_id)
            assert naive is not None
            naive.sequence = 0
            if naive.departure:
                self.naive.departed[worker.worker_id] = naive
                self.naive.retain(naive, naive.departed_s)
            else:
                self.naive.workers[worker.worker_id] = naive
                if naive.silent_since_s is None:
                    naive.unheard_until_s = self.now_s + grace_s
            self.naive.book(worker.worker_id, naive)
        self.pass_time(0.0)

    @rule()
    def replay(self) -> None:
        """Apply the events since the start to an empty registry; they end in the same state."""
        again = self.new_registry()
        for event in self.events:
            again.apply(event)
        assert list(again.workers()) == list(self.registry.workers())
        assert list(again.departures.workers()) == list(self.registry.departures.workers())
        assert again.incarnation_floor == self.registry.incarnation_floor
        assert vars(again._ids) == vars(self.registry._ids)
        assert again.decide(Sweep(), 1e9) == self.registry.decide(Sweep(), 1e9)

    @invariant()
    def agrees(self) -> None:
        registry, naive = self.registry, self.naive
        for workers, expected in (
            (registry.workers(), naive.workers),
            (registry.departures.workers(), naive.departed),
        ):
            shown = {
                worker.worker_id: (
                    worker.endpoint, worker.instance_id, worker.wanted_id, worker.incarnation,
                    worker.last_heartbeat_s, worker.sequence, worker.resources, worker.admin,
                    worker.admin_reason, worker.status, worker.leaving_since_s is not None,
                    worker.departed.departure if worker.departed else "",
                )
                for worker in workers
            }  # fmt: skip
            assert shown == {
                worker_id: (
                    worker.endpoint, worker.instance, worker.wanted, worker.incarnation,
                    worker.heard_s, worker.sequence, worker.resources, worker.admin,
                    worker.admin_reason, worker.status, worker.leaving, worker.departure,
                )
                for worker_id, worker in expected.items()
            }  # fmt: skip
            assert list(shown) == sorted(shown)
        assert len(registry) == len(naive.workers)
        assert len(registry.departures) == len(naive.departed)
        assert registry.next_deadline_s() == naive.next_s() > self.now_s
        assert registry.incarnation_floor == naive.floor

    @invariant()
    def adds_up(self) -> None:
        stats = cluster_stats(self.registry.workers(), self.now_s)
        statuses = [worker.status for worker in self.naive.workers.values()]
        assert stats.healthy + stats.unhealthy + stats.draining == stats.total == len(self.registry)
        assert (stats.healthy, stats.unhealthy) == (statuses.count("HEALTHY"), statuses.count("UNHEALTHY"))
        assert self.registry.departures.held == sum(
            worker.admin != "ACTIVE" for worker in self.naive.departed.values()
        )
        schedulable = [worker.worker_id for worker in self.registry.schedulable_workers()]
        assert schedulable == sorted(
            worker_id for worker_id, worker in self.naive.workers.items() if worker.status == "HEALTHY"
        )


RegistryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestRegistryAgainstModel = RegistryMachine.TestCase
