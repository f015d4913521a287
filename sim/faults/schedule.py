"""A schedule: everything that is to happen in one run, with nothing left to chance but delays.

What `expand` makes of a scenario and a seed, what `--replay` reads, what `--shrink` cuts down. Written as
JSON it repeats the run without the scenario's file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from minicloud.core.errors import MiniCloudError
from sim.cluster.topology import Topology


class ScheduleError(MiniCloudError):
    """A schedule that cannot be read."""


# The options of a fault, by the names that schedules have.
Options = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Phases:
    """The lengths of the phases in seconds: forming the cluster, faults, and coming to rest before the
    final check."""

    setup_s: float
    chaos_s: float
    check_s: float

    @property
    def heal_s(self) -> float:
        """The time at which every fault has ended."""
        return self.setup_s + self.chaos_s

    @property
    def end_s(self) -> float:
        return self.setup_s + self.chaos_s + self.check_s


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `kind` on `nodes` from `at_s` (since the start of the run) for `for_s` seconds.

    `for_s` is 0 for a fault without an end, such as a lost connection. `options` are those of the kind.
    """

    kind: str
    at_s: float
    nodes: tuple[str, ...]
    for_s: float = 0.0
    options: Options = field(default_factory=dict)

    @property
    def end_s(self) -> float:
        return self.at_s + self.for_s


@dataclass(frozen=True, slots=True)
class Schedule:
    """One run. `probes` are its coverage goals; the name is that of the key in files."""

    name: str
    seed: int
    topology: Topology
    phases: Phases
    faults: tuple[Fault, ...]
    probes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @classmethod
    def from_json(cls, data: bytes) -> Schedule:
        """Decode a schedule. Raises `ScheduleError` for anything that `to_json` has not written."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ScheduleError(f"not a schedule: {error}") from None

    def with_faults(self, faults: tuple[Fault, ...]) -> Schedule:
        return replace(self, faults=faults)
