"""`minicloud health` asks real processes, as the health check of a container does."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping

import pytest

from tests.integration.processes import HOST, ControlPlane, Launcher, Process


def asked(launch: Launcher, *words: str, env: Mapping[str, str] | None = None) -> Process:
    """Run the command to its end and return it. It prints one line: a result on stdout, a failure on
    stderr."""
    process = launch.run("health", *words, env=env, name="health")
    code = process.exit_code()
    lines = process.stdout.splitlines(), process.stderr.splitlines()
    assert [len(each) for each in lines] == ([1, 0] if code == 0 else [0, 1]), lines
    return process


def test_health_of_a_control_plane_and_of_a_worker_is_told(launch: Launcher, shared: ControlPlane) -> None:
    port = launch.reserved_port()
    launch.worker(shared, "serving", port=port).until_logged("registered")
    for address in (shared.address, f"{HOST}:{port}", f"localhost:{port}"):
        process = asked(launch, "--address", address)
        assert (process.exit_code(), process.stdout) == (0, f"{address} is serving\n")


def test_health_without_an_address_is_that_of_what_the_environment_would_start(
    launch: Launcher, shared: ControlPlane
) -> None:
    port = launch.reserved_port()
    launch.worker(shared, "by-environment", port=port).until_logged("registered")
    plane = {"MINICLOUD_HOST": "0.0.0.0", "MINICLOUD_GRPC_PORT": str(shared.grpc_port)}
    assert asked(launch, env=plane).stdout == f"{shared.address} is serving\n"
    worker = {"MINICLOUD_WORKER": "true", "MINICLOUD_PORT": str(port)}
    assert asked(launch, env=worker).stdout == f"{HOST}:{port} is serving\n"


def test_health_of_nothing_is_a_failure(launch: Launcher) -> None:
    process = asked(launch, "--address", f"{HOST}:{launch.reserved_port()}")
    assert process.exit_code() == 1
    assert "Connection refused; is it running there?" in process.stderr


def test_health_of_what_does_not_answer_is_a_failure_in_time(launch: Launcher) -> None:
    process = asked(launch, "--address", f"{HOST}:{launch.taken_port()}", "--timeout", "200ms")
    assert process.exit_code() == 1
    assert "no answer from" in process.stderr
    assert "within 0.2 s" in process.stderr


def test_health_of_a_process_that_stands_still_is_a_failure(launch: Launcher) -> None:
    plane = launch.control_plane()
    plane.freeze()
    assert asked(launch, "--address", plane.address, "--timeout", "1s").exit_code() == 1
    plane.thaw()
    assert asked(launch, "--address", plane.address).exit_code() == 0


def test_health_of_a_process_that_stops_is_a_failure(launch: Launcher) -> None:
    plane = launch.control_plane()
    with socket.create_connection((HOST, plane.http_port)) as client:
        # The process waits for this request, so it has not ended yet when it is asked.
        client.sendall(b"POST /api/workers/x/cordon HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        plane.send(signal.SIGTERM)
        plane.until_logged("stopping")
        assert asked(launch, "--address", plane.address).exit_code() == 1


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        (("--address", "here"), {}, "--address: 'here' is not HOST:PORT: give e.g. 127.0.0.1:9090"),
        (("--address", "a:1,b:2"), {}, "--address: 'a:1,b:2' is not HOST:PORT: give e.g. 127.0.0.1:9090"),
        ((), {"MINICLOUD_GRPC_PORT": "0"}, "the settings leave the port open (0): give --address HOST:PORT"),
        (("--timeout", "0s"), {}, "--timeout: give more than 0"),
    ],
)
def test_health_typed_wrong_is_refused(
    launch: Launcher, words: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    process = asked(launch, *words, env=env)
    assert (process.exit_code(), process.stderr) == (2, f"minicloud: {said}\n")
