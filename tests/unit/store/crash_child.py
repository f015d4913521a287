"""This process stores changes and prints the id of each one it would acknowledge, until it is killed.

`test_kill.py` runs it: `python -m tests.unit.store.crash_child FILE [LARGEST_FILE_BYTES]`. Several tasks
append and wait at once, as the control plane's calls do. Each change follows from its event id alone.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import trio

from minicloud.core.errors import StoreUnavailableError
from minicloud.log import configure
from minicloud.store.port import Change
from minicloud.store.sqlite.store import SqliteStore
from tests.unit.store.changes import gone, kept

TASKS = 8
WORKERS = 50


def change(event_id: int) -> Change:
    """Return the change of that number: in every third one, a worker leaves."""
    worker_id = f"worker-{event_id % WORKERS}"
    return gone(event_id, worker_id, event_id) if event_id % 3 == 0 else kept(event_id, worker_id, event_id)


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


async def main(path: Path) -> None:
    store = SqliteStore(path)
    last_event_id = (await store.load()).last_event_id

    async def work() -> None:
        nonlocal last_event_id
        while True:
            last_event_id += 1
            mine = last_event_id
            store.append(change(mine))
            await store.flushed()
            os.write(1, b"%d\n" % mine)  # past Python's buffer, so that every acknowledgement is out

    configure("critical")  # the test reads standard error
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for _ in range(TASKS):
            nursery.start_soon(work)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        trio.run(main, Path(sys.argv[1]))
    except ExceptionGroup as group:
        # `except*` would not do: before Python 3.11.4 an error raised in it comes in a group.
        failures = group.subgroup(StoreUnavailableError)
        if failures is None:
            raise
        sys.exit(f"not acknowledged: {next(leaves(failures))}")
