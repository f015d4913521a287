"""The reported resources are always valid, those of the container where it is tighter, and never an
exception."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from minicloud.clock import SystemClock
from minicloud.core.model import Resources
from minicloud.worker.cgroup import Cgroup, CpuQuota, MemoryLimit
from minicloud.worker.resources import CpuTimes, LocalMachine, ResourceProbe, Usage

MIB = 1024 * 1024


class FakeClock(SystemClock):
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


class FakeMachine:
    def __init__(self) -> None:
        self.core_count = 8
        self.times = CpuTimes(1000.0, 9000.0)
        self.memory_usage = Usage(16_000 * MIB, 4_000 * MIB)
        self.disk_usage = Usage(100_000 * MIB, 25_000 * MIB)
        self.broken = False

    def cores(self) -> int:
        return self._or_broken(self.core_count)

    def cpu_times(self) -> CpuTimes:
        self._or_broken(0)
        return self.times

    def memory(self) -> Usage:
        self._or_broken(0)
        return self.memory_usage

    def disk(self, path: Path) -> Usage:
        self._or_broken(0)
        return self.disk_usage

    def _or_broken(self, value: int) -> int:
        if self.broken:
            raise FileNotFoundError("/proc/stat")
        return value


class FakeCgroup(Cgroup):
    quota: CpuQuota | None = None
    limit: MemoryLimit | None = None

    def cpu_quota(self) -> CpuQuota | None:
        return self.quota

    def memory_limit(self) -> MemoryLimit | None:
        return self.limit


class Bench:
    """A `Bench` is a probe over figures that a test sets."""

    def __init__(self, quota: CpuQuota | None = None, limit: MemoryLimit | None = None) -> None:
        self.clock, self.machine, self.cgroup = FakeClock(), FakeMachine(), FakeCgroup()
        self.cgroup.quota, self.cgroup.limit = quota, limit
        self.probe = ResourceProbe(Path("/data"), self.clock, machine=self.machine, cgroup=self.cgroup)

    def read_after(self, elapsed_s: float, *, busy_s: float) -> Resources:
        self.clock.now_s += elapsed_s
        times = self.machine.times
        self.machine.times = CpuTimes(
            times.busy_s + busy_s, times.total_s + elapsed_s * self.machine.core_count
        )
        quota = self.cgroup.quota
        if quota is not None and quota.used_s is not None:
            self.cgroup.quota = CpuQuota(quota.cores, quota.used_s + busy_s)
        return self.probe.read(0)


def test_resources_of_a_bare_machine_are_its_own() -> None:
    bench = Bench()
    bench.probe.refresh_disk()
    bench.clock.now_s += 10
    bench.machine.times = CpuTimes(1020.0, 9080.0)
    assert bench.probe.read(3) == Resources(
        cpu_cores=8,
        memory_mb=16_000,
        disk_mb=100_000,
        active_queries=3,
        cpu_utilization=0.25,
        memory_utilization=0.25,
        memory_used_mb=4_000,
        disk_used_mb=25_000,
    )


@pytest.mark.parametrize(
    ("quota_cores", "machine_cores", "cores"),
    [(0.1, 8, 1), (1.0, 8, 1), (1.5, 8, 2), (2.0, 8, 2), (7.2, 8, 8), (64.0, 8, 8), (2.5, 2, 2), (0.5, 1, 1)],
)
def test_cores_under_a_quota_are_rounded_up_and_bounded_by_the_machine(
    quota_cores: float, machine_cores: int, cores: int
) -> None:
    bench = Bench(CpuQuota(quota_cores, 0.0))
    bench.machine.core_count = machine_cores
    assert bench.read_after(10, busy_s=0).cpu_cores == cores


def test_cpu_utilization_under_a_quota_is_the_used_part_of_it() -> None:
    bench = Bench(CpuQuota(1.5, 40.0))
    assert bench.read_after(10, busy_s=6).cpu_utilization == pytest.approx(6 / 15)
    assert bench.read_after(30, busy_s=45).cpu_utilization == 1.0
    assert bench.read_after(30, busy_s=60).cpu_utilization == 1.0  # a burst beyond the quota
    assert bench.read_after(30, busy_s=0).cpu_utilization == 0.0


def test_cpu_utilization_read_twice_at_once_keeps_the_figure() -> None:
    bench = Bench()
    assert bench.read_after(10, busy_s=40).cpu_utilization == 0.5
    assert bench.read_after(0.01, busy_s=0.08).cpu_utilization == 0.5


def test_cpu_utilization_when_the_quota_changes_compares_no_unlike_counters() -> None:
    bench = Bench(CpuQuota(2.0, 10.0))
    assert bench.read_after(10, busy_s=5).cpu_utilization == pytest.approx(0.25)
    bench.cgroup.quota = CpuQuota(4.0, 15.0)
    changed = bench.read_after(10, busy_s=20)
    assert changed.cpu_cores == 4
    assert changed.cpu_utilization == pytest.approx(0.25)
    assert bench.read_after(10, busy_s=30).cpu_utilization == pytest.approx(0.75)


def test_cpu_quota_without_usage_falls_back_on_the_machines_counters() -> None:
    bench = Bench(CpuQuota(2.0, None))
    found = bench.read_after(10, busy_s=40)
    assert (found.cpu_cores, found.cpu_utilization) == (2, 0.5)


@pytest.mark.parametrize(
    ("limit", "total_mb", "used_mb", "fraction"),
    [
        (MemoryLimit(1_000 * MIB, 750 * MIB), 1_000, 750, 0.75),
        (MemoryLimit(1_000 * MIB, 1_200 * MIB), 1_000, 1_000, 1.0),
        (MemoryLimit(2**63 - 4096, 5), 16_000, 4_000, 0.25),  # v1's figure for no limit
        (MemoryLimit(0, 5), 0, 0, 0.0),
        (None, 16_000, 4_000, 0.25),
    ],
)
def test_memory_is_the_containers_where_it_is_tighter(
    limit: MemoryLimit | None, total_mb: int, used_mb: int, fraction: float
) -> None:
    found = Bench(limit=limit).probe.read(0)
    assert (found.memory_mb, found.memory_used_mb, found.memory_utilization) == (total_mb, used_mb, fraction)


def test_resources_unreadable_keep_their_last_figures() -> None:
    bench = Bench()
    bench.probe.refresh_disk()
    before = bench.read_after(10, busy_s=40)
    bench.machine.broken = True
    bench.probe.refresh_disk()
    assert bench.read_after(10, busy_s=80) == before


def test_resources_unreadable_from_the_start_are_valid() -> None:
    bench = Bench()
    machine = FakeMachine()
    machine.broken = True
    probe = ResourceProbe(Path("/data"), bench.clock, machine=machine, cgroup=bench.cgroup)
    probe.refresh_disk()
    assert probe.read(1) == Resources(cpu_cores=1, active_queries=1)


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from([0, 1, -1, 2**63 - 1, 2**63]))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
QUOTAS = st.one_of(
    st.none(), st.builds(CpuQuota, st.floats(1e-6, 1e12), st.one_of(st.none(), st.floats(0, 1e15)))
)


@given(
    usages=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    times=st.lists(st.tuples(FLOATS, FLOATS), min_size=2, max_size=2),
    cores=NUMBERS,
    active=NUMBERS,
    quota=QUOTAS,
    limit=st.one_of(st.none(), st.builds(MemoryLimit, st.integers(0, 10**19), st.integers(0, 10**19))),
)
@example((0, 0, 0, 0), [(math.nan, 10_000.0), (1.0, math.inf)], 1, 0, None, None)
@example((0, 0, 0, 0), [(10.0, 10_000.0), (math.nan, 20_000.0)], 1, 0, None, None)
def test_resources_of_any_figures_are_valid(
    usages: tuple[int, int, int, int],
    times: list[tuple[float, float]],
    cores: int,
    active: int,
    quota: CpuQuota | None,
    limit: MemoryLimit | None,
) -> None:
    bench = Bench(quota, limit)
    bench.machine.core_count = cores
    bench.machine.memory_usage = Usage(*usages[:2])
    bench.machine.disk_usage = Usage(*usages[2:])
    bench.probe.refresh_disk()
    for busy_s, total_s in times:
        bench.clock.now_s += 10
        bench.machine.times = CpuTimes(busy_s, total_s)
        found = bench.probe.read(active)  # Resources refuses figures that are out of range
        assert 1 <= found.cpu_cores < 2**31
        assert 0 <= found.active_queries < 2**31
        assert found.memory_used_mb <= found.memory_mb
        assert found.disk_used_mb <= found.disk_mb


def test_local_machine_tells_plausible_figures(tmp_path: Path) -> None:
    machine = LocalMachine()
    times = machine.cpu_times()
    assert machine.cores() >= 1
    assert 0 < times.busy_s < times.total_s < math.inf
    for usage in (machine.memory(), machine.disk(tmp_path), machine.disk(tmp_path / "not" / "there")):
        assert 0 < usage.used_bytes <= usage.total_bytes


def test_probe_of_this_very_machine_is_valid(tmp_path: Path) -> None:
    probe = ResourceProbe(tmp_path, FakeClock())
    probe.refresh_disk()
    found = probe.read(2)
    assert found.cpu_cores >= 1
    assert found.memory_mb > 0
    assert found.disk_mb > 0
    assert found.active_queries == 2


async def test_disk_is_read_at_once_and_then_every_half_minute(nursery: trio.Nursery) -> None:
    bench = Bench()
    slept_until_s: list[float] = []
    second_reading_done = trio.Event()

    async def sleep_until(deadline_s: float) -> None:
        # Virtual time would run past the thread that asks for the figures.
        slept_until_s.append(deadline_s)
        if len(slept_until_s) == 2:
            second_reading_done.set()
            await trio.sleep_forever()
        assert bench.probe.read(0).disk_used_mb == 25_000
        bench.machine.disk_usage = Usage(100_000 * MIB, 75_000 * MIB)

    bench.clock.sleep_until = sleep_until  # type: ignore[method-assign]
    nursery.start_soon(bench.probe.keep_disk_fresh)
    await second_reading_done.wait()
    assert bench.probe.read(0).disk_used_mb == 75_000
    assert slept_until_s == [130.0, 130.0]
    nursery.cancel_scope.cancel()
