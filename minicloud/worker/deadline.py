"""This module limits the time of a wait, on the clock of its owner.

Trio's own timeouts run on Trio's clock, which is not the clock of a simulated machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from minicloud.clock import Clock


async def in_time(clock: Clock, deadline_s: float, wait: Callable[[], Awaitable[None]]) -> bool:
    """Await `wait()`, cancelled at `deadline_s` of `clock`. Return True if it returned before."""
    done = False

    async def give_up() -> None:
        await clock.sleep_until(deadline_s)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        await wait()
        done = True
        nursery.cancel_scope.cancel()
    return done
