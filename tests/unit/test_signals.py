"""A signal that comes twice is one request to end if it comes at once, and two otherwise (DESIGN 36)."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Sequence

import trio
from trio.testing import MockClock

from minicloud.app.signals import EndingSignals

TERM, INT = signal.SIGTERM, signal.SIGINT


async def arriving(*signals: tuple[float, signal.Signals]) -> AsyncIterator[int]:
    for at_s, number in signals:
        await trio.sleep_until(at_s)
        yield number


async def heard(*signals: tuple[float, signal.Signals]) -> Sequence[int]:
    return [number async for number in EndingSignals(arriving(*signals))]


async def test_signal_that_comes_twice_at_once_is_one_telling(autojump_clock: MockClock) -> None:
    assert await heard((1.0, TERM), (1.001, TERM), (1.09, TERM)) == [TERM]


async def test_signal_that_comes_again_later_is_another(autojump_clock: MockClock) -> None:
    assert await heard((1.0, TERM), (1.05, TERM), (1.1, TERM)) == [TERM, TERM]


async def test_other_signal_is_another_telling_however_soon(autojump_clock: MockClock) -> None:
    assert await heard((0.0, TERM), (0.0, INT)) == [TERM, INT]
