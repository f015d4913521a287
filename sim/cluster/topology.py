"""The description of a simulated cluster: the number of its machines, their network and their clocks."""

from __future__ import annotations

from dataclasses import dataclass, field

from minicloud.core.liveness.policy import LivenessPolicy
from sim.net.depths import DepthName
from sim.net.network import LAN, Delay

CONTROL_PLANE = "control-plane"


@dataclass(frozen=True, slots=True)
class Topology:
    """The machines of a cluster and the network between them. Times in seconds.

    Worker `i` is `worker-<i>`, in zone `i mod len(zones)`. The last `duplicates` workers want the ids of the
    first ones. Workers start at moments spread over `ramp_s`. Clocks are off by up to `clock_offset_s` and
    run wrong by up to `clock_drift` (a fraction: 1e-4 is 100 ppm, a bad quartz). `depth` is what crosses the
    network: serialized messages, or bytes of the whole gRPC stack.
    """

    workers: int = 50
    zones: tuple[str, ...] = ("a", "b", "c")
    duplicates: int = 0
    ramp_s: float = 5.0
    clock_offset_s: float = 10_000.0
    clock_drift: float = 0.0
    delay: Delay = LAN
    service_time: Delay = field(default_factory=lambda: Delay(0.00005, 0.0002))
    timers: LivenessPolicy = field(default_factory=LivenessPolicy)
    depth: DepthName = "messages"

    @property
    def worker_names(self) -> list[str]:
        """The names of all workers' machines, by number."""
        return [f"worker-{number}" for number in range(self.workers)]

    def zone_of(self, number: int) -> str:
        """The zone of a worker."""
        return self.zones[number % len(self.zones)]
