"""The statistics sum up the cluster."""

from __future__ import annotations

import pytest

from minicloud.core.commands import Cordon, Drain
from minicloud.core.model import ClusterStats, Resources
from minicloud.core.stats import cluster_stats
from tests.unit.core.driver import Driver


def test_stats_of_no_workers_are_all_zero() -> None:
    assert cluster_stats([], 1000.0) == ClusterStats()


def test_stats_total_everyone_and_average_the_healthy() -> None:
    driver = Driver()
    for number, worker_id in enumerate(["asleep", "busy", "idle", "cordoned", "draining"]):
        resources = Resources(
            cpu_cores=2**number,
            memory_mb=1000 * 2**number,
            active_queries=10**number,
            cpu_utilization=[1.0, 0.8, 0.2, 1.0, 1.0][number],
            memory_utilization=[1.0, 0.25, 0.75, 1.0, 1.0][number],
            memory_used_mb=2**number,
        )
        driver.register(worker_id, instance=worker_id, resources=resources)
        driver.now_s += 60.0 if worker_id == "asleep" else 5.0
    driver.do(Cordon("cordoned"))
    driver.do(Drain("draining"))
    driver.now_s += 50.0
    driver.sweep()
    assert cluster_stats(driver.registry.workers(), driver.now_s) == ClusterStats(
        total=5,
        healthy=2,
        unhealthy=1,
        draining=2,
        cpu_cores=31,
        memory_mb=31_000,
        memory_used_mb=31,
        active_queries=11_111,
        mean_cpu_utilization=0.5,
        max_cpu_utilization=0.8,
        mean_memory_utilization=0.5,
        max_memory_utilization=0.75,
        oldest_heartbeat_age_s=130.0,
    )


def test_stats_without_a_healthy_worker_have_no_utilisation() -> None:
    driver = Driver()
    driver.register("w", resources=Resources(cpu_cores=8, cpu_utilization=0.9, memory_utilization=0.9))
    driver.fall_silent()
    stats = cluster_stats(driver.registry.workers(), driver.now_s)
    assert (stats.total, stats.unhealthy, stats.cpu_cores) == (1, 1, 8)
    assert (stats.mean_cpu_utilization, stats.max_cpu_utilization) == (0.0, 0.0)
    assert (stats.mean_memory_utilization, stats.max_memory_utilization) == (0.0, 0.0)
    assert stats.oldest_heartbeat_age_s == pytest.approx(120.0)
