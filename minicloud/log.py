"""The log writes one line for each event to standard error, as JSON or for a terminal.

Always holds: an event is one line, whatever its values hold; logging raises nothing and waits for no reader
of standard error (DESIGN 77); a storm of one warning costs a bounded number of lines and bounded memory.
Messages that libraries log through `logging` have the same form, from warning on. `tests/unit/test_log.py`
keeps these.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from minicloud.lines import LineQueue, encoded, is_terminal, stand_in_for_stderr
from minicloud.request_id import show_request_id

# One broken worker, network or disk causes the same event hundreds of times a second. Ten lines show the
# pattern; the next line that gets through counts the lines left out.
STORM_LINES = 10
STORM_WINDOW_S = 10.0
STORM_EVENTS = 256  # The most events remembered: libraries put values into theirs.

_LIMITED_LEVELS = frozenset({"warning", "error", "critical"})
# These are limited at every level: a client can cause them as often as it likes (DESIGN 74).
_LIMITED_EVENTS = frozenset(
    {"http_answer_broken_off", "http_client_stalled", "http_request_refused", "rpc_connection_dropped"}
)
_STORM_KEY = "_storm_key"

_STDERR = 2
# This is the queue of the process's log; it is empty before the first `configure`.
_queues: list[LineQueue] = []


def configure(
    level: str = "info",
    format: str = "auto",
    *,
    fd: int = _STDERR,
    now_s: Callable[[], float] = time.monotonic,
) -> None:
    """Send every log line of this process to `fd`.

    `level` is debug, info, warning or error; `format` is json, console, or auto: console where `fd` is a
    terminal. Colours only on a terminal, and not under `NO_COLOR`. Call it once, before the first line:
    loggers keep what they were first used with. `now_s` is the storm limiter's clock.
    """
    terminal = is_terminal(fd)
    console = format == "console" or (format == "auto" and terminal)
    added: list[Processor] = [show_request_id, structlog.processors.add_log_level]
    rendering: list[Processor] = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    if console:
        rendering += [
            _escape,
            structlog.dev.ConsoleRenderer(
                colors=terminal and not os.environ.get("NO_COLOR"),
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=24,
            ),
        ]
    else:
        rendering += [
            structlog.processors.ExceptionRenderer(
                ExceptionDictTransformer(show_locals=False, max_frames=30, use_rich=False)
            ),
            _json_line,
        ]

    def dropped_line(count: int) -> bytes:
        # This line passes the storm limiter, as it is the only trace of the dropped lines.
        log = structlog.wrap_logger(
            structlog.ReturnLogger(), [*added, *rendering], structlog.make_filtering_bound_logger("warning")
        )
        return encoded(f"{log.warning('log_lines_dropped', lines=count)}\n")

    while _queues:
        _queues.pop().close()
    _queues.append(LineQueue(fd, dropped_line))
    writer = _LineWriter(_queues[0])
    structlog.configure(
        processors=[*added, StormLimiter(now_s), *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    _route_libraries(level)


def redirect_stderr() -> None:
    """Send all other text for standard error through the queue, too: a warning of Python's, the traceback of
    a crash, the last line of a program that fails. None of these then waits for a reader.

    Call it after `configure`. A standard error that was replaced before stays as it is.
    """
    stand_in_for_stderr(_queues[0])


def flush() -> None:
    """Wait until all logged lines are written, for a second at most."""
    for queue in _queues:
        queue.flush()


def lines_dropped() -> int:
    """Return how many lines of this process's log were dropped because nothing read them or writing
    failed."""
    return sum(queue.dropped for queue in _queues)


class StormLimiter:
    """A `StormLimiter` passes `lines` warnings or errors of one event in any `window_s` seconds and drops the
    rest.

    The first one after a storm carries `suppressed`: how many were dropped. Other info lines, and so all
    changes of membership, always pass; those about mistakes of clients are limited as warnings are (DESIGN
    74).
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        lines: int = STORM_LINES,
        window_s: float = STORM_WINDOW_S,
        events: int = STORM_EVENTS,
    ) -> None:
        self._now_s = now_s
        self._lines = lines
        self._window_s = window_s
        self._events = events
        # For each event: the start of its window, lines passed in it, lines dropped since the last one that
        # passed.
        self._seen: OrderedDict[str, tuple[float, int, int]] = OrderedDict()
        # The store and the resolver log from threads of their own. The lock is reentrant, as the garbage
        # collector may run a finalizer that logs while the lock is held.
        self._lock = threading.RLock()

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        key = event.pop(_STORM_KEY, None) or str(event.get("event", ""))
        if event.get("level") not in _LIMITED_LEVELS and key not in _LIMITED_EVENTS:
            return event
        with self._lock:
            suppressed = self._admit(key)
        if suppressed:
            event["suppressed"] = suppressed
        return event

    def _admit(self, key: str) -> int:
        """Return how many lines were dropped before this one; raises `DropEvent` where this one is dropped
        too."""
        now_s = self._now_s()
        start_s, passed, suppressed = self._seen.pop(key, (now_s, 0, 0))
        if now_s - start_s >= self._window_s:
            start_s, passed = now_s, 0
        if passed >= self._lines:
            self._seen[key] = (start_s, passed, suppressed + 1)
            raise structlog.DropEvent
        self._seen[key] = (start_s, passed + 1, 0)
        if len(self._seen) > self._events:
            self._seen.popitem(last=False)
        return suppressed


class _LineWriter:
    """A `_LineWriter` hands each line to the queue. `sys.stderr` is not used: it would keep the text that it
    could not write, and fail with it when the process ends."""

    def __init__(self, queue: LineQueue) -> None:
        self._queue = queue

    def msg(self, line: str) -> None:
        self._queue.put(encoded(f"{line}\n"))

    debug = info = warning = error = critical = msg
    exception = fatal = warn = msg


def _json_line(logger: WrappedLogger, name: str, event: EventDict) -> str:
    # The fields that a reader looks for first come first.
    ordered = {"timestamp": event.pop("timestamp"), "level": event.pop("level"), "event": event.pop("event")}
    ordered.update(event)
    try:
        return json.dumps(ordered, default=repr, allow_nan=False)
    # a NaN, a key that is no text, or a circle is shown as text instead
    except (ValueError, TypeError, RecursionError):
        return json.dumps({str(key): repr(value) for key, value in ordered.items()})


def _escape(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Line breaks and control codes in values shown as `\\n` and `\\x1b`: they may come from the network."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event


class _ToStructlog(logging.Handler):
    """A `_ToStructlog` hands messages that libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        fields: dict[str, Any] = {"logger": record.name, _STORM_KEY: f"{record.name}:{record.msg}"}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        try:
            message = record.getMessage()
        except Exception:  # the library's format and arguments do not fit
            message = str(record.msg)
        getattr(structlog.get_logger(), level)(message, **fields)


def _route_libraries(level: str) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ToStructlog)]:
        root.removeHandler(handler)
    root.addHandler(_ToStructlog())
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
