"""Runs many schedules in processes of their own, which end with this one, however it ends.

Always holds: when the iterator is closed no process is left; a process gets no signal of the terminal, as
the one that started it ends it (tests/sim/test_interruption.py).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from minicloud.core.errors import MiniCloudError
from minicloud.process.child import ended
from minicloud.process.parent import death_signal
from sim.faults.schedule import Schedule
from sim.program.run import How, Run, run_one

_OF_A_TERMINAL = (signal.SIGINT, signal.SIGHUP)
_GRACE_S = 0.3


class RunDiedError(MiniCloudError):
    """A process that ran a schedule ended without a result."""


def run_many(schedules: Sequence[Schedule], how: How, jobs: int) -> Iterator[tuple[int, Run]]:
    """Run `schedules` in up to `jobs` processes; yield each run with its place among them, as they end.

    Raises `RunDiedError` if a process crashes or is killed, as for want of memory.
    """
    waiting = iter(enumerate(schedules))
    busy: dict[Connection, tuple[SpawnProcess, int]] = {}
    started: list[SpawnProcess] = []
    try:
        for place, schedule in zip(range(jobs), schedules, strict=False):
            pipe, process = _start(how, started)
            next(waiting)
            pipe.send(schedule)
            busy[pipe] = process, place
        while busy:
            for pipe in [each for each in connection.wait(list(busy)) if isinstance(each, Connection)]:
                process, place = busy.pop(pipe)
                run = _received(pipe, process, schedules[place])
                following = next(waiting, None)
                if following is None:
                    pipe.close()  # which ends the process
                else:
                    busy[pipe] = process, following[0]
                    pipe.send(following[1])
                yield place, run
    finally:
        _end(started, [*busy])


def _start(how: How, started: list[SpawnProcess]) -> tuple[Connection, SpawnProcess]:
    # Spawned, not forked: each starts from nothing, as a run of its own does.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, how))
    # It is started here, with the signals that it lets through again, before ours are held back.
    resource_tracker.ensure_running()
    # A process inherits what is blocked: a Ctrl-C that comes while it imports reaches it no more than later.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_TERMINAL)
    try:
        process.start()
        started.append(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return ours, process


def _received(pipe: Connection, process: SpawnProcess, schedule: Schedule) -> Run:
    try:
        run: Run = pipe.recv()
    except (EOFError, OSError):
        process.join()
        raise RunDiedError(
            f"the process that ran {schedule.name}, seed {schedule.seed}, ended without a result "
            f"({ended(process.exitcode)}): where memory is short, use fewer --jobs or --workers"
        ) from None
    return run


def _end(processes: Sequence[SpawnProcess], busy: Sequence[Connection]) -> None:
    for process in processes if busy else ():
        process.terminate()
    for pipe in busy:
        pipe.close()
    for process in processes:
        process.join(_GRACE_S if busy else None)
        if process.exitcode is None:
            process.kill()
            process.join()


def _serve(pipe: Connection, how: How) -> None:
    """Run every schedule that arrives on `pipe`, in this process, until it is closed."""
    if (request := death_signal()) is not None:
        request()
    if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
        os._exit(1)
    with suppress(EOFError, OSError):  # the parent has what it wants
        while True:
            pipe.send(run_one(pipe.recv(), how))
