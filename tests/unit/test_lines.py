"""The queue, its thread, and the text stream over it give output that never waits for a reader
(DESIGN 77)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from minicloud.lines import LineQueue, QueuedText, encoded

WITHIN_S = 20.0
PIPE_HOLDS = 65_536


class Pipe:
    """A `Pipe` is a pipe with a queue at its one end; its other end is read only on request."""

    def __init__(self, most_lines: int = 100, most_bytes: int = 1_000_000) -> None:
        self.reads, self.writes = os.pipe()
        self.queue = LineQueue(self.writes, most_lines=most_lines, most_bytes=most_bytes)

    def close(self) -> None:
        # Writing fails from here on, so that a thread which waits for a reader goes on.
        os.close(self.reads)
        self.queue.close(WITHIN_S)
        if self.queue._thread is not None:
            self.queue._thread.join(WITHIN_S)
            assert not self.queue._thread.is_alive()
        os.close(self.writes)

    def lose_reader(self) -> None:
        reads, self.reads = self.reads, os.open(os.devnull, os.O_RDONLY)
        os.close(reads)

    def read(self, lines: int) -> list[str]:
        """Read the next so many lines."""
        found = b""
        while found.count(b"\n") < lines:
            piece = os.read(self.reads, 65_536)
            assert piece, found
            found += piece
        return found.decode().splitlines()


@pytest.fixture
def open_pipe() -> Iterator[Callable[..., Pipe]]:
    """Return a factory of pipes, which are closed with their queues."""
    with ExitStack() as closing:

        def opened(**bounds: int) -> Pipe:
            pipe = Pipe(**bounds)
            closing.callback(pipe.close)
            return pipe

        yield opened


def block(pipe: Pipe) -> None:
    """Leave the thread of a pipe's queue in a write that waits for a reader."""
    pipe.queue.put(b"x" * PIPE_HOLDS + b"blocked\n")
    assert not pipe.queue.flush(0.05)
    assert len(pipe.queue._lines) == 0


def test_lines_are_written_in_order_and_flush_waits_for_them(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    for number in range(100):
        pipe.queue.put(b"%d\n" % number)
    assert pipe.queue.flush(WITHIN_S)
    os.set_blocking(pipe.reads, False)
    assert pipe.read(100) == [str(number) for number in range(100)]
    assert pipe.queue.dropped == 0


def test_lines_that_nobody_reads_are_held_up_to_the_bound_then_dropped_and_counted(
    open_pipe: Callable[..., Pipe],
) -> None:
    pipe = open_pipe(most_lines=10)
    block(pipe)
    for number in range(25):
        pipe.queue.put(b"%d\n" % number)
    assert pipe.queue.dropped == 15
    first, *rest = pipe.read(12)
    assert first.endswith("blocked")
    assert rest == [*map(str, range(10)), "15 lines dropped"]
    assert pipe.queue.flush(WITHIN_S)
    pipe.queue.put(b"again\n")
    assert pipe.read(1) == ["again"]
    assert pipe.queue.dropped == 15


def test_lines_are_bounded_by_their_bytes_too(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe(most_bytes=1000)
    block(pipe)
    for _ in range(5):
        pipe.queue.put(b"y" * 299 + b"\n")
    assert pipe.queue.dropped == 2
    assert len(pipe.queue._lines) == 3


def test_line_longer_than_the_bound_is_written_where_nothing_else_waits(
    open_pipe: Callable[..., Pipe],
) -> None:
    pipe = open_pipe(most_bytes=10)
    pipe.queue.put(b"a line of more than ten bytes\n")
    assert pipe.read(1) == ["a line of more than ten bytes"]


def test_room_in_between_lets_no_line_pass_before_the_dropped_are_told_of(
    open_pipe: Callable[..., Pipe],
) -> None:
    pipe = open_pipe(most_lines=2)
    block(pipe)
    for line in (b"1\n", b"2\n", b"dropped\n"):
        pipe.queue.put(line)
    pipe.queue._lines.pop()  # as if a reader had made room, with lines before it still to be written
    pipe.queue.put(b"dropped, too\n")
    assert pipe.read(3)[1:] == ["1", "2 lines dropped"]


def test_flush_with_no_reader_gives_up_in_time_and_only_once(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    block(pipe)
    waited = threading.Event()

    def flush_often() -> None:
        for _ in range(1000):  # each would take a second if it waited
            assert not pipe.queue.flush(1.0)
        waited.set()

    thread = threading.Thread(target=flush_often)
    thread.start()
    assert waited.wait(WITHIN_S)
    thread.join()
    pipe.queue.put(b"next\n")
    assert pipe.read(2)[1] == "next"
    assert pipe.queue.flush(WITHIN_S)


def test_reader_that_has_gone_costs_lines_and_nothing_else(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    pipe.lose_reader()
    pipe.queue.put(b"1\n2\n")
    assert pipe.queue.flush(WITHIN_S)
    assert isinstance(pipe.queue.failure, BrokenPipeError)
    pipe.queue.put(b"3\n")
    assert pipe.queue.flush(WITHIN_S)
    assert pipe.queue.dropped == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk_costs_lines_that_are_told_of_once_there_is_room() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    reads, writes = os.pipe()
    queue = LineQueue(fd)
    try:
        for _ in range(3):
            queue.put(b"lost\n")
            assert queue.flush(WITHIN_S)
        assert queue.failure is not None
        assert queue.failure.errno == errno.ENOSPC
        os.dup2(writes, fd)
        queue.put(b"there is room\n")
        assert queue.flush(WITHIN_S)
        assert os.read(reads, 100) == b"3 lines dropped\nthere is room\n"
        assert queue.failure is None
    finally:
        queue.close(WITHIN_S)
        for each in (fd, reads, writes):
            os.close(each)


def test_line_that_breaks_off_is_ended_before_the_next() -> None:
    code = """
import os, resource, signal, sys
from minicloud.lines import LineQueue
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8, resource.RLIM_INFINITY))
queue = LineQueue(1)
queue.put(b"1234\\n6789\\n")
queue.flush(20)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
queue.put(b"next\\n")
queue.flush(20)
sys.exit(queue.dropped)
"""
    with open(os.memfd_create("log"), "w+b") as file:
        done = subprocess.run([sys.executable, "-c", code], stdout=file, timeout=WITHIN_S)
        file.seek(0)
        assert file.read() == b"1234\n678\n1 lines dropped\nnext\n"
    assert done.returncode == 1


def test_descriptor_that_somebody_made_non_blocking_loses_nothing(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    os.set_blocking(pipe.writes, False)
    for _ in range(40):
        pipe.queue.put(b"z" * 4000 + b"\n")
    assert pipe.read(40) == 40 * ["z" * 4000]
    assert pipe.queue.dropped == 0


def test_process_that_ends_by_an_error_has_written_its_last_lines() -> None:
    code = """
from minicloud.lines import LineQueue, stand_in_for_stderr
queue = LineQueue(2)
stand_in_for_stderr(queue)
for number in range(5000):
    queue.put(b"%d\\n" % number)
raise RuntimeError("the last words")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S)
    lines = done.stderr.splitlines()
    assert lines[:5001] == [*map(str, range(5000)), "Traceback (most recent call last):"]
    assert lines[-1] == "RuntimeError: the last words"
    assert done.returncode == 1


def test_forked_child_writes_lines_of_its_own_and_none_of_its_parents(open_pipe: Callable[..., Pipe]) -> None:
    code = """
import os, warnings
from minicloud.lines import LineQueue
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside a thread
queue = LineQueue(1)
queue.put(b"parent\\n")
child = os.fork()
queue.put(b"child\\n" if child == 0 else b"parent again\\n")
queue.flush(20)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S)
    assert sorted(done.stdout.splitlines()) == ["child", "parent", "parent again"]


def test_text_is_queued_by_lines_and_what_is_begun_by_flush(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    text = QueuedText(pipe.queue, pipe.writes)
    print("one", "two", file=text)
    print("\rprogress", end="", file=text)
    assert pipe.read(1) == ["one two"]
    assert pipe.queue.flush(WITHIN_S)
    text.flush()
    assert os.read(pipe.reads, 100) == b"\rprogress"
    assert not text.isatty()


def test_text_whose_reader_has_gone_raises_only_where_that_is_wanted(open_pipe: Callable[..., Pipe]) -> None:
    pipe = open_pipe()
    pipe.lose_reader()
    for _ in range(2):
        print("said", file=QueuedText(pipe.queue, pipe.writes))
        assert pipe.queue.flush(WITHIN_S)
    wanted = QueuedText(pipe.queue, pipe.writes, lambda failure: EOFError(failure.errno))
    with pytest.raises(EOFError, match=str(errno.EPIPE)):
        print("said", file=wanted)
    print("said once", file=wanted)


def test_character_that_the_locale_lacks_is_escaped() -> None:
    code = r"""
from minicloud.lines import LineQueue, stand_in_for_stderr
import sys
stand_in_for_stderr(LineQueue(2))
print("caf\u00e9 \udcff \U0001f600", file=sys.stderr)
"""
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WITHIN_S, env=env)
    assert (done.returncode, done.stderr) == (0, rb"caf\xe9 \udcff \U0001f600" + b"\n")


def test_surrogate_is_escaped_in_every_locale() -> None:
    assert encoded("\udcff") == rb"\udcff"


def test_thread_that_cannot_be_had_is_asked_for_again(
    open_pipe: Callable[..., Pipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = open_pipe()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pipe.queue.put(b"first\n")
    assert not pipe.queue.flush(0.01)
    pipe.queue.put(b"second\n")
    assert pipe.read(2) == ["first", "second"]
