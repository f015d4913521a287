"""`minicloud workers` and `minicloud stats`: who is there, and how the cluster is doing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from minicloud.cli import exits
from minicloud.cli.parser import Parser, operator_parser
from minicloud.cli.rest import Rest
from minicloud.cli.text import Paint, age, clean, columns_of, fields, percent, size, table
from minicloud.core.commands import check_worker_id

STATUS_STYLES = {"HEALTHY": "green", "UNHEALTHY": "red", "DRAINING": "yellow"}

_PAGE = 1000  # so that no answer keeps the control plane's loop for long
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


def worker_path(worker_id: str, action: str = "") -> str:
    """The path of one worker, or of something to be done to it; raises `InvalidError` for no valid id."""
    return f"/api/workers/{quote(check_worker_id(worker_id), safe='')}" + (f"/{action}" if action else "")


def workers_parser() -> Parser:
    """The parser of `minicloud workers`."""
    parser = operator_parser("workers")
    parser.add_argument("id", metavar="ID", nargs="?", help="show this one in full")
    parser.add_argument(
        "--status", metavar="STATUS", help="only those that are healthy, unhealthy or draining"
    )
    return parser


def workers(arguments: Sequence[str]) -> int:
    """Run `minicloud workers`."""
    parser = workers_parser()
    options = parser.parse_args(arguments)
    if options.id and options.status:
        parser.error("--status is for the list: leave out the ID")
    rest = Rest(options.url, options.timeout)
    paint = Paint(sys.stdout)
    if options.id:
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
    """The parser of `minicloud stats`."""
    return operator_parser("stats")


def stats(arguments: Sequence[str]) -> int:
    """Run `minicloud stats`."""
    options = stats_parser().parse_args(arguments)
    cluster = Rest(options.url, options.timeout).get("/api/workers/stats")
    paint = Paint(sys.stdout)
    for line in [json.dumps(cluster, indent=2)] if options.json else fields(_cluster(cluster, paint), paint):
        print(line)
    return exits.OK


def _list(found: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    if not found:
        return []
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
    )


def _row(worker: Mapping[str, Any]) -> tuple[str, ...]:
    resources = worker.get("resources") or {}
    healthy = worker.get("status") == "HEALTHY"
    return (
        clean(worker.get("workerId", "")),
        _status(worker),
        age(worker.get("statusAgeMs", 0)),
        clean(worker.get("zone", "")),
        clean(worker.get("endpoint", "")),
        f"{percent(resources.get('cpuUtilization', 0))} of {resources.get('cpuCores', 0)}",
        f"{percent(resources.get('memoryUtilization', 0))} of {size(resources.get('memoryMb', 0))}",
        str(resources.get("activeQueries", 0)),
        age(worker.get("heartbeatAgeMs", 0)),
        "" if healthy else clean(worker.get("statusReason", "")),
    )


def _styles(worker: Mapping[str, Any]) -> tuple[str, ...]:
    style = STATUS_STYLES.get(worker.get("status", ""), "")
    return ("bold", style, *("" for _ in _HEADINGS[2:]))


def _status(worker: Mapping[str, Any]) -> str:
    """The status, and what an operator said where the status does not show it."""
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
            f"{status} for {age(worker.get('statusAgeMs', 0))}: {clean(worker.get('statusReason', ''))}",
        ),
        ("new work", "yes" if worker.get("schedulable") else "no"),
        ("operators say", _said(worker)),
        ("endpoint", clean(worker.get("endpoint", ""))),
        ("zone", clean(worker.get("zone", ""))),
        ("incarnation", str(worker.get("incarnation", ""))),
        ("registered", utc(worker.get("registeredAtMs", 0))),
        (
            "last heartbeat",
            f"{age(worker.get('heartbeatAgeMs', 0))} ago ({utc(worker.get('lastHeartbeatMs', 0))})",
        ),
        ("cpu", f"{percent(resources.get('cpuUtilization', 0))} of {resources.get('cpuCores', 0)} cores"),
        ("memory", _part(resources, "memory") + f" ({percent(resources.get('memoryUtilization', 0))})"),
        ("disk", _part(resources, "disk")),
        ("queries", f"{resources.get('activeQueries', 0)} active"),
        *((f"  {clean(name)}", clean(metadata[name])) for name in sorted(metadata)),
    ]


def _said(worker: Mapping[str, Any]) -> str:
    """What operators have said, unless the status tells it."""
    reason = worker.get("adminReason", "")
    return "" if reason == worker.get("statusReason") else clean(reason)


def _part(resources: Mapping[str, Any], of: str) -> str:
    return f"{size(resources.get(f'{of}UsedMb', 0))} of {size(resources.get(f'{of}Mb', 0))} used"


def _cluster(cluster: Mapping[str, Any], paint: Paint) -> list[tuple[str, str]]:
    counts = [(status, cluster.get(f"{status.lower()}Workers", 0)) for status in STATUS_STYLES]
    told = ", ".join(
        paint(f"{count} {status.lower()}", STATUS_STYLES[status] if count else "") for status, count in counts
    )
    used, total = cluster.get("usedMemoryMb", 0), cluster.get("totalMemoryMb", 0)
    return [
        ("workers", f"{cluster.get('totalWorkers', 0)}: {told}"),
        ("cores", str(cluster.get("totalCpuCores", 0))),
        ("memory", f"{size(used)} of {size(total)} used"),
        ("queries", f"{cluster.get('activeQueries', 0)} active"),
        ("cpu", _mean_and_most(cluster, "CpuUtilization")),
        ("memory use", _mean_and_most(cluster, "MemoryUtilization")),
        ("oldest heartbeat", f"{age(cluster.get('oldestHeartbeatAgeMs', 0))} ago"),
    ]


def _mean_and_most(cluster: Mapping[str, Any], figure: str) -> str:
    return (
        f"mean {percent(cluster.get(f'mean{figure}', 0))}, most {percent(cluster.get(f'max{figure}', 0))} "
        "(healthy workers)"
    )


def utc(unix_ms: float) -> str:
    """Unix milliseconds as a date and time, to the second."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
