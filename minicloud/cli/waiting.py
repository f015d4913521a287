"""`minicloud drain` waits here for the worker to leave, and shows its progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest
from minicloud.cli.text import clean, columns_of, cut, number
from minicloud.cli.workers import worker_path
from minicloud.config.durations import format_duration

_POLL_S = 1.0
_REPORTED_AGAIN_S = 30.0


class DeadlineError(OperationError):
    """The worker has not left by the deadline."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A `Wait` waits for `worker_id` to leave, without end where `deadline_s` is None.

    `patient` goes on waiting for a worker that has gone silent, until the deadline.
    """

    worker_id: str
    deadline_s: float | None = None
    patient: bool = False
    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until_gone(self, rest: Rest, before: Mapping[str, Any], progress: Progress) -> None:
        """Wait until the worker has left; raises `OperationError` where it will not, or not in time.

        A worker of the same id with a later incarnation has left and come back, which counts.
        """
        began_s = self.now_s()
        while True:
            worker = self._look(rest)
            if worker is None or worker.get("incarnation") != before.get("incarnation"):
                return
            waited_s = self.now_s() - began_s
            self._check(worker, waited_s)
            progress.show(worker, waited_s, self.deadline_s)
            rest_s = _POLL_S if self.deadline_s is None else min(_POLL_S, self.deadline_s - waited_s)
            self.sleep(rest_s)

    def _look(self, rest: Rest) -> Mapping[str, Any] | None:
        try:
            return rest.get(worker_path(self.worker_id))
        except RefusedError as error:
            if error.status == 404 and error.detailed:  # an error of a proxy has no details
                return None
            raise

    def _check(self, worker: Mapping[str, Any], waited_s: float) -> None:
        if worker.get("adminState", "DRAINING") != "DRAINING":
            raise OperationError(f"{self.worker_id} is not draining any more: somebody took it back")
        if worker.get("status") == "UNHEALTHY" and not self.patient:
            raise OperationError(
                f"{self.worker_id} has gone silent and may never leave: if it is dead, "
                f"minicloud remove {self.worker_id}"
            )
        if self.deadline_s is not None and waited_s >= self.deadline_s:
            raise DeadlineError(
                f"{self.worker_id} has not left within {format_duration(self.deadline_s)}: it is still "
                f"draining, with {_queries(worker)}; wait longer, or have it removed then with --force"
            )


class Progress:
    """A `Progress` draws one line anew on a terminal; elsewhere it prints a line for each change, and one
    every 30 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._columns = columns_of(stream) if stream.isatty() else None
        self._drawn = False
        self._reported = ""
        self._reported_s = 0.0

    def show(self, worker: Mapping[str, Any], waited_s: float, deadline_s: float | None) -> None:
        """Show the worker's state after so many seconds."""
        state = f"{clean(worker.get('workerId', ''))} is {clean(worker.get('status', '')).lower()}"
        state += f", with {_queries(worker)}"
        end = f" of {format_duration(deadline_s)}" if deadline_s is not None else ""
        text = f"{state} ({waited_s:.0f}s{end})"
        if self._columns is not None:  # a line that fills its row would wrap
            self._drawn = True  # before it is: a Ctrl-C may come in between
            print(f"\r{cut(text, self._columns - 1)}\x1b[K", end="", file=self._stream, flush=True)
        elif state != self._reported or waited_s - self._reported_s >= _REPORTED_AGAIN_S:
            print(text, file=self._stream, flush=True)
            self._reported, self._reported_s = state, waited_s

    def close(self) -> None:
        """Clear the line, so that the terminal is as before."""
        if self._drawn:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._drawn = False


def standard_progress() -> Progress:
    """Return a progress on standard error, where it does not mix with output."""
    return Progress(sys.stderr)


def _queries(worker: Mapping[str, Any]) -> str:
    count = number(worker.get("resources"), "activeQueries")
    return f"{count:g} {'query' if count == 1 else 'queries'} running"
