"""This module moves a worker back to a control plane that was named before the one in use (DESIGN 55).

Without it, one slow answer would move a worker for good to the control plane named second, and the first
would show it as UNHEALTHY.
"""

from __future__ import annotations

import structlog
import trio

from minicloud.clock import Clock
from minicloud.core.commands import Deregister
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.control_plane import ControlPlaneApi, ControlPlaneError

_REASON = "went back to another control plane"

log = structlog.get_logger()


class Returning:
    """This asks once an interval whether an earlier control plane answers, while a later one is in use.

    Once the worker is registered there, it leaves the later one. `membership` is its id and incarnation.
    """

    def __init__(self, control_plane: ControlPlaneApi, config: AgentConfig, clock: Clock) -> None:
        self._control_plane = control_plane
        self._timeout_s = config.call_timeout_s
        self._clock = clock
        self._looking = False
        self._stopped = False
        self._membership = ("", 0)
        # The address of a control plane, and the call that ends the membership there.
        self._left_behind: tuple[str, Deregister] | None = None

    def look_back(self, nursery: trio.Nursery, membership: tuple[str, int], interval_s: float) -> None:
        """Begin to look, if that has not begun, as a later control plane has acknowledged a heartbeat."""
        self._membership = membership
        if not self._looking:
            self._looking = True
            nursery.start_soon(self._look_back, interval_s)

    def registered(self, nursery: trio.Nursery, incarnation: int) -> None:
        """Leave the control plane that the worker came back from.

        Two control planes may share one registry, in which the same incarnation is the same membership.
        """
        left_behind, self._left_behind = self._left_behind, None
        if left_behind is not None and left_behind[1].incarnation != incarnation:
            nursery.start_soon(self._leave, *left_behind)

    def stop(self) -> None:
        """Stay with the control plane in use, as a worker that ends registers nowhere else."""
        self._stopped = True

    async def _look_back(self, interval_s: float) -> None:
        while self._control_plane.away:
            await self._clock.sleep_until(self._clock.monotonic_s() + interval_s)
            if self._stopped:
                return
            address = self._control_plane.address
            if await self._control_plane.look_back(self._timeout_s):
                worker_id, incarnation = self._membership
                self._left_behind = (address, Deregister(worker_id, _REASON, incarnation))
        self._looking = False

    async def _leave(self, address: str, command: Deregister) -> None:
        try:
            await self._control_plane.leave_other(address, command, self._timeout_s)
        except ControlPlaneError as error:
            log.debug("other_control_plane_not_left", control_plane=address, error=str(error))
