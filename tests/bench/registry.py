"""This benchmark measures the core alone: renewals, sweeps, and the memory of a registered worker."""

from __future__ import annotations

import gc
import time
import tracemalloc
from array import array
from random import Random

from minicloud.core.commands import Heartbeat, Register, Sweep
from minicloud.core.model import Resources, WorkerId
from minicloud.core.registry import Registry
from tests.bench.table import Figure

SIZES = (100, 5_000, 100_000)
ROUNDS = 15
RENEWALS = 100_000
RESOURCES = Resources(8, 32_768, 512_000, 3, 0.4, 0.5, 16_384, 100_000)


def filled(workers: int) -> Registry:
    """Return a registry of `workers` workers, all registered at instant 0 in incarnation 1."""
    registry = Registry()
    for number in range(workers):
        command = Register(
            endpoint=f"10.0.{number >> 8 & 255}.{number & 255}:9091",
            generated_id=WorkerId("unused"),
            worker_id=f"worker-{number}",
            instance_id=f"{number:032x}",
            resources=RESOURCES,
            metadata={"zone": f"zone-{number % 3}"},
        )
        for event in registry.decide(command, 0.0):
            registry.apply(event)
    return registry


def _renewals_per_cpu_s(registry: Registry, order: array[int], start: int) -> float:
    decide, apply = registry.decide, registry.apply
    workers = len(order)
    began = time.process_time()
    for number in range(start, start + RENEWALS):
        now_s = number * 1e-6
        for event in decide(Heartbeat(f"worker-{order[number % workers]}", RESOURCES, 1, number + 1), now_s):
            apply(event)
    return RENEWALS / (time.process_time() - began)


def renewals() -> list[Figure]:
    """Measure heartbeats decided and applied, each with its worker's id freshly made, as a parsed one is.

    The figure is CPU time, best of some rounds, the sizes in turn: other load on the machine, which has its
    share of the caches too, only ever slows a round down.
    """
    prepared = []
    for size in SIZES:
        order = array("l", range(size))
        Random(size).shuffle(order)  # in the order of ids, neighbours in memory would flatter the large sizes
        prepared.append((filled(size), order))
    rounds = [
        [_renewals_per_cpu_s(registry, order, number * RENEWALS) for registry, order in prepared]
        for number in range(ROUNDS)
    ]
    rates = [max(of_size) for of_size in zip(*rounds, strict=True)]
    figures = [
        Figure(
            f"renewals a CPU second, {size:,} workers", f"{rate:,.0f}", "at least 200,000", rate >= 200_000
        )
        for size, rate in zip(SIZES, rates, strict=True)
    ]
    ratio = max(rates) / min(rates)
    figures.append(Figure("fastest over slowest size", f"{ratio:.2f}", "at most 1.5", ratio <= 1.5))
    return figures


def sweeps() -> list[Figure]:
    """Measure one sweep of 100,000 workers: none, 1% and all of their leases expired."""
    workers = 100_000
    figures = []
    for expired in (0, workers // 100, workers):
        registry = filled(workers)
        for number in range(expired, workers):
            for event in registry.decide(Heartbeat(f"worker-{number}", None, 1, 1), 60.0):
                registry.apply(event)
        began = time.perf_counter()
        for event in registry.decide(Sweep(), 120.0):
            registry.apply(event)
        took_s = time.perf_counter() - began
        unhealthy = sum(1 for worker in registry.workers() if not worker.schedulable)
        assert unhealthy == expired, f"{unhealthy} expired, not {expired}"
        figures.append(Figure(f"sweep of 100,000, {expired:,} expired", f"{took_s * 1000:,.3f} ms"))
    return figures


def memory() -> list[Figure]:
    """Measure the memory that one more registered worker takes in the registry, its strings included."""
    workers = 20_000
    gc.collect()
    tracemalloc.start()
    registry = filled(workers)
    gc.collect()
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(registry) == workers
    return [Figure("bytes per registered worker", f"{used_bytes / workers:,.0f}")]
