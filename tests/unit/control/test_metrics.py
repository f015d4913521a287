"""The metrics show each count, in both formats, for the library's own parsers."""

from __future__ import annotations

import re

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from trio.testing import MockClock

from minicloud.control.metrics import Metrics
from minicloud.control.tallies import MOST_CALL_SERIES
from minicloud.core.commands import Deregister, Drain, Heartbeat, Remove
from minicloud.core.model import Resources
from tests.unit.control.rest.kit import Rest

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(metrics: Metrics, *, openmetrics: bool = False) -> list[Metric]:
    accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
    body, content_type = metrics.exposition(accept)
    assert content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain")
    parse = parse_openmetrics if openmetrics else parse_text
    return list(parse(body.decode()))


def samples(metrics: Metrics, *, openmetrics: bool = False) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(metrics, openmetrics=openmetrics)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


@pytest.fixture(params=[False, True], ids=["text", "openmetrics"])
def openmetrics(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_every_known_combination_is_there_from_the_start_at_zero(openmetrics: bool) -> None:
    found = samples(Metrics(), openmetrics=openmetrics)
    expected = {
        "minicloud_heartbeats_total": {"accepted", "stale", "unknown", "fenced", "invalid"},
        "minicloud_registrations_total": {
            "new",
            "again",
            "returned",
            "takeover",
            "renamed",
            "clone",
            "refused",
        },
        "minicloud_deregistrations_total": {"left", "drained", "removed", "replaced", "forgotten"},
    }
    for name, known in expected.items():
        shown = {labels[0][1]: count for (found_name, labels), count in found.items() if found_name == name}
        assert shown == dict.fromkeys(known, 0)
    transitions = [labels for name, labels in found if name == "minicloud_status_transitions_total"]
    assert len(transitions) == 12
    assert (("from", "healthy"), ("to", "unhealthy")) in transitions


def test_counts_and_times_are_shown(openmetrics: bool) -> None:
    metrics = Metrics()
    metrics.heartbeat("accepted")
    metrics.heartbeat("accepted")
    metrics.registration("refused")
    metrics.grpc_call("/m.S/Heartbeat", "OK", 0.003)
    metrics.grpc_call("/m.S/Heartbeat", "OK", 20.0)
    metrics.http_request("GET", "/api/workers", "200", 0.005)
    metrics.show_grpc_connections(lambda: 1)
    metrics.show_http_connections(lambda: 3, lambda: 2)
    metrics.http_crowded_out("displaced")
    metrics.sweep(0.002, 0.2)
    metrics.store_batch(7, 0.004)
    found = samples(metrics, openmetrics=openmetrics)
    assert found["minicloud_heartbeats_total", (("result", "accepted"),)] == 2
    assert found["minicloud_registrations_total", (("outcome", "refused"),)] == 1
    call = (("code", "OK"), ("method", "/m.S/Heartbeat"))
    assert found["minicloud_grpc_requests_total", call] == 2
    assert found["minicloud_grpc_request_duration_seconds_sum", call] == pytest.approx(20.003)
    buckets = {
        float(dict(labels)["le"]): count
        for (name, labels), count in found.items()
        if name == "minicloud_grpc_request_duration_seconds_bucket"
    }
    assert buckets[0.0025] == 0
    assert buckets[0.005] == buckets[10.0] == 1
    assert buckets[float("inf")] == 2
    request = (("code", "200"), ("method", "GET"), ("route", "/api/workers"))
    assert found["minicloud_http_requests_total", request] == 1
    # A bound belongs to its bucket.
    on_bound = (*request[:1], ("le", "0.005"), *request[1:])
    assert found["minicloud_http_request_duration_seconds_bucket", on_bound] == 1
    assert found["minicloud_grpc_connections", ()] == 1
    assert found["minicloud_http_connections", ()] == 3
    assert found["minicloud_http_streams", ()] == 2
    assert found["minicloud_http_connections_crowded_out_total", (("how", "displaced"),)] == 1
    assert found["minicloud_http_connections_crowded_out_total", (("how", "refused"),)] == 0
    assert found["minicloud_sweep_duration_seconds_count", ()] == 1
    assert found["minicloud_sweep_duration_seconds_sum", ()] == pytest.approx(0.002)
    assert found["minicloud_sweep_lateness_seconds_sum", ()] == pytest.approx(0.2)
    assert found["minicloud_store_batch_changes_sum", ()] == 7
    assert found["minicloud_store_batch_duration_seconds_count", ()] == 1
    assert found["minicloud_store_batch_duration_seconds_sum", ()] == pytest.approx(0.004)


def test_a_callers_made_up_methods_take_no_more_series_than_allowed() -> None:
    metrics = Metrics()
    for number in range(2 * MOST_CALL_SERIES):
        metrics.grpc_call(f"/made/up{number}", "UNIMPLEMENTED", 0.001)
    shown = [labels for name, labels in samples(metrics) if name == "minicloud_grpc_requests_total"]
    assert len(shown) == MOST_CALL_SERIES + 1
    assert value(metrics, "minicloud_grpc_requests_total", method="other", code="other") == MOST_CALL_SERIES


async def test_cluster_is_computed_at_the_scrape(autojump_clock: MockClock, openmetrics: bool) -> None:
    rest = Rest()
    empty = samples(rest.metrics, openmetrics=openmetrics)
    for status in ("healthy", "unhealthy", "draining"):
        assert empty["minicloud_workers", (("status", status),)] == 0
    rest.register("w1", "w2", "w3")
    rest.membership.execute(Drain("w3"))
    rest.membership.execute(
        Heartbeat("w1", Resources(8, 1024, 2048, 5, cpu_utilization=0.75, memory_utilization=1.0))
    )
    autojump_clock.jump(10)
    found = samples(rest.metrics, openmetrics=openmetrics)
    assert found["minicloud_workers", (("status", "healthy"),)] == 2
    assert found["minicloud_workers", (("status", "draining"),)] == 1
    assert found["minicloud_cluster_cpu_cores", ()] == 24
    assert found["minicloud_cluster_memory_bytes", ()] == 3 * 1024 * 1024 * 1024
    assert found["minicloud_cluster_memory_used_bytes", ()] == 2 * 512 * 1024 * 1024
    assert found["minicloud_cluster_active_queries", ()] == 11
    assert found["minicloud_cluster_cpu_utilization_mean_ratio", ()] == 0.5
    assert found["minicloud_cluster_cpu_utilization_max_ratio", ()] == 0.75
    assert found["minicloud_cluster_memory_utilization_mean_ratio", ()] == 0.75
    assert found["minicloud_cluster_memory_utilization_max_ratio", ()] == 1.0
    assert found["minicloud_oldest_heartbeat_age_seconds", ()] == 10
    autojump_clock.jump(110)  # only the scrape itself sweeps
    assert value(rest.metrics, "minicloud_workers", status="unhealthy") == 3


async def test_changes_of_membership_are_counted(autojump_clock: MockClock) -> None:
    rest = Rest()
    metrics = rest.metrics
    rest.register("w1", "w2", "w3", "w4")
    rest.register("w1")  # again: no transition
    rest.membership.execute(Drain("w2"))
    rest.membership.execute(Deregister("w2"))
    rest.membership.execute(Remove("w3"))
    rest.membership.execute(Deregister("w4"))
    autojump_clock.jump(120)
    rest.membership.execute(Heartbeat("w1"))
    counted = {
        (dict(labels)["from"], dict(labels)["to"]): count
        for (name, labels), count in samples(metrics).items()
        if name == "minicloud_status_transitions_total" and count
    }
    assert counted == {
        ("offline", "healthy"): 4,
        ("healthy", "draining"): 1,
        ("draining", "offline"): 1,
        ("healthy", "offline"): 2,
        ("healthy", "unhealthy"): 1,
        ("unhealthy", "healthy"): 1,
    }
    assert value(metrics, "minicloud_deregistrations_total", reason="drained") == 1
    assert value(metrics, "minicloud_deregistrations_total", reason="removed") == 1
    assert value(metrics, "minicloud_deregistrations_total", reason="left") == 1
    assert value(metrics, "minicloud_sweep_lateness_seconds_count") == 1


async def test_series_of_each_worker_are_shown_only_when_asked_for(openmetrics: bool) -> None:
    silent = Rest()
    silent.register("w1")
    assert "worker_id" not in silent.metrics.exposition()[0].decode()
    rest = Rest(per_worker=True)
    rest.register("w1", metadata={"zone": 'a "b"\\c\nd'})
    rest.register("w2")
    rest.membership.execute(Drain("w2"))
    found = samples(rest.metrics, openmetrics=openmetrics)
    w1 = (("worker_id", "w1"), ("zone", 'a "b"\\c\nd'))
    w2 = (("worker_id", "w2"), ("zone", "a"))
    assert found["minicloud_worker_healthy", w1] == 1
    assert found["minicloud_worker_healthy", w2] == 0
    assert found["minicloud_worker_schedulable", w2] == 0
    assert found["minicloud_worker_active_queries", w1] == 3
    assert found["minicloud_worker_cpu_utilization_ratio", w1] == 0.25
    assert found["minicloud_worker_memory_utilization_ratio", w1] == 0.5
    assert 0 <= found["minicloud_worker_heartbeat_age_seconds", w1] < 60


async def test_series_of_more_workers_than_a_slice_are_all_there(openmetrics: bool) -> None:
    rest = Rest(per_worker=True)
    ids = {f"w{number}" for number in range(450)}
    rest.register(*ids)
    shown: dict[str, list[str]] = {}
    for name, labels in samples(rest.metrics, openmetrics=openmetrics):
        if name.startswith("minicloud_worker_"):
            shown.setdefault(name, []).append(dict(labels)["worker_id"])
    assert len(shown) == 6
    for each in shown.values():
        assert len(each) == 450
        assert set(each) == ids


async def test_names_keep_prometheus_rules(openmetrics: bool) -> None:
    """This is promtool's `check metrics`, as far as it applies: units in full and at the end, `_total` on
    counters alone, help for all."""
    rest = Rest(per_worker=True)
    rest.register("w1")
    rest.metrics.grpc_call("/m.S/Heartbeat", "OK", 0.003)
    ours = [
        family for family in families(rest.metrics, openmetrics=openmetrics) if "minicloud" in family.name
    ]
    assert len(ours) > 20
    for family in ours:
        assert family.documentation, family.name
        assert re.fullmatch(r"minicloud(_[a-z0-9]+)+", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert not re.search(r"_(ms|millis|milliseconds|minutes|mb|mib|kb|percent)(_|$)", family.name)
        for unit in ("seconds", "bytes", "ratio"):
            assert (unit in family.name.split("_")) == family.name.endswith(f"_{unit}"), family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    assert not any(name.endswith("_created") for name, _ in samples(rest.metrics))
    if openmetrics:
        assert rest.metrics.exposition("application/openmetrics-text")[0].endswith(b"# EOF\n")


def test_process_and_build_are_shown() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"process_resident_memory_bytes", "python_gc_collections_total", "minicloud_build_info"} <= names
