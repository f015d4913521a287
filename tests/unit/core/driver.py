"""A `Driver` drives a registry in membership's way: sweep first, then decide, then apply."""

from __future__ import annotations

from minicloud.core.commands import Command, Heartbeat, Register, Sweep
from minicloud.core.events import Event, RegistrationOutcome, WorkerRegistered
from minicloud.core.liveness.policy import LivenessPolicy
from minicloud.core.model import Resources, Worker, WorkerId
from minicloud.core.registry import Registry

TIMEOUT_S = 120.0
RETENTION_S = 24 * 3600.0
POLICY = LivenessPolicy(heartbeat_timeout_s=TIMEOUT_S, retention_s=RETENTION_S)


class Driver:
    """A `Driver` has `registry` at the instant `now_s`, which the test moves; `events` is everything that
    happened."""

    def __init__(self, incarnation_floor: int = 0) -> None:
        self.registry = Registry(POLICY, incarnation_floor)
        self.now_s = 1000.0
        self.events: list[Event] = []

    def sweep(self) -> tuple[Event, ...]:
        """Carry out everything that is due now, and return the events."""
        return self._carry_out(Sweep())

    def do(self, command: Command) -> tuple[Event, ...]:
        """Carry out `command` now, and return its events."""
        self.sweep()
        return self._carry_out(command)

    def _carry_out(self, command: Command) -> tuple[Event, ...]:
        events = self.registry.decide(command, self.now_s)
        for event in events:
            self.registry.apply(event)
        self.events.extend(events)
        return events

    def register(
        self,
        wanted: str = "",
        *,
        instance: str = "",
        endpoint: str = "",
        generated: str = "generated",
        resources: Resources | None = None,
        metadata: dict[str, str] | None = None,
    ) -> WorkerRegistered:
        """Register, and return the event of the registration."""
        *_, event = self.do(
            Register(
                endpoint or f"{instance or '10.0.0.7'}:9091",  # each installation has an endpoint of its own
                WorkerId(generated),
                wanted,
                instance,
                resources or Resources(),
                metadata if metadata is not None else {},
            )
        )
        assert isinstance(event, WorkerRegistered)
        return event

    def give(self, wanted: str = "", **about: str) -> tuple[str, RegistrationOutcome, int]:
        """Register, and return the id given, the kind of registration, and the incarnation."""
        event = self.register(
            wanted,
            instance=about.get("instance", ""),
            endpoint=about.get("endpoint", ""),
            generated=about.get("generated", "generated"),
        )
        return event.worker_id, event.registration, event.incarnation

    def heartbeat(self, worker_id: str, **rest: int) -> tuple[Event, ...]:
        """Send a heartbeat now. `incarnation` and `sequence` are as given, else 0; a heartbeat with a
        sequence is of the present incarnation unless it names another."""
        sequence = rest.get("sequence", 0)
        worker = self.registry.get(worker_id)
        incarnation = rest.get("incarnation", worker.incarnation if worker and sequence else 0)
        return self.do(Heartbeat(worker_id, None, incarnation, sequence, bool(rest.get("leaving", 0))))

    def fall_silent(self) -> None:
        """Let all leases run out."""
        self.now_s += TIMEOUT_S
        self.sweep()

    def worker(self, worker_id: str) -> Worker:
        worker = self.registry.get(worker_id)
        assert worker is not None
        return worker

    def ids(self) -> list[str]:
        return [worker.worker_id for worker in self.registry.workers()]
