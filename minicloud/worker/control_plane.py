"""This module is the port by which a worker calls a control plane.

`Agent` imports this port alone: `ControlPlaneClient` implements it over gRPC, tests and the simulator in
memory. Figures that an old control plane does not send are 0 or empty here, as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.errors import MiniCloudError
from minicloud.core.model import Resources, Status


class ControlPlaneError(MiniCloudError):
    """A call failed: there was no answer in time, no connection, or a gRPC error."""


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """This is the content of a registration. `worker_id` is the wanted id, empty for any."""

    worker_id: str
    endpoint: str
    resources: Resources
    metadata: Mapping[str, str] = field(default_factory=dict)
    instance_id: str = ""


@dataclass(frozen=True, slots=True)
class RegisterAnswer:
    """`worker_id` is the id given, `error` the reason for a refusal. An interval of 0 leaves it to the
    worker."""

    registered: bool
    worker_id: str = ""
    incarnation: int = 0
    heartbeat_interval_s: float = 0.0
    error: str = ""


class HeartbeatAnswer(NamedTuple):
    """`action` is the control plane's order; a status of None is one that this version does not know. A
    `next_heartbeat_s` of 0 leaves the interval as it is."""

    acknowledged: bool
    action: str = ""
    expected_status: Status | None = Status.HEALTHY
    next_heartbeat_s: float = 0.0
    error: str = ""


class ControlPlaneApi(Protocol):
    """This is one control plane, or several of which one at a time is in use. They are tried in the order in
    which they were named.

    Every call answers, or raises `ControlPlaneError`, within `timeout_s`.
    """

    @property
    def address(self) -> str:
        """Return the address of the control plane in use, for people."""
        ...

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        """Register. A refusal is an answer, not an error."""
        ...

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        """Send a heartbeat."""
        ...

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        """Leave. Return False where no control plane has such a worker (any more)."""
        ...

    def renew(self) -> None:
        """Have later calls use new connections, as the present ones may be dead."""
        ...

    # With several control planes

    @property
    def away(self) -> bool:
        """Return True while the control plane in use is not the first that was named."""
        ...

    async def look_back(self, timeout_s: float) -> bool:
        """Use a control plane that was named before the one in use, if it answers. Return True if one did."""
        ...

    async def leave_other(self, address: str, leave: Deregister, timeout_s: float) -> None:
        """Leave the control plane at `address`, which is no longer in use."""
        ...
