"""Output goes through a bounded queue that a thread of its own writes, so that a program never waits for its
reader.

A pipe holds 64 KiB and a terminal can be stopped, so a write can block until the reader goes on. A write by
the event loop would stop heartbeats with it (DESIGN 77).

Always holds: `put` waits for no reader and raises nothing; lines are written in the order in which they were
put, each of at most 4096 bytes in one piece; at most `most_lines` lines of `most_bytes` bytes together, or
one longer line, are held; lines that are not written are counted, and a line with their number follows once
writing works again. `tests/unit/test_lines.py` keeps these. The thread starts with the first line.
"""

from __future__ import annotations

import atexit
import io
import locale
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

# This holds some seconds of a busy control plane at level debug, and hours at level info.
MOST_LINES = 10_000
MOST_BYTES = 4 * 2**20
# The end of a process waits this long for the queue. A full queue takes some hundredths of a second where its
# reader is awake.
FLUSH_S = 1.0

# The kernel keeps a write to a pipe in one piece up to this size (pipe(7)), so the lines of processes that
# share a pipe do not mix.
_PIECE_BYTES = select.PIPE_BUF
_RETRY_MS = 1000


class _Piece(NamedTuple):
    """A `_Piece` has the bytes of one write. Its first `lead_bytes` bytes report `told` dropped lines."""

    data: bytes
    lead_bytes: int
    told: int


class LineQueue:
    """A `LineQueue` writes the lines put into it to `fd`, from a thread of its own.

    `dropped_line` makes the line that reports a number of dropped ones. A queue that had no room for a line
    drops the ones after it, too, until it has run empty: one line then counts them all.
    """

    def __init__(
        self,
        fd: int,
        dropped_line: Callable[[int], bytes] = lambda count: b"%d lines dropped\n" % count,
        *,
        most_lines: int = MOST_LINES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._fd = fd
        self._dropped_line = dropped_line
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        self._begin()
        atexit.register(self.flush)

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Reentrant: the garbage collector may run a finalizer that logs in the middle of `put`.
        self._changed = threading.Condition(threading.RLock())
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._overrun = False  # a line had no room, and the queue has not been empty since
        self._untold = 0  # dropped lines that no line has reported
        self._writing = False
        self._broken_off = False  # the last write left a line incomplete
        self._writes = 0
        self._given_up_after = -1
        self._thread: threading.Thread | None = None
        self._closing = False
        self.dropped = 0
        self.failure: OSError | None = None

    def put(self, line: bytes) -> None:
        """Queue `line`, its line break included; count it as dropped where there is no room."""
        if self._pid != os.getpid():
            self._begin()  # a forked child has no thread, and its parent writes the lines queued before
        with self._changed:
            if self._overrun or not self._has_room_for(line):
                self._overrun = True
                self._drop(1)
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._ensure_thread()
            self._changed.notify_all()

    def flush(self, within_s: float = FLUSH_S) -> bool:
        """Wait until everything is written, for at most `within_s` seconds. Returns False where that was too
        short.

        After a wait in vain further ones return at once, until something more has been written.
        """
        if self._pid != os.getpid():
            return True
        with self._changed:
            if self._given_up_after == self._writes:
                within_s = 0.0
            done = self._changed.wait_for(self._is_done, within_s)
            if not done:
                self._given_up_after = self._writes
            return done

    def close(self, within_s: float = FLUSH_S) -> None:
        """Flush, and end the thread as soon as the queue is empty. Nothing may be put after that."""
        done = self.flush(within_s)
        atexit.unregister(self.flush)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if done and self._thread is not None:
            self._thread.join(within_s)

    def _has_room_for(self, line: bytes) -> bool:
        if not self._lines:
            return True
        return len(self._lines) < self._most_lines and self._bytes + len(line) <= self._most_bytes

    def _is_done(self) -> bool:
        # The number of dropped lines cannot be reported while writing fails.
        return not self._lines and not self._writing and (not self._untold or self.failure is not None)

    def _drop(self, lines: int) -> None:
        self.dropped += lines
        self._untold += lines

    def _ensure_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._write_all, name=f"writer-{self._fd}", daemon=True)
            with suppress(RuntimeError):  # the system has no thread to give; the next line tries again
                thread.start()
                self._thread = thread

    # In the thread

    def _write_all(self) -> None:
        while (piece := self._next_piece()) is not None:
            written, failure = self._write(piece.data)
            with self._changed:
                self._writing = False
                self._writes += 1
                self.failure = failure
                if failure is not None:
                    self._broken_off = written > 0 and not piece.data.endswith(b"\n", 0, written)
                    if written < piece.lead_bytes:
                        self._untold += piece.told
                    self._drop(piece.data.count(b"\n", max(written, piece.lead_bytes)))
                self._changed.notify_all()

    def _next_piece(self) -> _Piece | None:
        """Wait for bytes to write and return them; None at the end."""
        with self._changed:
            while not self._lines and (not self._untold or self.failure is not None):
                self._overrun = False
                if self._closing:
                    return None
                self._changed.wait()
            self._writing = True
            lead, told = b"\n" if self._broken_off else b"", 0
            self._broken_off = False
            if self._untold and not (self._overrun and self._lines):
                told, self._untold, self._overrun = self._untold, 0, False
                lead += self._dropped_line(told)
            return _Piece(lead + self._taken(_PIECE_BYTES - len(lead)), len(lead), told)

    def _taken(self, room_bytes: int) -> bytes:
        """Take as many lines as have room in one write out of the queue, at least one, and return them."""
        lines: list[bytes] = []
        size_bytes = 0
        while self._lines and (not lines or size_bytes + len(self._lines[0]) <= room_bytes):
            lines.append(self._lines.popleft())
            size_bytes += len(lines[-1])
        self._bytes -= size_bytes
        return b"".join(lines)

    def _write(self, data: bytes) -> tuple[int, OSError | None]:
        """Write `data`, however long that takes. Returns how many bytes were written, and the error if there
        was one."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # another process with the same descriptor has made it non-blocking
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll(_RETRY_MS)
            except OSError as error:
                return len(data) - len(rest), error
        return len(data), None


class QueuedText(io.TextIOBase):
    """A `QueuedText` is a text stream over a queue, in place of standard output or error.

    Characters that the locale lacks are escaped. With `error`, the first write after one that failed raises
    the exception that `error` makes of that failure.
    """

    def __init__(
        self, queue: LineQueue, fd: int, error: Callable[[OSError], Exception] | None = None
    ) -> None:
        self._queue = queue
        self._fd = fd
        self._error = error
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has a variable here
        return locale_encoding()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return is_terminal(self._fd)

    def write(self, text: str) -> int:
        """Queue the lines that `text` completes. The rest waits for the end of its line, or for `flush`."""
        self.check()
        complete, line_break, begun = text.rpartition("\n")
        if line_break:
            self._put(self._begun + complete + line_break)
            self._begun = begun
        else:
            self._begun += begun
        return len(text)

    def check(self) -> None:
        """Raise the error of the last write that failed, once, if the stream was made with `error`."""
        if self._error is not None and (failure := self._queue.failure) is not None:
            error, self._error = self._error(failure), None
            raise error

    def flush(self) -> None:
        """Queue the incomplete line, too. This waits for no reader."""
        if self._begun:
            begun, self._begun = self._begun, ""
            self._put(begun)

    def _put(self, text: str) -> None:
        self._queue.put(encoded(text))


def stand_in_for_stderr(queue: LineQueue) -> None:
    """Send everything that is printed to `sys.stderr` to `queue`, unless `sys.stderr` was replaced before."""
    with suppress(OSError, AttributeError):  # a stream without a descriptor, or none at all
        if sys.stderr.fileno() == 2:
            sys.stderr = QueuedText(queue, 2)


def locale_encoding() -> str:
    """Return the encoding of the user's locale, with which a terminal or a log viewer decodes."""
    return locale.getencoding()


def encoded(text: str) -> bytes:
    """Return `text` as this locale's bytes; characters that the locale lacks are escaped, as in `\\xe9`."""
    try:
        return text.encode(locale_encoding(), "backslashreplace")
    except LookupError:  # a locale in an encoding that Python does not have
        return text.encode("ascii", "backslashreplace")


def is_terminal(fd: int) -> bool:
    """Return True if `fd` is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
