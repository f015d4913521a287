"""`minicloud cordon`, `uncordon`, `drain` and `remove` carry out an operator's order for one worker."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from minicloud.cli import exits
from minicloud.cli.exits import OperationError
from minicloud.cli.options import duration_s, id_argument
from minicloud.cli.parser import Parser, operator_parser
from minicloud.cli.rest import RefusedError, Rest
from minicloud.cli.suggestions import suggesting_ids
from minicloud.cli.waiting import DeadlineError, Wait, standard_progress
from minicloud.cli.workers import worker_path
from minicloud.core.commands import MAX_REASON_CHARS
from minicloud.core.errors import ConfigError

_DONE = {
    "cordon": "{} is cordoned: it gets no new work and keeps what it has",
    "uncordon": "{} may be given work again",
    "drain": "{} is draining: it finishes what it runs, then leaves",
    "remove": "{} is removed; if it is alive it will register again",
}

_DRAIN = """\
--wait shows on standard error what the worker still runs. At the deadline the command ends with exit code 1
and the worker goes on draining; with --force it is removed then, and the exit code is 0. Ctrl-C ends the
wait alone."""

_REMOVE = """\
A worker that has gone silent is removed at once. One that is not is asked about on a terminal; elsewhere
--yes is needed, or nothing is done and the exit code is 2. A live worker registers again at its next
heartbeat: to be rid of it, drain it."""


def admin_parser(name: str) -> Parser:
    """Return the parser of the command `name`, one of the four above."""
    parser = operator_parser(name, {"drain": _DRAIN, "remove": _REMOVE}.get(name, ""))
    parser.add_argument(
        "id", metavar="ID", type=id_argument, help="the worker's id, as `minicloud workers` shows it"
    )
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        default="",
        type=_reason,
        help="why, for whoever looks at the worker or its events",
    )
    if name == "drain":
        parser.add_argument("--wait", action="store_true", help="return once the worker has left")
        parser.add_argument(
            "--deadline", "--within", metavar="DURATION", help="as --wait, but give up after this long"
        )
        parser.add_argument("--force", action="store_true", help="at the deadline, remove the worker")
    if name == "remove":
        parser.add_argument("--yes", action="store_true", help="do not ask, whatever the worker's status is")
    return parser


def admin(name: str, arguments: Sequence[str]) -> int:
    """Run the command `name`, one of the four above."""
    parser = admin_parser(name)
    options = parser.parse_args(arguments)
    if name == "drain" and options.force and not options.deadline:
        parser.error("--force is for the deadline: give --deadline DURATION too")
    path = worker_path(options.id)
    rest = Rest.of(options)
    with suggesting_ids(rest, options.id):
        if name == "drain":
            _drain(rest, options)
        elif name == "remove":
            if not options.yes and not _may_remove(options.id, rest.get(path)):
                raise OperationError(f"{options.id} was not removed")
            rest.delete(path, _reason_body(options))
            _report(name, options, None)
        else:
            _report(name, options, rest.post(worker_path(options.id, name), _reason_body(options)))
    return exits.OK


def _drain(rest: Rest, options: argparse.Namespace) -> None:
    path = worker_path(options.id)
    deadline_s = duration_s("--deadline", options.deadline) if options.deadline else None
    waits = options.wait or deadline_s is not None
    before = rest.get(path) if waits else {}
    _report("drain", options, rest.post(worker_path(options.id, "drain"), _reason_body(options)))
    if not waits:
        return
    sys.stdout.flush()
    progress = standard_progress()
    left = f"{options.id} has left"
    try:
        Wait(options.id, deadline_s, patient=options.force).until_gone(rest, before, progress)
    except DeadlineError:
        if not options.force:
            raise
        if _removed(rest, path, options.reason or f"not drained within {options.deadline}"):
            left = f"{options.id} had not left within {options.deadline}, and is removed"
    finally:
        progress.close()
    if not options.json:
        print(left)


def _removed(rest: Rest, path: str, reason: str) -> bool:
    """Remove the worker. Returns False where it had left just then."""
    try:
        rest.delete(path, {"reason": reason})
    except RefusedError as error:
        if error.status != 404:
            raise
        return False
    return True


def _report(name: str, options: argparse.Namespace, answer: object) -> None:
    print(json.dumps(answer, indent=2) if options.json else _DONE[name].format(options.id))


def _reason_body(options: argparse.Namespace) -> dict[str, str] | None:
    return {"reason": options.reason} if options.reason else None


def _may_remove(worker_id: str, worker: Mapping[str, Any]) -> bool:
    """Return True if this worker may be removed. Asks the user where the worker is not silent.

    Raises `ConfigError` where there is no terminal to ask on.
    """
    status = str(worker.get("status", ""))
    if status in ("UNHEALTHY", "OFFLINE"):
        return True
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise ConfigError(
            f"{worker_id} is {status}, and nobody is here to ask: give --yes to remove it all the same, "
            f"or minicloud drain {worker_id} to have it leave"
        )
    print(
        f"{worker_id} is {status}; it will register again unless it is stopped. Remove it? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _reason(text: str) -> str:
    if len(text) > MAX_REASON_CHARS:
        raise argparse.ArgumentTypeError(f"it has {len(text)} characters: give at most {MAX_REASON_CHARS}")
    return text
