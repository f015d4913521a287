"""This is the program: it chooses what to run, runs it, and turns failures into one line and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeVar

from minicloud.cli import exits, interruption
from minicloud.cli.output import ReaderGoneError, note, standard_streams
from minicloud.core.errors import MiniCloudError, NotYetError, RegistrationFailedError, StoreUnavailableError

Config = TypeVar("Config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `minicloud` with `arguments` (by default the process's) and return the exit code.

    Ends with `SystemExit` where argparse does: after --help, --version and usage errors.
    """
    own = arguments is None  # no other program runs in this process
    if own:
        interruption.end_at_once_on_ctrl_c()
    try:
        with standard_streams():
            return _run(list(sys.argv[1:] if arguments is None else arguments), own)
    except KeyboardInterrupt:
        return _interrupted(own)
    except MiniCloudError as error:
        return _failed(error)
    except BaseExceptionGroup as group:
        # A nursery wraps the error that ended it, even a single one.
        if group.subgroup(KeyboardInterrupt):
            return _interrupted(own)
        named = [error for error in _leaves(group) if isinstance(error, MiniCloudError)]
        if not named:
            raise
        return _failed(named[0])
    finally:
        if own:
            interruption.end_at_once_on_ctrl_c()
            # The interpreter ends without a search for garbage, as all memory is about to be freed.
            atexit.register(gc.freeze)


def _run(arguments: list[str], own: bool) -> int:
    bound: AbstractContextManager[None] = nullcontext()
    if arguments and not arguments[0].startswith("-"):
        from minicloud.cli.commands import ON_TRIO, command_named

        run: Callable[[], int] = partial(command_named(arguments[0]), arguments[1:])
        if own and arguments[0] not in ON_TRIO:
            bound = interruption.bounded()
    else:
        run = _server(arguments)
    # All imports are done. From here on a command may have something to put in order.
    interruption.raise_on_ctrl_c()
    with bound:
        return run()


def _interrupted(own: bool) -> int:
    if own:
        # Nothing is left to put in order, and the interpreter's own end would take a tenth of a second.
        interruption.end_at_once()
    interruption.report()
    return exits.INTERRUPTED


def _server(arguments: list[str]) -> Callable[[], int]:
    from minicloud.cli.parser import serve_parser
    from minicloud.config import control_plane_config, is_worker, prepare_data_dir, worker_config

    flags: dict[str, str] = {
        name.replace("_", "-"): text for name, text in vars(serve_parser().parse_args(arguments)).items()
    }
    if is_worker(flags, os.environ):
        worker, warnings = worker_config(flags, os.environ)
        prepare_data_dir(worker.data_dir, to_write=False)
        _start_log(worker.log.level, worker.log.format, warnings)
        from minicloud.app.worker import run_worker

        return partial(_logged, run_worker, worker)
    control_plane, warnings = control_plane_config(flags, os.environ)
    prepare_data_dir(control_plane.data_dir, to_write=False)
    _start_log(control_plane.log.level, control_plane.log.format, warnings)
    from minicloud.app.control_plane import run_control_plane

    return partial(_logged, run_control_plane, control_plane)


def _logged(run: Callable[[Config], int], config: Config) -> int:
    """Run a program and write the last lines of its log before its end is reported, however it ends."""
    from minicloud.log import flush

    try:
        return run(config)
    finally:
        flush()


def _start_log(level: str, format: str, warnings: Sequence[str]) -> None:
    import structlog

    from minicloud.log import configure, redirect_stderr

    configure(level, format)
    redirect_stderr()
    for warning in warnings:
        structlog.get_logger().warning("config_passed_over", detail=warning)


def _failed(error: MiniCloudError) -> int:
    if isinstance(error, ReaderGoneError):
        return exits.OK  # the reader has all the lines it wanted, as in `minicloud workers | head`
    note(error)
    if isinstance(error, RegistrationFailedError):
        return exits.GAVE_UP
    passing = exits.OperationError | StoreUnavailableError | NotYetError
    return exits.FAILED if isinstance(error, passing) else exits.USAGE


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    sys.exit(main())
