"""How a program ends on SIGTERM and SIGINT: in order after the first, at once after a second."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
import trio

ENDING = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger()


async def until_signalled(signals: AsyncIterator[int], stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for a first signal and `stop`; a second one, until this is cancelled, ends the process at once."""
    first = await anext(signals)
    log.info("stopping", signal=signal.Signals(first).name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_at_once_when_signalled, signals)
        await stop()


async def _end_at_once_when_signalled(signals: AsyncIterator[int]) -> None:
    second = await anext(signals)
    log.warning("ended_at_once", signal=signal.Signals(second).name)
    os._exit(128 + second)
