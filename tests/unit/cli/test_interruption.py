"""Ctrl-C ends a process also at the moments at which a KeyboardInterrupt is not enough (DESIGN 48)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

from tests.unit.cli.server import Answer, ScriptedServer, worker

WITHIN_S = 60.0
LINE = b"minicloud: interrupted\n"


def run(code: str) -> tuple[int, bytes, bytes]:
    """Run `code` and return its exit code, output and errors."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=WITHIN_S, check=False)
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_in_a_callback_of_the_interpreter_during_imports_ends_the_process() -> None:
    code = """
import signal, sys, weakref
class Thing: pass
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "minicloud.cli.workers":
            thing = Thing()
            kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing
sys.meta_path.insert(0, Finder())
sys.argv = ["minicloud", "workers", "--help"]
from minicloud.__main__ import main
main()
"""
    assert run(code) == (130, b"", LINE)


def test_ctrl_c_when_the_work_is_done_is_one_line_too() -> None:
    code = """
import signal, sys
from minicloud.__main__ import main
sys.argv = ["minicloud", "--version"]
try:
    main()
except SystemExit:
    signal.raise_signal(signal.SIGINT)
"""
    exit_code, output, errors = run(code)
    assert (exit_code, errors) == (130, LINE)
    assert output.startswith(b"minicloud ")


def test_ctrl_c_during_a_call_into_c_ends_the_process_after_the_grace() -> None:
    # A mutex locked twice waits for ever, whatever signals come. The look-up of a name may do so for minutes.
    code = """
import ctypes, os, signal, threading
from minicloud.cli.interruption import bounded
libc = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
with bounded(grace_s=0.05):
    libc.pthread_mutex_lock(mutex)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    libc.pthread_mutex_lock(mutex)
"""
    assert run(code) == (130, b"", LINE)


def test_ctrl_c_that_a_command_obeys_in_time_is_left_to_it() -> None:
    code = """
import signal
from minicloud.cli.interruption import bounded
try:
    with bounded(grace_s=60.0):
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("put in order")
"""
    assert run(code) == (0, b"put in order\n", b"")


def test_signal_other_than_ctrl_c_ends_nothing() -> None:
    code = """
import signal
from minicloud.cli.interruption import bounded
signal.signal(signal.SIGUSR1, lambda *_: None)
with bounded(grace_s=0.0):
    signal.raise_signal(signal.SIGUSR1)
assert signal.set_wakeup_fd(-1) == -1
print("went on")
"""
    assert run(code) == (0, b"went on\n", b"")


def test_process_started_deaf_to_ctrl_c_stays_so() -> None:
    code = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from minicloud.cli.interruption import bounded, end_at_once_on_ctrl_c, raise_on_ctrl_c
end_at_once_on_ctrl_c()
signal.raise_signal(signal.SIGINT)
raise_on_ctrl_c()
with bounded(grace_s=0.0):
    signal.raise_signal(signal.SIGINT)
print("went on")
"""
    assert run(code) == (0, b"went on\n", b"")


def test_ctrl_c_ends_a_command_whose_output_nobody_reads(server: ScriptedServer) -> None:
    server.on("GET /api/workers?limit=1000", Answer([worker(f"w-{number}") for number in range(2000)]))
    with subprocess.Popen(
        [sys.executable, "-m", "minicloud", "workers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        until_full(process.stdout.fileno())
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 130
        assert process.stderr.read() == LINE


def until_full(pipe: int) -> None:
    """Wait until a write to `pipe` would block."""
    deadline_s = time.monotonic() + WITHIN_S
    writable = select.poll()
    writer = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        writable.register(writer, select.POLLOUT)
        while writable.poll(0):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    finally:
        os.close(writer)
