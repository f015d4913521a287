"""A control plane takes as many connections as its open files allow (DESIGN 45)."""

from __future__ import annotations

import resource

import pytest

from minicloud.app.serving import connection_limits, raise_open_file_limit


@pytest.mark.parametrize(
    ("files", "grpc", "http"),
    [
        (64, 33, 10),
        (256, 129, 42),
        (1_024, 666, 222),
        (1_300, 873, 291),
        (20_000, 18_900, 964),
        (65_536, 64_436, 964),
        (1_048_576, 65_536, 964),
    ],
)
def test_connections_leave_files_for_all_else(files: int, grpc: int, http: int) -> None:
    limits = connection_limits(files)
    assert (limits.grpc, limits.http) == (grpc, http)
    assert grpc + http <= files - min(files // 3, 136)


def test_open_file_limit_raised_is_the_one_there_is() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert raise_open_file_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
