"""A process of our own, seen as lines and an exit code; it dies with us."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

import trio

from minicloud.cli.parent import death_signal

_POLL_S = 0.05


class Child:
    """One process, started now; the kernel ends it if we are killed. Its standard error is read with its
    output. Make it in the main thread only."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.relayed = trio.Event()
        # Started from the main thread itself: the kernel ends the child with the *thread* that started it,
        # and the ones Trio lends out do not last. A group of its own keeps the terminal's Ctrl-C from it:
        # it gets our SIGTERM, when its turn has come.
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
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Return the exit code once it has ended."""
        # Trio's own waiting comes only with `trio.Process`, which starts it from another thread.
        while (code := self.code) is None:  # noqa: ASYNC110
            await trio.sleep(_POLL_S)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.code is None:
            self._process.send_signal(number)

    async def relay(self, say: Callable[[str], None]) -> None:
        """Hand every line it prints to `say`, until it prints no more; `relayed` is set then."""
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
    """What has a forked child get SIGTERM when its parent dies; None where there is no such thing."""
    request, parent = death_signal(), os.getpid()
    if request is None:
        return None

    def die_with_parent() -> None:
        request()
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return die_with_parent


def ended(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
