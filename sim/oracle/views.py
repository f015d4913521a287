"""Promise 9: REST, gRPC and metrics show the same. The control plane is asked through each interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from minicloud.control.readiness import Readiness
from minicloud.control.rest.app import create_rest_app
from minicloud.wire.gen.minicloud.common import WorkerStatus
from minicloud.wire.gen.minicloud.execution import ListWorkersRequest, ListWorkersResponse
from sim.cluster.control_plane import ControlPlaneRun
from sim.cluster.topology import CONTROL_PLANE
from sim.oracle.calls import Calls
from sim.oracle.entries import Entries
from sim.oracle.ledger import Ledger
from sim.oracle.model import Judgement
from sim.verdict.promises import VIEWS_AGREE

_STATUSES = ("HEALTHY", "UNHEALTHY", "DRAINING")
_PAGE = 500  # workers asked for at a time; Quart's test client hangs on answers of more than ten chunks
_TRIES = 3  # the state may change between two questions

# id: status, incarnation and megabytes in use.
_View = dict[str, tuple[str, int, int]]


async def compare_views(run: ControlPlaneRun, ledger: Ledger, calls: Calls, entries: Entries) -> None:
    """Compare all views of `run` with each other, and its counters with those of the oracle since its
    start."""
    plane = run.plane
    readiness = Readiness()
    readiness.mark_ready()
    # An app of its own, as closing it closes the feed it follows.
    app = create_rest_app(plane.membership, plane.feed, plane.metrics, random=Random(1), readiness=readiness)
    client: Any = app.test_client()
    for _ in range(_TRIES):
        before = plane.feed.last_event_id
        taken = sum(calls.heartbeats.values())
        grpc = await _grpc_view(plane.service)
        rest = await _rest_view(client, "/api/workers")
        stats = await _json(client, "/api/workers/stats")
        offered = await _rest_view(client, "/api/workers/healthy")
        metrics = _samples(plane.metrics.exposition()[0].decode())
        if (before, taken) == (plane.feed.last_event_id, sum(calls.heartbeats.values())):
            break
    else:
        return  # it never stood still: nothing to compare
    differing = sorted(key for key in {*grpc, *rest} if grpc.get(key) != rest.get(key))
    first = differing[0] if differing else ""
    ledger.require(
        VIEWS_AGREE,
        not differing,
        first or CONTROL_PLANE,
        f"{len(differing)} workers differ: {first} is {grpc.get(first)} by gRPC, {rest.get(first)} by REST",
    )
    shown = {status: sum(1 for view in rest.values() if view[0] == status) for status in _STATUSES}
    by_stats = {status: stats[f"{status.lower()}Workers"] for status in _STATUSES}
    by_metrics = {status: round(metrics["minicloud_workers", status.lower()]) for status in _STATUSES}
    ledger.require(
        VIEWS_AGREE,
        shown == by_stats == by_metrics and stats["totalWorkers"] == len(rest),
        CONTROL_PLANE,
        f"REST lists {shown}, its statistics say {by_stats} of {stats['totalWorkers']}, metrics {by_metrics}",
    )
    healthy = sorted(key for key, view in rest.items() if view[0] == "HEALTHY")
    ledger.require(
        VIEWS_AGREE,
        list(offered) == healthy,
        CONTROL_PLANE,
        f"/api/workers/healthy has {len(offered)} workers, /api/workers shows {len(healthy)} as HEALTHY",
    )
    _compare_counters(metrics, ledger, calls, entries)


def _compare_counters(
    metrics: Mapping[tuple[str, str], float], ledger: Ledger, calls: Calls, entries: Entries
) -> None:
    """Compare the counters of this run with those of the oracle."""
    judgements = calls.heartbeats
    right = {
        ("minicloud_heartbeats_total", "accepted"): judgements[Judgement.ACCEPTED],
        ("minicloud_heartbeats_total", "stale"): judgements[Judgement.STALE]
        + judgements[Judgement.DUPLICATE],
        ("minicloud_heartbeats_total", "unknown"): judgements[Judgement.UNKNOWN],
        ("minicloud_heartbeats_total", "fenced"): judgements[Judgement.FENCED],
    }
    for (kind, detail), count in entries.counts.items():
        if kind == "registered":
            right["minicloud_registrations_total", detail] = count
        elif kind == "departed":
            right["minicloud_deregistrations_total", detail] = count
    for (name, label), count in right.items():
        counted = round(metrics.get((name, label), 0.0))
        ledger.require(
            VIEWS_AGREE,
            counted == count,
            CONTROL_PLANE,
            f"{name} of {label} is {counted}, and there were {count}",
        )


async def _grpc_view(service: Any) -> _View:
    view: _View = {}
    token = ""
    while True:
        encoded = bytes(await service.list_workers(ListWorkersRequest(limit=_PAGE, page_token=token)))
        answer = ListWorkersResponse.FromString(encoded)
        for worker in answer.workers:
            status = WorkerStatus(worker.status).name or ""
            assert worker.resources is not None
            view[worker.worker_id] = (status, worker.incarnation, worker.resources.memory_used_mb)
        token = answer.next_page_token
        if not token:
            return view


async def _rest_view(client: Any, path: str) -> _View:
    view: _View = {}
    path = f"{path}?limit={_PAGE}"
    while path:
        response = await client.get(path)
        for worker in json.loads(await response.get_data()):
            used_mb = worker["resources"]["memoryUsedMb"]
            view[worker["workerId"]] = (worker["status"], worker["incarnation"], used_mb)
        path = response.headers.get("Link", "").partition("<")[2].partition(">")[0]
    return view


async def _json(client: Any, path: str) -> Any:
    response = await client.get(path)
    return json.loads(await response.get_data())


def _samples(exposition: str) -> dict[tuple[str, str], float]:
    """The samples of MiniCloud by name and the value of their only label."""
    ours = "\n".join(line for line in exposition.splitlines() if "minicloud_" in line)
    families = cast("Any", text_string_to_metric_families)(ours + "\n")
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in families
        for sample in family.samples
        if len(sample.labels) <= 1
    }
