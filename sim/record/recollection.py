"""The last calls and other events of each node, from which a violation is drawn.

Always holds: its size is bounded, over all nodes together; once `moment` has been taken, it stays
(tests/sim/test_record.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from sim.record.last_calls import LastCalls
from sim.record.record import Mark, Moment
from sim.verdict.outcome import Violation

_KEPT = 30_000  # calls of all nodes together
_FEWEST, _MOST = 2, 48  # of one node
_MARKS = 12  # of one node

_DRAWN_NODES = 5
_DRAWN_EXCHANGES = 28
_DRAWN_MARKS = 40


class Recollection:
    """The recollection of a run with `workers` workers."""

    def __init__(self, workers: int) -> None:
        self.moment: Moment | None = None
        self.calls = LastCalls(max(_FEWEST, min(_MOST, _KEPT // max(1, workers))))
        self._marks: dict[str, deque[Mark]] = {}
        self._machines: dict[str, deque[str]] = {}  # that went by an id, the last ones

    def mark(self, node: str, at_s: float, text: str, place: str = "") -> None:
        """Note an event, other than a call, that concerns `node`, at `place`, by default at itself."""
        if self.moment is None:
            self._marks.setdefault(node, deque(maxlen=_MARKS)).append(Mark(at_s, place or node, text))

    def goes_by(self, machine: str, worker_id: str) -> None:
        """Note that `machine` has been given `worker_id`."""
        machines = self._machines.setdefault(worker_id, deque(maxlen=4))
        if machine not in machines:
            machines.append(machine)

    def machines(self, worker_id: str) -> tuple[str, ...]:
        """The machines that had that id, the latest last; the id itself if none had."""
        return tuple(self._machines.get(worker_id, (worker_id,)))

    def take(self, violation: Violation) -> None:
        """Keep the events around `violation`, the first one, and forget all others."""
        nodes = self._concerned(violation)
        exchanges = sorted(
            (exchange for node in nodes for exchange in self.calls.of(node)),
            key=lambda exchange: exchange.sent_s,
        )
        before = [exchange for exchange in exchanges if exchange.sent_s <= violation.at_s]
        after = [exchange for exchange in exchanges if exchange.sent_s > violation.at_s]
        drawn = before[-_DRAWN_EXCHANGES * 3 // 4 :]
        drawn += after[: _DRAWN_EXCHANGES - len(drawn)]
        from_s = min((exchange.sent_s for exchange in drawn), default=0.0)
        marks = sorted(
            {mark for node in nodes for mark in self._marks.get(node, ()) if mark.at_s >= from_s},
        )
        # As they are now: calls go on, the moment is over.
        taken = tuple(replace(exchange, steps=list(exchange.steps)) for exchange in drawn)
        self.moment = Moment(violation, taken, tuple(marks[-_DRAWN_MARKS:]))
        self._marks.clear()

    def _concerned(self, violation: Violation) -> list[str]:
        """The violation's node under all its names; if it sent nothing, the nodes that sent last before."""
        named = [node for node in self.machines(violation.node) if self.calls.of(node)]
        if named:
            return list(dict.fromkeys([*named, violation.node]))
        spoke: list[tuple[float, str]] = []
        for node in self.calls.clients():
            sent = [exchange.sent_s for exchange in self.calls.of(node)]
            last_s = max((at_s for at_s in sent if at_s <= violation.at_s), default=-1.0)
            spoke.append((-last_s, node))
        spoke.sort()
        return [violation.node, *(node for _, node in spoke[:_DRAWN_NODES])]
