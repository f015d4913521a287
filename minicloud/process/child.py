"""A `Child` is a process started by this one, with its output as lines and its exit code. It ends with its
parent."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

import trio

from minicloud.process.parent import death_signal

_POLL_S = 0.05


class Child:
    """A `Child` starts one process. The kernel ends it if this process is killed.

    Its standard error is read with its output. It must be made in the main thread.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.relayed = trio.Event()
        # The main thread starts it, as the kernel ends the child with the *thread* that started it, and the
        # threads that Trio lends out do not last. A process group of its own keeps the terminal's Ctrl-C from
        # it: this process sends it SIGTERM in its turn.
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=die_with_parent(),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        # Trio waits only for a `trio.Process`, which another thread would start.
        while (code := self.code) is None:  # noqa: ASYNC110
            await trio.sleep(_POLL_S)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self.code is None:
            self._process.send_signal(number)

    async def relay(self, say: Callable[[str], None]) -> None:
        """Call `say` with every line the process prints, until it prints no more; then set `relayed`."""
        assert self._process.stdout is not None
        rest = b""
        try:
            async with trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno())) as stream:
                self._process.stdout.close()
                async for data in stream:
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        say(line.decode("utf-8", "replace"))
            if rest:
                say(rest.decode("utf-8", "replace"))
        finally:
            self.relayed.set()


def die_with_parent() -> Callable[[], None] | None:
    """Return a function that has a forked child get SIGTERM when its parent dies; None where the system has
    no such signal."""
    request, parent = death_signal(), os.getpid()
    if request is None:
        return None

    def die_with_parent() -> None:
        request()
        if os.getppid() != parent:  # the parent died before the call
            os._exit(1)

    return die_with_parent


def ended(code: int | None) -> str:
    """Describe in words how a process ended."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
