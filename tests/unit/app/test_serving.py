"""How many connections a control plane takes."""

from __future__ import annotations

import resource

import pytest

from minicloud.app.serving import connection_limit, raise_open_file_limit


@pytest.mark.parametrize(
    ("files", "connections"),
    [(256, 128), (1_024, 512), (20_000, 18_900), (65_536, 64_436), (1_048_576, 65_536)],
)
def test_connections_leave_files_for_operators(files: int, connections: int) -> None:
    assert connection_limit(files) == connections


def test_open_file_limit_raised_is_the_one_there_is() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert raise_open_file_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
