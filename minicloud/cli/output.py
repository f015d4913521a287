"""This module makes standard output and standard error safe for whatever they are connected to (DESIGN 47).

`standard_streams` replaces both streams once, so that `print` is safe everywhere:

    with standard_streams():
        return run(arguments)

Always holds inside it: a character that the locale cannot show is written as an escape, such as `\\xe9`; a
failure to write standard output raises `OutputError`, once; a failure to write standard error raises nothing,
as no place is left for a message; no file or socket opened later takes the number of a standard stream. The
tests in `tests/unit/cli/test_output.py` keep these.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from minicloud.cli.exits import OperationError
from minicloud.cli.text import one_line

STDIN, STDOUT, STDERR = 0, 1, 2


class OutputError(OperationError):
    """Standard output cannot be written: its disk is full, or it is closed."""


class ReaderGoneError(OutputError):
    """The program that reads standard output has ended, as `head` does when it has its lines."""


def output_error(error: OSError) -> OutputError:
    """Return the error of ours for `error`, which a write to standard output raised."""
    if isinstance(error, BrokenPipeError) or _is_hang_up(error):
        return ReaderGoneError("nobody reads standard output any more")
    why = "it is closed" if error.errno == errno.EBADF else (error.strerror or str(error)).lower()
    return OutputError(f"cannot write to standard output: {why}: send it to a file or a program")


def _is_hang_up(error: OSError) -> bool:
    """Return True if standard output was a terminal that is closed. A failing disk has the same errno."""
    return error.errno == errno.EIO and stat.S_ISCHR(os.fstat(STDOUT).st_mode)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Run the block with safe streams, and write out what is buffered when it ends.

    Raises `OutputError` where standard output failed and nothing else did. The streams stay replaced
    afterwards: the interpreter flushes them once more at its end.
    """
    _keep_numbers()
    sys.stdout = _safe(sys.stdout, sys.__stdout__, _Output(STDOUT))
    sys.stderr = _safe(sys.stderr, sys.__stderr__, _Error(STDERR))
    try:
        yield
    except BaseException as error:
        try:
            sys.stdout.flush()
        except OutputError:
            if isinstance(error, SystemExit) and not error.code:  # --help and --version end with this
                raise
        raise
    sys.stdout.flush()


def note(text: object) -> None:
    """Write `text` to standard error as one line that begins with `minicloud:`."""
    print(f"minicloud: {one_line(text)}", file=sys.stderr)


def _keep_numbers() -> None:
    """Open the standard streams that are closed, in a way in which every use of them fails as before.

    Otherwise the next socket or file would get the number, and text meant for people would be written into
    it.
    """
    for number, mode in ((STDIN, os.O_WRONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)


def _safe(stream: TextIO | None, original: TextIO | None, raw: io.FileIO) -> TextIO:
    """Return the stream to use in place of `stream`. One that was replaced before stays, and escapes."""
    if stream is not original and stream is not None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream
    before = stream if isinstance(stream, io.TextIOWrapper) else None
    return io.TextIOWrapper(
        raw,  # each `write` of it writes everything, so it needs no buffer
        encoding=before.encoding if before is not None else None,
        errors="backslashreplace",
        newline="\n",
        line_buffering=before is None or before.line_buffering,
        write_through=before is not None and before.write_through,
    )


class _Whole(io.FileIO):
    """A `_Whole` is a descriptor that writes all bytes it gets, even if another program made it
    non-blocking."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        rest = memoryview(data)
        size_bytes = len(rest)
        while rest:
            written = super().write(rest)
            if written is None:  # the pipe is full
                select.select((), (self,), ())
            else:
                rest = rest[written:]
        return size_bytes


class _Output(_Whole):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._failed = False

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._failed:  # one error is enough; the rest has no reader
            try:
                return super().write(data)
            except OSError as error:
                self._failed = True
                raise output_error(error) from None
        return len(data)


class _Error(_Whole):
    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)
