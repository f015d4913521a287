"""Work on many items, on some of them at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

T = TypeVar("T")


async def in_parallel(at_once: int, work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Do `work` on each of `items`, in their order, on up to `at_once` at a time."""
    left = iter(items)

    async def go_on() -> None:
        for item in left:
            await work(item)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(go_on)
