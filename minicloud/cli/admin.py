"""`minicloud cordon`, `uncordon`, `drain` and `remove`: what an operator says of one worker."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.options import duration_s
from minicloud.cli.parser import Parser, operator_parser
from minicloud.cli.rest import RefusedError, Rest
from minicloud.cli.workers import worker_path
from minicloud.config.durations import format_duration

_DONE = {
    "cordon": "{} is cordoned: it gets no new work and keeps what it has",
    "uncordon": "{} may be given work again",
    "drain": "{} is draining: it finishes what it runs, then leaves",
    "remove": "{} is removed; if it is alive it will register again",
}
_POLL_S = 1.0


def admin_parser(name: str) -> Parser:
    """The parser of the command `name`, one of those above."""
    parser = operator_parser(name)
    parser.add_argument("id", metavar="ID", help="the worker's id, as `minicloud workers` shows it")
    if name != "remove":
        parser.add_argument(
            "--reason", metavar="TEXT", default="", help="why, for whoever looks at the worker or its events"
        )
    if name == "drain":
        parser.add_argument("--wait", action="store_true", help="return once the worker has left")
        parser.add_argument("--within", metavar="DURATION", help="as --wait, but give up after this long")
    return parser


def admin(name: str, arguments: Sequence[str]) -> int:
    """Run the command `name`, one of those above."""
    options = admin_parser(name).parse_args(arguments)
    path = worker_path(options.id)
    rest = Rest(options.url, options.timeout)
    within_s = duration_s("--within", options.within) if name == "drain" and options.within else None
    before = rest.get(path) if name == "drain" and (options.wait or options.within) else None
    if name == "remove":
        answer = rest.delete(path)
    else:
        said = {"reason": options.reason} if options.reason else None
        answer = rest.post(worker_path(options.id, name), said)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(_DONE[name].format(options.id))
    if before is not None:
        sys.stdout.flush()
        wait_until_gone(rest, options.id, before, within_s)
        if not options.json:
            print(f"{options.id} has left")
    return exits.OK


def wait_until_gone(
    rest: Rest,
    worker_id: str,
    before: Mapping[str, Any],
    within_s: float | None,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once the worker has left; raises `OperationError` when it will not, or not `within_s`.

    One of the same id but a later incarnation has left and come back, which counts.
    """
    deadline_s = None if within_s is None else now_s() + within_s
    while True:
        try:
            worker = rest.get(worker_path(worker_id))
        except RefusedError as error:
            if error.status == 404:
                return
            raise
        if worker.get("incarnation") != before.get("incarnation"):
            return
        if worker.get("adminState", "DRAINING") != "DRAINING":
            raise OperationError(f"{worker_id} is not draining any more: somebody took it back")
        if worker.get("status") == "UNHEALTHY":
            raise OperationError(
                f"{worker_id} has gone silent and may never leave: if it is dead, "
                f"minicloud remove {worker_id}"
            )
        if deadline_s is not None and now_s() >= deadline_s:
            queries = (worker.get("resources") or {}).get("activeQueries", 0)
            raise OperationError(
                f"{worker_id} has not left within {format_duration(within_s or 0)}: it is still draining, "
                f"with {queries} queries active"
            )
        sleep(_POLL_S)
