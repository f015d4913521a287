"""A program ends on SIGTERM, SIGINT and SIGHUP: in order after the first signal, at once after the second."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import structlog
import trio

from minicloud.log import flush

# The same signal within this time is the first one again (DESIGN 36).
_ECHO_S = 0.1

log = structlog.get_logger()


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a program. SIGHUP, which a closed terminal sends, is not one of them where
    it is ignored: nohup(1) has started the program then."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hang_up)


class EndingSignals:
    """Iterate over the signals of a process without their echoes: a repeat within 100 ms is left out (DESIGN
    36)."""

    def __init__(self, signals: AsyncIterator[int]) -> None:
        self._signals = signals
        self._heard_s: dict[int, float] = {}

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        async for number in self._signals:
            now_s = trio.current_time()
            if now_s - self._heard_s.get(number, -_ECHO_S) >= _ECHO_S:
                self._heard_s[number] = now_s
                return number
        raise StopAsyncIteration


async def until_signalled(signals: AsyncIterator[int], stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for a first signal and run `stop`. A second signal before its end ends the process at once."""
    signals_without_echoes = EndingSignals(signals)
    first = await anext(signals_without_echoes)
    log.info("stopping", signal=signal.Signals(first).name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_at_once_at_the_second, signals_without_echoes)
        await stop()


async def _end_at_once_at_the_second(signals_without_echoes: EndingSignals) -> None:
    second = await anext(signals_without_echoes)
    log.warning("ended_at_once", signal=signal.Signals(second).name)
    flush()
    os._exit(128 + second)
