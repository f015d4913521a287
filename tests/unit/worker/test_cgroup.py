"""Limits and usage of control groups are read, on trees laid out like those of kernels and containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicloud.worker.cgroup import Cgroup, CpuQuota, MemoryLimit

MIB = 1024 * 1024
UNLIMITED_V1 = "9223372036854771712\n"

Tree = dict[str, str]


def cgroup(root: Path, tree: Tree) -> Cgroup:
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Cgroup(proc=root / "proc", sys_fs_cgroup=root / "cgroup")


V2_CONTAINER: Tree = {  # with a cgroup namespace: its own group is the root it sees
    "proc/self/cgroup": "0::/\n",
    "cgroup/cgroup.controllers": "cpu memory\n",
    "cgroup/cpu.max": "150000 100000\n",
    "cgroup/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    "cgroup/memory.max": f"{512 * MIB}\n",
    "cgroup/memory.current": f"{300 * MIB}\n",
    "cgroup/memory.stat": f"anon 1\nfile 2\ninactive_file {100 * MIB}\nactive_file 7\n",
}
V2_NESTED: Tree = {  # a service in a slice: each level may limit
    "proc/self/cgroup": "0::/pods/pod7/worker\n",
    "cgroup/cgroup.controllers": "cpu memory\n",
    "cgroup/cpu.stat": "usage_usec 999999999\n",
    "cgroup/pods/cpu.max": "max 100000\n",
    "cgroup/pods/memory.max": "max\n",
    "cgroup/pods/pod7/cpu.max": "200000 100000\n",
    "cgroup/pods/pod7/cpu.stat": "usage_usec 7000000\n",
    "cgroup/pods/pod7/memory.max": f"{1024 * MIB}\n",
    "cgroup/pods/pod7/memory.current": f"{900 * MIB}\n",
    "cgroup/pods/pod7/memory.stat": f"inactive_file {50 * MIB}\n",
    "cgroup/pods/pod7/worker/cpu.max": "400000 100000\n",
    "cgroup/pods/pod7/worker/cpu.stat": "usage_usec 1000000\n",
    "cgroup/pods/pod7/worker/memory.max": f"{4096 * MIB}\n",
    "cgroup/pods/pod7/worker/memory.current": f"{100 * MIB}\n",
}
V2_BARE: Tree = {  # a machine's root group has neither limits nor memory.current
    "proc/self/cgroup": "0::/\n",
    "cgroup/cgroup.controllers": "cpu memory\n",
    "cgroup/cpu.stat": "usage_usec 1\n",
    "cgroup/memory.stat": "inactive_file 1\n",
}
V2_OUTSIDE: Tree = {
    **V2_CONTAINER,
    "proc/self/cgroup": "0::/../../other\n",
    "cpu.max": "1000 100000\n",  # beside the mount, where ".." would lead
    "memory.max": "4096\n",
}
V2_NOT_MOUNTED: Tree = {**V2_CONTAINER, "proc/self/cgroup": "0::/docker/0123abc\n"}
V1_CONTAINER: Tree = {  # the host's paths, of which the container sees its own group as the root
    "proc/self/cgroup": "9:cpu,cpuacct:/docker/0123\n5:memory:/docker/0123\n1:name=systemd:/docker/0123\n",
    "cgroup/cpu/cpu.cfs_quota_us": "50000\n",
    "cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "cgroup/cpu/cpuacct.usage": "3000000000\n",
    "cgroup/memory/memory.limit_in_bytes": f"{256 * MIB}\n",
    "cgroup/memory/memory.usage_in_bytes": f"{200 * MIB}\n",
    "cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {60 * MIB}\n"
    f"hierarchical_memory_limit {256 * MIB}\n",
}
V1_UNLIMITED: Tree = {
    "proc/self/cgroup": "9:cpu:/\n5:memory:/\n",
    "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
    "cgroup/memory/memory.usage_in_bytes": "1\n",
}
V1_HYBRID_NESTED: Tree = {  # v1 controllers beside an empty v2; accounting in a hierarchy of its own
    "proc/self/cgroup": "3:cpuacct:/jobs/a\n2:cpu:/jobs/a\n1:memory:/jobs/a\n0::/elsewhere\n",
    "cgroup/unified/cgroup.controllers": "\n",
    "cgroup/cpu/jobs/cpu.cfs_quota_us": "300000\n",
    "cgroup/cpu/jobs/cpu.cfs_period_us": "100000\n",
    "cgroup/cpu/jobs/a/cpu.cfs_quota_us": "-1\n",
    "cgroup/cpu/jobs/a/cpu.cfs_period_us": "100000\n",
    "cgroup/cpuacct/jobs/a/cpuacct.usage": "500000000\n",
    "cgroup/memory/jobs/a/memory.limit_in_bytes": UNLIMITED_V1,
    "cgroup/memory/jobs/a/memory.usage_in_bytes": f"{70 * MIB}\n",
    "cgroup/memory/jobs/a/memory.stat": f"hierarchical_memory_limit {128 * MIB}\n",
}
BROKEN: Tree = {
    "proc/self/cgroup": "rubbish\n\n::::\n0:\n",
    "cgroup/cgroup.controllers": "",
    "cgroup/cpu.max": "fast\n",
    "cgroup/memory.max": "-17\n",
    "cgroup/cpu/cpu.cfs_quota_us": "",
}


@pytest.mark.parametrize(
    ("tree", "quota"),
    [
        (V2_CONTAINER, CpuQuota(1.5, 2.5)),
        (V2_NESTED, CpuQuota(2.0, 7.0)),
        (V2_BARE, None),
        (V2_OUTSIDE, CpuQuota(1.5, 2.5)),
        (V2_NOT_MOUNTED, CpuQuota(1.5, 2.5)),
        (V1_CONTAINER, CpuQuota(0.5, 3.0)),
        (V1_UNLIMITED, None),
        (V1_HYBRID_NESTED, CpuQuota(3.0, 0.5)),
        (BROKEN, None),
        ({}, None),
    ],
    ids=["v2", "v2 nested", "v2 bare", "v2 ..", "v2 host path", "v1", "v1 -1", "hybrid", "broken", "none"],
)
def test_cpu_quota_in_tree_is_the_tightest(tmp_path: Path, tree: Tree, quota: CpuQuota | None) -> None:
    assert cgroup(tmp_path, tree).cpu_quota() == quota


@pytest.mark.parametrize(
    ("tree", "limit"),
    [
        (V2_CONTAINER, MemoryLimit(512 * MIB, 200 * MIB)),
        (V2_NESTED, MemoryLimit(1024 * MIB, 850 * MIB)),
        (V2_BARE, None),
        (V2_OUTSIDE, MemoryLimit(512 * MIB, 200 * MIB)),
        (V2_NOT_MOUNTED, MemoryLimit(512 * MIB, 200 * MIB)),
        (V1_CONTAINER, MemoryLimit(256 * MIB, 140 * MIB)),
        (V1_UNLIMITED, MemoryLimit(int(UNLIMITED_V1), 1)),
        (V1_HYBRID_NESTED, MemoryLimit(128 * MIB, 70 * MIB)),
        (BROKEN, None),
        ({}, None),
    ],
    ids=["v2", "v2 nested", "v2 bare", "v2 ..", "v2 host path", "v1", "v1 max", "hybrid", "broken", "none"],
)
def test_memory_limit_in_tree_is_the_tightest(tmp_path: Path, tree: Tree, limit: MemoryLimit | None) -> None:
    assert cgroup(tmp_path, tree).memory_limit() == limit


@pytest.mark.parametrize("stat", ["usage_usec many\n", ""])
def test_cpu_quota_without_usage_is_still_a_quota(tmp_path: Path, stat: str) -> None:
    assert cgroup(tmp_path, {**V2_CONTAINER, "cgroup/cpu.stat": stat}).cpu_quota() == CpuQuota(1.5, None)


@pytest.mark.parametrize("cpu_max", ["0 100000", "100000 0", "100000", "max max", "100000 100000 1"])
def test_cpu_quota_of_nothing_or_of_no_sense_is_none(tmp_path: Path, cpu_max: str) -> None:
    assert cgroup(tmp_path, {**V2_CONTAINER, "cgroup/cpu.max": cpu_max}).cpu_quota() is None


def test_memory_used_below_its_reclaimable_part_is_zero(tmp_path: Path) -> None:
    tree = {**V2_CONTAINER, "cgroup/memory.current": f"{10 * MIB}\n"}
    assert cgroup(tmp_path, tree).memory_limit() == MemoryLimit(512 * MIB, 0)


@given(text=st.text(max_size=60), name=st.sampled_from(sorted(V2_CONTAINER)))
def test_cgroup_file_of_any_content_never_raises(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str
) -> None:
    found = cgroup(tmp_path_factory.mktemp("tree"), {**V2_CONTAINER, name: text})
    quota, limit = found.cpu_quota(), found.memory_limit()
    assert quota is None or quota.cores > 0
    assert limit is None or (limit.limit_bytes >= 0 and limit.used_bytes >= 0)
