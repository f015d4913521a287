"""`minicloud workers` lists the workers and shows one of them; `minicloud stats` shows figures of the
cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from minicloud.cli import exits
from minicloud.cli.options import id_argument
from minicloud.cli.parser import Parser, operator_parser
from minicloud.cli.rest import Rest
from minicloud.cli.suggestions import nearest_word, suggesting_ids
from minicloud.cli.text import (
    Paint,
    age,
    clean,
    columns_of,
    fields,
    natural_key,
    number,
    percent,
    size,
    table,
)
from minicloud.core.commands import check_worker_id

STATUS_STYLES = {"HEALTHY": "green", "UNHEALTHY": "red", "DRAINING": "yellow"}

STATUSES = ("healthy", "unhealthy", "draining", "offline")

_PAGE = 1000  # a longer answer would keep the control plane's loop busy for long
_NONE = "no workers are registered: start one with minicloud --worker"
_NONE_OF = "no worker is {}"
_HEADINGS = (
    "WORKER",
    "STATUS",
    "SINCE",
    "ZONE",
    "ENDPOINT",
    "CPU",
    "MEMORY",
    "QUERIES",
    "SEEN",
    "REASON",
)
# These columns are left out of a terminal that is too narrow, from the first on.
_DISPENSABLE = ("SEEN", "SINCE", "ZONE", "MEMORY", "CPU", "ENDPOINT", "QUERIES")


def worker_path(worker_id: str, action: str = "") -> str:
    """Return the path of one worker, or of an action on it; raises `InvalidError` for a malformed id."""
    return f"/api/workers/{quote(check_worker_id(worker_id), safe='')}" + (f"/{action}" if action else "")


def workers_parser() -> Parser:
    """Return the parser of `minicloud workers`."""
    parser = operator_parser("workers")
    parser.add_argument("id", metavar="ID", type=id_argument, nargs="?", help="show this one in full")
    parser.add_argument(
        "--status", metavar="STATUS", type=_status_word, help=f"only those that are {_any_of(STATUSES)}"
    )
    return parser


def _status_word(text: str) -> str:
    word = text.strip().lower()
    if word in STATUSES:
        return word
    near = nearest_word(word, STATUSES)
    hint = f"did you mean {near}?" if near else f"give {_any_of(STATUSES)}"
    raise argparse.ArgumentTypeError(f"{text!r} is not a status: {hint}")


def _any_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def workers(arguments: Sequence[str]) -> int:
    """Run `minicloud workers`."""
    parser = workers_parser()
    options = parser.parse_args(arguments)
    if options.id and options.status:
        parser.error("--status is for the list: leave out the ID")
    rest = Rest.of(options)
    paint = Paint(sys.stdout)
    if options.id:
        with suggesting_ids(rest, options.id):
            worker = rest.get(worker_path(options.id))
        lines = [json.dumps(worker, indent=2)] if options.json else fields(_in_full(worker, paint), paint)
    else:
        query = {"limit": str(_PAGE), **({"status": options.status} if options.status else {})}
        found = rest.pages("/api/workers", query)
        lines = [json.dumps(found, indent=2)] if options.json else _list(found, paint)
        if not found and not options.json:
            print(_NONE_OF.format(options.status.upper()) if options.status else _NONE, file=sys.stderr)
    for line in lines:
        print(line)
    return exits.OK


def stats_parser() -> Parser:
    """Return the parser of `minicloud stats`."""
    return operator_parser("stats")


def stats(arguments: Sequence[str]) -> int:
    """Run `minicloud stats`."""
    options = stats_parser().parse_args(arguments)
    cluster = Rest.of(options).get("/api/workers/stats")
    paint = Paint(sys.stdout)
    for line in [json.dumps(cluster, indent=2)] if options.json else fields(_cluster(cluster, paint), paint):
        print(line)
    return exits.OK


def _list(found: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    if not found:
        return []
    found = sorted(found, key=lambda worker: natural_key(str(worker.get("workerId", ""))))
    rows = [_row(worker) for worker in found]
    styles = [_styles(worker) for worker in found]
    columns = columns_of(sys.stdout) if sys.stdout.isatty() else None
    return table(
        _HEADINGS,
        rows,
        paint,
        right=("SINCE", "CPU", "MEMORY", "QUERIES", "SEEN"),
        styles=styles,
        columns=columns,
        dispensable=_DISPENSABLE,
    )


def _row(worker: Mapping[str, Any]) -> tuple[str, ...]:
    resources = worker.get("resources") or {}
    healthy = worker.get("status") == "HEALTHY"
    return (
        clean(worker.get("workerId", "")),
        _status(worker),
        age(number(worker, "statusAgeMs")),
        clean(worker.get("zone", "")),
        clean(worker.get("endpoint", "")),
        f"{percent(number(resources, 'cpuUtilization'))} of {number(resources, 'cpuCores')}",
        f"{percent(number(resources, 'memoryUtilization'))} of {size(number(resources, 'memoryMb'))}",
        str(number(resources, "activeQueries")),
        age(number(worker, "heartbeatAgeMs")),
        "" if healthy else clean(worker.get("statusReason", "")),
    )


def _styles(worker: Mapping[str, Any]) -> tuple[str, ...]:
    style = STATUS_STYLES.get(worker.get("status", ""), "")
    return ("bold", style, *("" for _ in _HEADINGS[2:]))


def _status(worker: Mapping[str, Any]) -> str:
    """Return the status, and the operator's order where the status does not show it."""
    status = clean(worker.get("status", ""))
    admin = clean(worker.get("adminState", "ACTIVE"))
    return status if admin in ("ACTIVE", status) else f"{status} ({admin.lower()})"


def _in_full(worker: Mapping[str, Any], paint: Paint) -> list[tuple[str, str]]:
    resources = worker.get("resources") or {}
    metadata = worker.get("metadata") or {}
    status = paint(_status(worker), STATUS_STYLES.get(worker.get("status", ""), ""))
    return [
        ("worker", clean(worker.get("workerId", ""))),
        (
            "status",
            f"{status} for {age(number(worker, 'statusAgeMs'))}: {clean(worker.get('statusReason', ''))}",
        ),
        ("new work", "yes" if worker.get("schedulable") else "no"),
        ("operators say", _operator_state(worker)),
        ("endpoint", clean(worker.get("endpoint", ""))),
        ("zone", clean(worker.get("zone", ""))),
        ("incarnation", clean(worker.get("incarnation", ""))),
        ("registered", utc(number(worker, "registeredAtMs"))),
        (
            "last heartbeat",
            f"{age(number(worker, 'heartbeatAgeMs'))} ago ({utc(number(worker, 'lastHeartbeatMs'))})",
        ),
        ("cpu", f"{percent(number(resources, 'cpuUtilization'))} of {number(resources, 'cpuCores')} cores"),
        ("memory", _part(resources, "memory") + f" ({percent(number(resources, 'memoryUtilization'))})"),
        ("disk", _part(resources, "disk")),
        ("queries", f"{number(resources, 'activeQueries')} active"),
        *((f"  {clean(name)}", clean(metadata[name])) for name in sorted(metadata)),
    ]


def _operator_state(worker: Mapping[str, Any]) -> str:
    """Return the operator's reason, unless the status shows it already."""
    reason = worker.get("adminReason", "")
    return "" if reason == worker.get("statusReason") else clean(reason)


def _part(resources: Mapping[str, Any], of: str) -> str:
    return f"{size(number(resources, f'{of}UsedMb'))} of {size(number(resources, f'{of}Mb'))} used"


def _cluster(cluster: Mapping[str, Any], paint: Paint) -> list[tuple[str, str]]:
    counts = [(status, number(cluster, f"{status.lower()}Workers")) for status in STATUS_STYLES]
    told = ", ".join(
        paint(f"{count} {status.lower()}", STATUS_STYLES[status] if count else "") for status, count in counts
    )
    used, total = number(cluster, "usedMemoryMb"), number(cluster, "totalMemoryMb")
    return [
        ("workers", f"{number(cluster, 'totalWorkers')}: {told}"),
        ("cores", str(number(cluster, "totalCpuCores"))),
        ("memory", f"{size(used)} of {size(total)} used"),
        ("queries", f"{number(cluster, 'activeQueries')} active"),
        ("cpu", _mean_and_most(cluster, "CpuUtilization")),
        ("memory use", _mean_and_most(cluster, "MemoryUtilization")),
        ("oldest heartbeat", f"{age(number(cluster, 'oldestHeartbeatAgeMs'))} ago"),
    ]


def _mean_and_most(cluster: Mapping[str, Any], figure: str) -> str:
    return (
        f"mean {percent(number(cluster, f'mean{figure}'))}, most {percent(number(cluster, f'max{figure}'))} "
        "(healthy workers)"
    )


def utc(unix_ms: float) -> str:
    """Format Unix milliseconds as a date and time, to the second; the figure itself where no calendar
    has it."""
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{unix_ms:g} ms"
