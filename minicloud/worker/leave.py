"""This module makes the last call of a worker, and repeats it until it is acknowledged or its time is
over."""

from __future__ import annotations

from random import Random

from minicloud.clock import Clock
from minicloud.core.commands import Deregister
from minicloud.net.backoff import Backoff
from minicloud.worker.control_plane import ControlPlaneApi, ControlPlaneError
from minicloud.worker.deadline import in_time

# These are short: the whole leave has some seconds, and a control plane that restarts is back within them.
_BETWEEN_TRIES = Backoff(initial_s=0.2, max_s=1.0)

# The least time for one try, so that the last tries can succeed.
_LEAST_TRY_S = 1.0


async def leave(
    control_plane: ControlPlaneApi, command: Deregister, deadline_s: float, clock: Clock, random: Random
) -> str:
    """Deregister by `deadline_s` of `clock`. Return the error; empty if there was none.

    A try takes half of the time left, so that a dead connection leaves time for a new one. The answer that
    there is no such worker means success after a try that may have been carried out.
    """
    problem = "no answer in time"

    async def attempt() -> None:
        nonlocal problem
        tries = 0
        while True:
            left_s = deadline_s - clock.monotonic_s()
            try:
                known = await control_plane.deregister(command, max(left_s / 2, min(left_s, _LEAST_TRY_S)))
            except ControlPlaneError as error:
                problem = str(error)
            else:
                problem = "" if known or tries else "the control plane knows no such member"
                return
            control_plane.renew()
            await clock.sleep_until(clock.monotonic_s() + _BETWEEN_TRIES.delay_s(tries, random))
            tries += 1

    await in_time(clock, deadline_s, attempt)
    return problem
