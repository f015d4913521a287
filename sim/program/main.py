"""The entry point of `minicloud-sim`: it turns a command line into an exit code.

Nothing heavy is imported at the top, so that a signal during the other imports ends the process in one line
too.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Sequence

from minicloud.cli.output import ReaderGoneError, standard_streams
from sim.engine.interruption import Interrupted, Interruption, write_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `minicloud-sim` with `arguments` (by default the process's) and return the exit code."""
    with Interruption() as interruption:
        try:
            with standard_streams():
                code = _run(arguments, interruption)
        except BaseException as error:
            # After a signal, whatever is raised is a consequence of it.
            interrupted = error if isinstance(error, Interrupted) else interruption.error
            code = _failed(error) if interrupted is None else interrupted.exit_code
            if interrupted is not None:
                write_line(f"minicloud-sim: {interrupted}")
        _end_quickly(code)
    return code


def _run(arguments: Sequence[str] | None, interruption: Interruption) -> int:
    from sim.program.cli import sim_parser
    from sim.program.command import run_command

    options = sim_parser().parse_args(arguments)
    interruption.deliver()
    return run_command(options)


def _failed(error: BaseException) -> int:
    """Print the reason of a failure, and return the exit code. An unexpected error is raised again."""
    from minicloud.core.errors import MiniCloudError
    from sim.program.cli import COULD_NOT_RUN, HELD

    cause = _cause(error)
    if isinstance(cause, ReaderGoneError):
        return HELD  # the reader has what it wanted, as in `minicloud-sim --list | head`
    if not isinstance(cause, MiniCloudError | OSError):
        raise error
    print(f"minicloud-sim: {' '.join(str(cause).split())}", file=sys.stderr)
    return COULD_NOT_RUN


def _cause(error: BaseException) -> BaseException:
    """The error in a group of one; nurseries wrap errors in groups."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _end_quickly(code: int) -> None:
    """Let the interpreter end without freeing the objects of thousands of workers.

    A search for garbage among them took a second, in which a Ctrl-C would end in a traceback. A run that was
    given up has left tasks behind, which must not be freed at all (DESIGN 57).
    """
    from sim.engine.loop import left_behind

    atexit.register(gc.freeze)
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if left_behind():
        atexit.register(os._exit, code)
