"""A `Cluster` runs real processes on loopback, a control plane and some workers, in one terminal.

Always holds: every process started here has ended when `Cluster.run` returns, however it returns
(`tests/unit/cli/test_dev.py`).
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from io import TextIOBase
from typing import NoReturn, TextIO

import trio

from minicloud.app.signals import EndingSignals, ending_signals
from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.output import OutputError
from minicloud.cli.ports import HOST, Ports
from minicloud.cli.text import Paint, clean
from minicloud.config.durations import format_duration, parse_duration_s
from minicloud.net.address import Address
from minicloud.process.child import Child, ended

_READY_WITHIN_S = 30.0
_END_WITHIN_S = 15.0
# After Ctrl-C a person waits. No data is kept, so ending a process early loses nothing (DESIGN 48).
_INTERRUPTED_END_WITHIN_S = 0.6
_STYLES = ("cyan", "green", "yellow", "magenta", "blue")


class Cluster:
    """A `Cluster` has the processes of one dev cluster. `command` runs minicloud; arguments are added
    to it."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], out: TextIO | TextIOBase) -> None:
        self._command = list(command)
        self._env = dict(env)
        self._out = out
        self._on_terminal = out.isatty()
        self._paint = Paint(out)
        self._children: list[Child] = []
        self._ending = False
        self._interrupted = False

    async def run(self, ports: Ports, heartbeat_interval: str, notices: Sequence[str] = ()) -> int:
        """Start everything, pass on its output, and end it all on a signal; return the exit code.

        SIGTERM and SIGHUP leave everything time to end in order. After Ctrl-C (SIGINT) that time is short,
        output is not passed on any more, and `KeyboardInterrupt` is raised once everything has ended. A
        second signal kills the processes that have not ended yet. The end of a worker is reported; the end of
        the control plane ends the rest, and is an `OperationError`.
        """
        with trio.open_signal_receiver(*ending_signals()) as signals:
            async with trio.open_nursery() as nursery:
                try:
                    with trio.CancelScope() as serving:
                        nursery.start_soon(self._obey, EndingSignals(signals), serving)
                        await self._serve(nursery, ports, heartbeat_interval, notices)
                finally:
                    with trio.CancelScope(shield=True):
                        await self._end()
                    nursery.cancel_scope.cancel()
        if self._interrupted:
            raise KeyboardInterrupt
        return exits.OK

    async def _obey(self, ending: EndingSignals, serving: trio.CancelScope) -> None:
        async for number in ending:
            self._interrupted |= number == signal.SIGINT
            if serving.cancel_called or self._ending:
                self._kill()
            else:
                serving.cancel()

    async def _serve(
        self, nursery: trio.Nursery, ports: Ports, heartbeat_interval: str, notices: Sequence[str]
    ) -> NoReturn:
        timeout = format_duration(4 * parse_duration_s(heartbeat_interval))
        common = ("--host", HOST, "--data-dir", "none", "--log-format", "console")
        control_plane = self._start(
            nursery,
            "control-plane",
            [
                *common,
                *("--grpc-port", str(ports.grpc), "--http-port", str(ports.http)),
                *("--heartbeat-interval", heartbeat_interval, "--heartbeat-timeout", timeout),
            ],
        )
        await self._ready(control_plane, ports.http)
        for line in _banner(ports, heartbeat_interval, timeout, notices, self._paint):
            self._say(line)
        for number, port in enumerate(ports.workers, start=1):
            worker = self._start(
                nursery,
                f"worker-{number}",
                [
                    "--worker",
                    *common,
                    *("--id", f"worker-{number}", "--port", str(port), "--drain-timeout", "5s"),
                    *("--control-plane", str(Address(HOST, ports.grpc))),
                ],
            )
            nursery.start_soon(self._report_end, worker)
        code = await control_plane.wait()
        raise OperationError(f"the control plane has ended ({ended(code)}), so everything else was ended too")

    def _start(self, nursery: trio.Nursery, name: str, arguments: Sequence[str]) -> Child:
        style = _STYLES[len(self._children) % len(_STYLES)]
        prefix = self._paint(f"{name:<13} |", style)
        child = Child(name, [*self._command, *arguments], self._env)
        self._children.append(child)
        # The relay starts first, as `_end` waits for all output of a child, also where nothing can be
        # written.
        nursery.start_soon(child.relay, lambda line: self._say(f"{prefix} {clean(line)}"))
        self._say(f"{prefix} started, process {child.pid}")
        return child

    async def _ready(self, control_plane: Child, port: int) -> None:
        with trio.move_on_after(_READY_WITHIN_S):
            while control_plane.code is None:
                try:
                    stream = await trio.open_tcp_stream(HOST, port)
                except OSError:
                    await trio.sleep(0.05)
                else:
                    await stream.aclose()
                    return
            await control_plane.relayed.wait()  # the child's last lines come before the error
            raise OperationError(f"the control plane did not start ({ended(control_plane.code)}): see above")
        raise OperationError(f"the control plane is not ready after {_READY_WITHIN_S:g} s")

    async def _report_end(self, worker: Child) -> None:
        code = await worker.wait()
        if not self._ending:
            self._say(self._paint(f"{worker.name} has ended ({ended(code)}); the others go on", "bold"))

    async def _end(self) -> None:
        """End the workers first, so that they can leave in order, and then the control plane."""
        self._ending = True
        with trio.move_on_after(_INTERRUPTED_END_WITHIN_S if self._interrupted else _END_WITHIN_S):
            for group in (self._children[1:], self._children[:1]):
                for child in group:
                    child.signal(signal.SIGTERM)
                for child in group:
                    await child.wait()
                    await child.relayed.wait()
        self._kill()
        for child in self._children:
            await child.wait()

    def _kill(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)

    def _say(self, line: str) -> None:
        if self._interrupted:
            return
        try:
            print(line, file=self._out, flush=True)
        except OutputError:
            if not self._on_terminal:
                raise
            # The terminal was closed. The SIGHUP that follows ends everything, unless it is ignored.


def _banner(ports: Ports, interval: str, timeout: str, notices: Sequence[str], paint: Paint) -> list[str]:
    rest = f"http://{Address(HOST, ports.http)}"
    other = "" if ports.http == 8080 else f" --url {rest}"
    return [
        "",
        paint("MiniCloud on this machine; nothing is kept; Ctrl-C ends it.", "bold"),
        *(f"  {notice}" for notice in notices),
        f"  REST      {rest}/api/workers",
        f"  API docs  {rest}/docs",
        f"  metrics   {rest}/metrics",
        f"  gRPC      {Address(HOST, ports.grpc)}",
        f"  try       minicloud workers{other}",
        f"  heartbeats every {interval}; UNHEALTHY after {timeout} of silence",
        "",
    ]
