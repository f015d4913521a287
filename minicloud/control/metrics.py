"""This module has the figures that MiniCloud counts and times, in the form that Prometheus reads.

Always holds: the label sets are bounded, and every known label set is there from the start, at 0, so that a
rate is right from the first event on. `tests/unit/control/test_metrics.py` keeps these. Figures are counted
in the loop's thread. Gauges about the cluster are computed at the scrape (`control/cluster_metrics.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

import minicloud
from minicloud.control.cluster_metrics import ClusterCollector, worker_series
from minicloud.control.membership import Membership
from minicloud.control.tallies import Calls, Shown, Tally
from minicloud.core.events import RegistrationOutcome
from minicloud.core.model import Departure, Status
from minicloud.rpc.refusals import Cause
from minicloud.store.port import MembershipEvent

HEARTBEAT_RESULTS = ("accepted", "stale", "unknown", "fenced", "invalid")
REGISTRATION_OUTCOMES = (*(registration.value for registration in RegistrationOutcome), "refused")
DEPARTURES = tuple(departure.value for departure in Departure)
STATUSES = tuple(status.value.lower() for status in Status)

# These reach from well under a heartbeat's cost to the longest duration of a call.
_DURATION_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENESS_BUCKETS_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """These are the metrics of one control plane, in a registry of their own.

    `per_worker` adds six series for each worker to every exposition. They are useful for tens of workers, and
    a burden on the monitoring for thousands.
    """

    def __init__(self, *, per_worker: bool = False) -> None:
        # Otherwise every counter and histogram has a second series with the time of its creation.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._per_worker = per_worker
        self._membership: Membership | None = None
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("minicloud_build", "The running version of MiniCloud.", registry=registry).info(
            {"version": minicloud.__version__}
        )

        self._heartbeats = Tally(
            "minicloud_heartbeats",
            "Heartbeats received, by result.",
            ("result",),
            ((result,) for result in HEARTBEAT_RESULTS),
        )
        self._registrations = Tally(
            "minicloud_registrations",
            "Registrations asked for, by outcome.",
            ("outcome",),
            ((outcome,) for outcome in REGISTRATION_OUTCOMES),
        )
        self._deregistrations = Tally(
            "minicloud_deregistrations",
            "Workers that are gone, by reason.",
            ("reason",),
            ((reason,) for reason in DEPARTURES),
        )
        self._transitions = Tally(
            "minicloud_status_transitions",
            "Changes of a worker's status; offline is that of one which is not registered.",
            ("from", "to"),
            ((old, new) for old in STATUSES for new in STATUSES if old != new),
        )
        self._grpc_calls = Calls("minicloud_grpc", "gRPC", ("method", "code"), _DURATION_BUCKETS_S)
        self._grpc_refusals = Tally(
            "minicloud_grpc_refusals",
            "gRPC connections and calls refused, by cause.",
            ("cause",),
            ((cause.value,) for cause in Cause),
        )
        self._http_requests = Calls(
            "minicloud_http", "HTTP", ("method", "route", "code"), _DURATION_BUCKETS_S
        )
        self._log_lines_dropped = Shown(
            "minicloud_log_lines_dropped",
            "Lines of the log that were not written, as nobody read them or writing failed.",
        )
        for collector in (
            self._heartbeats,
            self._registrations,
            self._deregistrations,
            self._transitions,
            self._grpc_calls,
            self._grpc_refusals,
            self._http_requests,
            self._log_lines_dropped,
        ):
            registry.register(collector)

        self._sweep_duration = Histogram(
            "minicloud_sweep_duration_seconds",
            "Time a sweep took that had something to expire.",
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._sweep_lateness = Histogram(
            "minicloud_sweep_lateness_seconds",
            "Time from the earliest deadline to the sweep that found it.",
            buckets=_LATENESS_BUCKETS_S,
            registry=registry,
        )
        self._stalls = Counter(
            "minicloud_stalls",
            "Stalls of the control plane, each longer than a second: a blocked loop, a stopped process, a "
            "suspended machine. Deadlines moved by them.",
            registry=registry,
        )
        self._stalled = Counter(
            "minicloud_stalled_seconds", "Time that the control plane was stalled.", registry=registry
        )
        self._batch_changes = Histogram(
            "minicloud_store_batch_changes",
            "Changes of membership made durable in one batch.",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._batch_duration = Histogram(
            "minicloud_store_batch_duration_seconds",
            "Time it took to make a batch of changes durable.",
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._store_available = Gauge(
            "minicloud_store_available",
            "1 while changes can be made durable, 0 while the registry's disk is full, hangs or fails.",
            registry=registry,
        )
        self._store_available.set(1)
        self._store_unwritten = Gauge(
            "minicloud_store_unwritten_changes",
            "Changes of membership that are not durable yet.",
            registry=registry,
        )
        self._store_oldest_unwritten = Gauge(
            "minicloud_store_oldest_unwritten_age_seconds",
            "Age of the oldest change that is not durable yet, 0 if there is none.",
            registry=registry,
        )
        self._store_dropped = Counter(
            "minicloud_store_dropped_events",
            "Events left out of the stored history, as too many happened while nothing could be written.",
            registry=registry,
        )
        self._grpc_connections = Gauge(
            "minicloud_grpc_connections", "Open gRPC connections.", registry=registry
        )

        self._http_connections = Gauge(
            "minicloud_http_connections", "Open HTTP connections.", registry=registry
        )
        self._http_streams = Gauge("minicloud_http_streams", "Open event streams.", registry=registry)
        self._http_crowded_out = Tally(
            "minicloud_http_connections_crowded_out",
            "HTTP connections that were refused, or closed for another's sake.",
            ("how",),
            (("displaced",), ("refused",)),
        )
        registry.register(self._http_crowded_out)

    def watch(self, membership: Membership) -> None:
        """Count the changes of `membership` from now on, and show its cluster at every scrape. Call this
        once."""
        assert self._membership is None, "metrics watch one membership"
        self._membership = membership
        self.registry.register(ClusterCollector(membership))
        membership.subscribe(self.on_entry)

    # Counting

    def heartbeat(self, result: str) -> None:
        """Count a heartbeat. `result` is accepted, stale, unknown, fenced or invalid."""
        self._heartbeats.counts[(result,)] += 1

    def registration(self, outcome: str) -> None:
        """Count a registration. `outcome` is new, again, returned, takeover, renamed, clone or refused."""
        self._registrations.counts[(outcome,)] += 1

    def on_entry(self, entry: MembershipEvent) -> None:
        """Count a change of membership. This is a subscriber of membership."""
        if entry.old_status is not entry.new_status:
            self._transitions.counts[entry.old_status.value.lower(), entry.new_status.value.lower()] += 1
        if entry.kind == "departed":
            self._deregistrations.counts[(entry.detail,)] += 1

    def sweep(self, duration_s: float, lateness_s: float) -> None:
        """Time a sweep. This is membership's `swept`."""
        self._sweep_duration.observe(duration_s)
        self._sweep_lateness.observe(lateness_s)

    def stall(self, by_s: float) -> None:
        """Count a stall. This is an observer of membership's stalls."""
        self._stalls.inc()
        self._stalled.inc(by_s)

    def store_batch(self, changes: int, seconds: float) -> None:
        """Time a batch. This is the `batch_written` of a store observer."""
        self._batch_changes.observe(changes)
        self._batch_duration.observe(seconds)

    def store_available(self, available: bool) -> None:
        """Show whether the store can make changes durable."""
        self._store_available.set(available)

    def store_dropped(self, events: int) -> None:
        """Count events that are left out of the stored history."""
        self._store_dropped.inc(events)

    def show_store(self, unwritten: Callable[[], int], oldest_unwritten_s: Callable[[], float]) -> None:
        """Show at every scrape how many changes are not durable, and the age of the oldest of them."""
        self._store_unwritten.set_function(unwritten)
        self._store_oldest_unwritten.set_function(oldest_unwritten_s)

    def grpc_call(self, method: str, code: str, seconds: float) -> None:
        """Count and time a call. `code` is the name of its status, such as NOT_FOUND."""
        self._grpc_calls.count((method, code), seconds)

    def grpc_refusal(self, cause: Cause) -> None:
        """Count a connection or a call that was refused."""
        self._grpc_refusals.counts[(cause.value,)] += 1

    def show_grpc_connections(self, count: Callable[[], int]) -> None:
        """Show the open gRPC connections, which `count` returns, at every scrape."""
        self._grpc_connections.set_function(count)

    def show_http_connections(self, open_: Callable[[], int], streams: Callable[[], int]) -> None:
        """Show the open HTTP connections, and the event streams among them, at every scrape."""
        self._http_connections.set_function(open_)
        self._http_streams.set_function(streams)

    def http_crowded_out(self, how: str) -> None:
        """Count an HTTP connection that was `displaced` or `refused`."""
        self._http_crowded_out.counts[(how,)] += 1

    def show_log_lines_dropped(self, count: Callable[[], int]) -> None:
        """Show the lines of the log that were not written, which `count` returns, at every scrape."""
        self._log_lines_dropped.count = count

    def http_request(self, method: str, route: str, code: str, seconds: float) -> None:
        """Count and time a request. `route` is the template, such as /api/workers/{worker_id}; `seconds` ends
        where the answer begins."""
        self._http_requests.count((method, route, code), seconds)

    # Exposition

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the whole exposition and its content type, as `exposition_parts` does in parts."""
        parts, content_type = self.exposition_parts(accept)
        return b"".join(parts), content_type

    def exposition_parts(self, accept: str = "") -> tuple[Iterator[bytes], str]:
        """Return the exposition in parts, and its content type: OpenMetrics 1.0 if the `Accept` header names
        it, else the text format 0.0.4."""
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            end = b"# EOF\n"
            return self._with_workers(body.removesuffix(end), end), openmetrics.CONTENT_TYPE_LATEST
        return self._with_workers(generate_latest(self.registry), b""), CONTENT_TYPE_PLAIN_0_0_4

    def _with_workers(self, body: bytes, end: bytes) -> Iterator[bytes]:
        yield body
        if self._per_worker and self._membership:
            for lines in worker_series(self._membership):
                yield lines.encode()
        yield end
