"""The registry decides what a command does, and holds the state that follows.

`decide(command, now_s)` returns events or raises, and changes nothing. `apply(event)` alone changes state,
and replays stored events too.

Always holds (`tests/unit/core/test_registry_model.py`): healthy + unhealthy + draining = registered; a worker
has a lease exactly while its health is HEALTHY; an id is registered or departed, never both; incarnations of
an id only rise, also over its departure, and each new one is above the floor.

Callers sweep before they decide or read, if `next_deadline_s` has come (DESIGN 9).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from minicloud.core.commands import (
    MAX_REASON_CHARS,
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
from minicloud.core.errors import (
    DisplacedError,
    FencedError,
    InvalidError,
    LimitError,
    UnknownWorkerError,
)
from minicloud.core.events import (
    AdminChanged,
    DepartureExpired,
    Event,
    LeaseExpired,
    LeaseRenewed,
    RegistrationOutcome,
    WorkerDeparted,
    WorkerHeard,
    WorkerLeaving,
    WorkerRecovered,
    WorkerRegistered,
)
from minicloud.core.liveness.detector import Expired
from minicloud.core.liveness.policy import MAX_REMEMBERED, LivenessPolicy
from minicloud.core.model import Admin, Departure, Health, Worker, WorkerId
from minicloud.core.state import ADMIN_REASONS, RegistryState

DEFAULT_MAX_WORKERS = 50_000  # some 250 MB where every worker sends as much metadata as it may
# Cordoned workers that have departed are remembered until an operator uncordons them (DESIGN 13). The limit
# keeps an operator's script that goes wrong from filling the memory.
MAX_HELD = 65_536
# A heartbeat of the current incarnation that is this far behind the last one counted is not late: another
# sender moved the sequence (DESIGN 64).
FAR_BEHIND = 10

_NO_EVENTS: tuple[Event, ...] = ()


class Registry(RegistryState):
    """A `Registry` decides what commands do to its state.

    `max_workers` bounds the registered workers. `RegistryState` describes the other parameters.
    """

    def __init__(
        self,
        policy: LivenessPolicy = LivenessPolicy(),
        incarnation_floor: int = 0,
        *,
        run: int = 0,
        max_workers: int = DEFAULT_MAX_WORKERS,
        max_departed: int = MAX_REMEMBERED,
    ) -> None:
        super().__init__(policy, incarnation_floor, run=run, max_departed=max_departed)
        self._max_workers = max_workers

    def decide(self, command: Command, now_s: float) -> tuple[Event, ...]:
        """Return the events that carry `command` out at `now_s`, none if nothing changes.

        Raises `UnknownWorkerError` for an id that is not registered, `FencedError` for a message of an older
        incarnation (`DisplacedError` if another installation took its id), `InvalidError` for a command that
        the present state rules out, and `LimitError` for one worker too many.
        """
        match command:  # the most frequent one first
            case Heartbeat():
                return self._decide_heartbeat(command, now_s)
            case Register():
                return self._decide_register(command, now_s)
            case Deregister():
                return self._decide_deregister(command, now_s)
            case Cordon():
                return self._decide_cordon(command, now_s)
            case Uncordon():
                return self._decide_uncordon(command, now_s)
            case Drain():
                return self._decide_drain(command, now_s)
            case Remove():
                return self._decide_remove(command, now_s)
            case Sweep():
                return self._decide_sweep(command, now_s)
            case _:
                assert_never(command)

    def _decide_heartbeat(self, command: Heartbeat, now_s: float) -> tuple[Event, ...]:
        worker_id, resources, incarnation, sequence, leaving = command
        worker = self._addressed(worker_id, incarnation)
        if sequence and sequence <= worker.sequence:
            if incarnation and sequence < worker.sequence - FAR_BEHIND:
                raise FencedError(
                    f"heartbeat {sequence} of worker {worker_id!r} is far behind {worker.sequence}, "
                    "which was counted last: register again"
                )
            return _NO_EVENTS
        if not incarnation:
            sequence = 0  # without an incarnation any sender could move the sequence (DESIGN 64)
        renewed = LeaseRenewed(worker.worker_id, now_s, sequence, resources)
        if worker.health is Health.HEALTHY and worker.heard_run == self._run and not leaving:
            return (renewed,)
        events: list[Event] = []
        if worker.health is Health.UNHEALTHY:
            silence_s = now_s - worker.last_heartbeat_s
            reason = f"heartbeat after {silence_s:.0f} s of silence"
            events.append(WorkerRecovered(worker.worker_id, now_s, reason))
        elif worker.heard_run != self._run:
            events.append(WorkerHeard(worker.worker_id, now_s))
        if leaving and worker.leaving_since_s is None:
            events.append(WorkerLeaving(worker.worker_id, now_s))
        return (*events, renewed)

    def _decide_register(self, command: Register, now_s: float) -> tuple[Event, ...]:
        worker_id, registration = self._ids.assign(command, self.known, now_s)
        before = self.known(worker_id)
        replaced = self._ids.replaced(command, worker_id, self.known)
        if worker_id not in self._workers and len(self._workers) - len(replaced) >= self._max_workers:
            raise LimitError(
                f"{self._max_workers} workers are registered, which is the limit: raise --max-workers, or "
                "remove workers that are gone"
            )
        wanted_id = command.worker_id
        returning = registration in (RegistrationOutcome.AGAIN, RegistrationOutcome.RETURNED)
        if returning and before is not None and wanted_id in ("", worker_id):
            # The worker uses the id it got; after a restart its configuration has the wanted one again.
            wanted_id = before.wanted_id or wanted_id
        earlier = [*replaced, *([before] if before is not None else [])]
        last_incarnation = max(self._incarnation_floor, 0, *(each.incarnation for each in earlier))
        # A cordon or a drain stays with the id, and with an installation that registers under another id.
        held = [each for each in reversed(earlier) if each.admin is not Admin.ACTIVE]
        administered = held[0] if held else before
        departed = [
            WorkerDeparted(each.worker_id, now_s, Departure.REPLACED, f"registered again as {worker_id}")
            for each in replaced
        ]
        registered = WorkerRegistered(
            worker_id,
            now_s,
            last_incarnation + 1,
            registration,
            command.endpoint,
            command.instance_id,
            wanted_id,
            command.resources,
            dict(command.metadata),
            administered.admin if administered is not None else Admin.ACTIVE,
            administered.admin_reason if administered is not None else "",
            administered.admin_since_s if administered is not None else now_s,
        )
        return (*departed, *self._evictions(len(departed), now_s), registered)

    def _decide_deregister(self, command: Deregister, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id, command.incarnation)
        departure = Departure.DRAINED if worker.admin is Admin.DRAINING else Departure.LEFT
        reason = command.reason[:MAX_REASON_CHARS] or departure.value
        event = WorkerDeparted(worker.worker_id, now_s, departure, reason)
        return (event, *self._evictions(1, now_s))

    def _decide_cordon(self, command: Cordon, now_s: float) -> tuple[Event, ...]:
        worker = self._administered(command.worker_id)
        if worker.admin is Admin.DRAINING:
            return _NO_EVENTS
        return self._admin_changed(worker, now_s, Admin.CORDONED, command.reason)

    def _decide_uncordon(self, command: Uncordon, now_s: float) -> tuple[Event, ...]:
        worker = self._administered(command.worker_id)
        if worker.admin is Admin.ACTIVE:
            return _NO_EVENTS
        changed = self._admin_changed(worker, now_s, Admin.ACTIVE, command.reason)
        return (*changed, *self._evictions(1, now_s)) if worker.departed is not None else changed

    def _decide_drain(self, command: Drain, now_s: float) -> tuple[Event, ...]:
        worker = self._administered(command.worker_id)
        if worker.departed is not None:
            raise InvalidError(
                f"worker {worker.worker_id!r} is OFFLINE and has nothing to drain: cordon it instead"
            )
        return self._admin_changed(worker, now_s, Admin.DRAINING, command.reason)

    def _decide_remove(self, command: Remove, now_s: float) -> tuple[Event, ...]:
        worker = self._addressed(command.worker_id)
        reason = command.reason or "removed by an operator"
        event = WorkerDeparted(worker.worker_id, now_s, Departure.REMOVED, reason)
        return (event, *self._evictions(1, now_s))

    def _decide_sweep(self, _: Sweep, now_s: float) -> tuple[Event, ...]:
        events: list[Event] = [
            LeaseExpired(WorkerId(worker_id), due_s, reason)
            if isinstance(verdict, Expired)
            else WorkerDeparted(WorkerId(worker_id), due_s, Departure.FORGOTTEN, reason)
            for verdict in self._detector.due(now_s)
            for worker_id, due_s, reason in (verdict,)
        ]
        events.extend(
            DepartureExpired(WorkerId(worker_id), due_s) for worker_id, due_s in self._departures.due(now_s)
        )
        return tuple(events)

    def _evictions(self, added: int, now_s: float) -> Iterator[Event]:
        """Yield the events that make room for `added` more departed workers."""
        for worker_id in self._departures.excess(added):
            yield DepartureExpired(WorkerId(worker_id), now_s)

    def _admin_changed(self, worker: Worker, now_s: float, admin: Admin, reason: str) -> tuple[Event, ...]:
        """Return the change of the admin state of `worker`, none if state and reason stay the same."""
        if worker.admin is admin and reason in ("", worker.admin_reason):
            return _NO_EVENTS
        if admin is not Admin.ACTIVE and self._departures.held >= MAX_HELD:
            raise LimitError(
                f"{MAX_HELD} departed workers are cordoned, which is the limit: uncordon some "
                "(minicloud workers --status offline lists them)"
            )
        return (AdminChanged(worker.worker_id, now_s, admin, reason or ADMIN_REASONS[admin]),)

    def _administered(self, worker_id: str) -> Worker:
        worker = self.known(worker_id)
        if worker is None:
            raise UnknownWorkerError(f"no worker {worker_id[:140]!r} is registered")
        return worker

    def _addressed(self, worker_id: str, incarnation: int = 0) -> Worker:
        worker = self._workers.get(WorkerId(worker_id))
        if worker is None:
            raise UnknownWorkerError(f"no worker {worker_id[:140]!r} is registered")
        if incarnation and incarnation != worker.incarnation:
            text = (
                f"worker {worker_id!r} is registered in incarnation {worker.incarnation}, "
                f"this message is of {incarnation}: register again"
            )
            if self._ids.is_displaced(worker.worker_id, incarnation):
                raise DisplacedError(text, worker_id)
            raise FencedError(text)
        return worker
