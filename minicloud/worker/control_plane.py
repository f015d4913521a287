"""What a worker asks of a control plane, whatever carries it.

`Agent` knows this port alone: `ControlPlaneClient` fills it over gRPC, tests and the simulator in memory.
Figures an old control plane does not send are 0 or empty here, as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.errors import MiniCloudError
from minicloud.core.model import Resources, Status


class ControlPlaneError(MiniCloudError):
    """A call came to nothing: no answer in time, no connection, or a gRPC error for an answer."""


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What a worker says when it registers. `worker_id` is the wanted id, empty for any."""

    worker_id: str
    endpoint: str
    resources: Resources
    metadata: Mapping[str, str] = field(default_factory=dict)
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """`worker_id` is the id given, `error` why there is none. An interval of 0 is one left to the worker."""

    registered: bool
    worker_id: str = ""
    incarnation: int = 0
    heartbeat_interval_s: float = 0.0
    error: str = ""


class HeartbeatAnswer(NamedTuple):
    """`action` is what the worker is told to do; None for a status stands for one this version cannot read.
    `next_heartbeat_s` of 0 says nothing."""

    acknowledged: bool
    action: str = ""
    expected_status: Status | None = Status.HEALTHY
    next_heartbeat_s: float = 0.0
    error: str = ""


class ControlPlaneApi(Protocol):
    """One control plane, or several of which one at a time is in use. They are tried in the order in which
    they were named.

    Every call answers, or raises `ControlPlaneError`, within `timeout_s`.
    """

    @property
    def address(self) -> str:
        """Who answers calls, or is tried first: for a person to read."""
        ...

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        """Ask to be a member. A refusal is an answer, not an error."""
        ...

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        """Say that this worker is there."""
        ...

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        """Leave. False where no control plane has such a member (any more)."""
        ...

    def renew(self) -> None:
        """Have later calls use new connections: the present ones may lead nowhere."""
        ...

    # With several control planes

    @property
    def away(self) -> bool:
        """True while the one in use is not the first that was named."""
        ...

    async def look_back(self, timeout_s: float) -> bool:
        """Use one that was named before the one in use, if it answers; True if one did."""
        ...

    async def leave_other(self, address: str, leave: Deregister, timeout_s: float) -> None:
        """Leave the control plane at `address`, which is not in use any more."""
        ...
