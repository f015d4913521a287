"""Makes Trio repeatable: the same seed gives the same order of everything, in every process.

Trio shuffles each batch of runnable tasks. Here a batch is sorted first, by a flag of Trio's that exists for
hypothesis, and shuffled by a seeded generator: so the order depends on the seed alone.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, MutableSequence
from contextlib import ExitStack
from random import Random
from typing import Any, NoReturn, TypeVar

import trio
import trio._core._run as _run

from minicloud.core.errors import MiniCloudError
from sim.engine.interruption import Interrupted, given_up_by
from sim.engine.purity import Purity
from sim.engine.timeline import Timeline

T = TypeVar("T")

_FLAG = "_ALLOW_DETERMINISTIC_SCHEDULING"
_GARBAGE = 5_000_000  # objects more than there were, before the collector looks; nearly all are no garbage


class _Order(Random):
    """Draws an order for batches of more than one task."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        if len(x) > 1:
            super().shuffle(x)


class _IdleIO:
    """Replaces Trio's I/O: it is polled only where Trio would wait, as nothing in a simulation does I/O."""

    def __init__(self, io: Any) -> None:
        self._io = io
        self.process_events = io.process_events

    def get_events(self, timeout_s: float) -> Any:
        return self._io.get_events(timeout_s) if timeout_s > 0 else ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)

    def fail(self, error: BaseException) -> None:
        """Raise `error` in Trio's loop before another task has its turn."""

        def fail(events: object) -> NoReturn:
            raise error

        # Looking for a flag would cost every turn of the loop something.
        self.process_events = fail


class UnsupportedTrioError(MiniCloudError):
    """This version of Trio lacks what makes its scheduling repeatable."""


# Trio's runners that were given up, and through them all their tasks. A task that is freed runs its `finally`
# blocks, outside Trio, and prints what fails there.
_given_up: list[_run.Runner] = []


def left_behind() -> bool:
    """True if this process holds tasks of a run that was given up: then it must end without freeing them."""
    return bool(_given_up)


def run_virtually(main: Callable[[], Awaitable[T]], timeline: Timeline, seed: int) -> T:
    """Run `main` with `timeline` as the clock; return its result, or raise its error.

    Raises `UnsupportedTrioError` where Trio's scheduler cannot be made repeatable. During the run nothing of
    MiniCloud or the simulator can read a real clock, draw from an unseeded generator, or open a socket (see
    `purity`). A signal ends the run with `Interrupted` (see `interruption`): the run is given up as it
    stands, as Trio's own delivery of a Ctrl-C needs sockets that are not polled here, and cancelling many
    thousand tasks takes seconds (DESIGN 57).
    """
    if not isinstance(getattr(_run, "_r", None), Random) or not hasattr(_run, _FLAG):
        raise UnsupportedTrioError(f"Trio {trio.__version__} cannot be made repeatable: install trio 0.35")
    flag, random = getattr(_run, _FLAG), _run._r
    setattr(_run, _FLAG, True)
    _run._r = _Order(seed)

    interrupted: list[Interrupted] = []
    runners: list[_run.Runner] = []

    def give_up(error: Interrupted) -> None:
        interrupted.append(error)
        if not runners:
            raise error  # no task of ours has begun
        io = runners[0].io_manager
        assert isinstance(io, _IdleIO)
        io.fail(error)

    async def pure() -> T:
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        # Trio asks its instruments ten times a heartbeat; with none, a plain dictionary answers faster.
        runner.instruments = {}  # type: ignore[assignment]
        runner.io_manager = _IdleIO(runner.io_manager)  # type: ignore[assignment]
        runners.append(runner)
        world.enter_context(Purity(timeline))
        return await main()

    # Thousands of workers are millions of objects that stay; looking through them for garbage, of which there
    # is little, took a fifth of a run.
    thresholds = gc.get_threshold()
    gc.set_threshold(_GARBAGE, *thresholds[1:])
    try:
        with given_up_by(give_up), ExitStack() as world:
            result = trio.run(pure, clock=timeline)
        if interrupted:
            raise interrupted[0]
        return result
    except trio.TrioInternalError as error:
        _given_up.extend(runners)
        if interrupted:
            raise interrupted[0] from None
        # An event of the timeline runs where Trio asks its clock, and Trio takes its failure for one of Trio.
        raise (error.__cause__ or error) from None
    except BaseException:
        if interrupted:
            raise interrupted[0] from None
        raise
    finally:
        gc.set_threshold(*thresholds)
        setattr(_run, _FLAG, flag)
        _run._r = random
