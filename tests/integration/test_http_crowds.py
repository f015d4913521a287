"""Crowds come to the HTTP port of a real control plane, with few open files and answers that are not read."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher, eventually

MIB = 2**20
BUNDLE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
EVENTS = b"GET /api/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n"
OPERATORS = ("/livez", "/readyz", "/metrics", "/api/workers", "/api/workers/stats", "/api/events")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many open files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"{hard} open files are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(stack: ExitStack, port: int, said: bytes = b"", received_bytes: int = 0) -> socket.socket | None:
    """Open a connection that sends `said` and reads nothing; return None where it is closed at once."""
    peer = stack.enter_context(socket.socket())
    peer.settimeout(WITHIN_S)
    if received_bytes:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_bytes)
    try:
        peer.connect((HOST, port))
        peer.sendall(said)
    except OSError:
        return None
    return peer


def until_answered(plane: ControlPlane, path: str) -> None:
    """Wait until `path` is answered with 200: a client tries again where the answer asks for that."""

    def answered() -> bool:
        try:
            return plane.request("GET", path).status == 200
        except OSError:
            return False

    eventually(answered, f"{path} is answered")


@pytest.mark.parametrize("asked", [b"", b"GET /livez HTTP/1.1\r\nhost", EVENTS, BUNDLE])
def test_more_clients_than_open_files_leave_probes_and_operators_theirs(
    launch: Launcher, many_files: None, asked: bytes
) -> None:
    plane = launch.control_plane(before=("prlimit", "--nofile=300:300"))
    with ExitStack() as stack:
        for _ in range(400):
            connect(stack, plane.grpc_port)
        for _ in range(300):
            connect(stack, plane.http_port, asked, received_bytes=4096)
        for path in OPERATORS:
            until_answered(plane, path)
        assert plane.inner.num_fds() < 300
    assert "Traceback" not in plane.stderr
    assert not [line for line in plane.log if line["level"] == "error"]


def test_files_nobody_reads_are_held_once(launch: Launcher, many_files: None) -> None:
    plane = launch.control_plane()
    assert plane.request("GET", "/docs/swagger-ui-bundle.js").status == 200
    process = psutil.Process(plane.inner.pid)
    before_bytes = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(400):
            connect(stack, plane.http_port, BUNDLE, received_bytes=4096)
        until_answered(plane, "/livez")
        grown_bytes = process.memory_info().rss - before_bytes
    assert grown_bytes < 100 * MIB  # 600 if each had its own


def test_host_names_of_the_command_line_are_those_of_the_server(launch: Launcher) -> None:
    plane = launch.control_plane("--allowed-host", "cloud.example.com,*.pods")
    codes = {}
    for host in ("127.0.0.1", socket.gethostname(), "cloud.example.com", "a.pods:8080", "evil:8080", "pods"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        codes[host] = plane.request("POST", "/api/workers/w1/cordon", headers).status
    assert list(codes.values()) == [404, 404, 404, 404, 403, 403]
