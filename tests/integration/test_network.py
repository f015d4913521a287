"""Real processes listen on addresses, reach them and report them; workers go back to earlier control
planes."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.integration.mounts import mounted
from tests.integration.network import OwnNetwork, own_network
from tests.integration.processes import HOST, ControlPlane, Launcher, Process, eventually
from tests.networks import needs_ipv6

CP, W1, W2 = "10.77.0.1", "10.77.0.2", "10.77.0.3"
PORTS = (21_000, 21_001)  # a test may have any port in a network of its own


def listed(launch: Launcher, network: OwnNetwork, host: str = CP) -> list[dict[str, Any]]:
    """Return the workers that the command lists from inside."""
    url = f"http://{host}:{PORTS[1]}"
    asked = launch.run("workers", "--json", "--url", url, name="workers", before=network.inside)
    assert asked.exit_code() == 0, asked.stderr
    workers: list[dict[str, Any]] = json.loads(asked.stdout)
    return workers


def test_worker_whose_address_changes_registers_again_with_the_new_one(
    launch: Launcher, tmp_path: Path
) -> None:
    with own_network(tmp_path, CP, W1, W2) as network:
        network.reach(CP, W1)
        plane_options = ("--host", CP)
        plane = launch.control_plane(*plane_options, ports=PORTS, before=network.inside)
        worker = launch.worker(
            f"{CP}:{PORTS[0]}", "mover", "--host", "0.0.0.0", port=21_101, before=network.inside
        )
        worker.until_logged("registered", endpoint=f"{W1}:21101")
        network.reach(CP, W2)
        network.run("ip", "address", "delete", f"{W1}/32", "dev", "lo")
        plane.kill()
        launch.control_plane(*plane_options, ports=PORTS, before=network.inside)
        worker.until_logged("registered", endpoint=f"{W2}:21101")
        assert [each["endpoint"] for each in listed(launch, network)] == [f"{W2}:21101"]
        assert worker.logged("endpoint_unreachable") == []


def test_name_whose_first_address_never_answers_is_reached_by_its_second(
    launch: Launcher, tmp_path: Path
) -> None:
    with own_network(tmp_path, CP, W1, names=[f"{CP} cp", f"{W1} cp"]) as network:
        network.accept_and_never_answer(CP, PORTS[0])
        launch.control_plane("--host", W1, ports=PORTS, before=network.inside)
        worker = launch.worker(f"cp:{PORTS[0]}", "seeker", port=21_101, before=network.inside)
        assert worker.worker_id == "seeker"
        asked = launch.run("health", "--address", f"cp:{PORTS[0]}", name="health", before=network.inside)
        assert (asked.exit_code(), asked.stdout) == (0, f"cp:{PORTS[0]} is serving\n")


def test_localhost_without_ipv6_serves_ipv4_and_says_what_it_passed_over(
    launch: Launcher, tmp_path: Path
) -> None:
    with own_network(tmp_path, names=["::1 localhost", "127.0.0.1 localhost"]) as network:
        network.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        plane = launch.control_plane("--host", "localhost", ports=PORTS, before=network.inside)
        passed_over = plane.logged("address_passed_over", host="localhost", address="::1")
        assert len(passed_over) == 2  # one for gRPC and one for REST
        worker = launch.worker(
            f"localhost:{PORTS[0]}", "w", "--host", "localhost", port=21_101, before=network.inside
        )
        worker.until_logged("registered", endpoint="localhost:21101")
        everywhere = launch.control_plane("--host", "::", ports=(21_010, 21_011), before=network.inside)
        assert "0.0.0.0:21010" in everywhere.logged("control_plane_ready")[0]["grpc"]


def test_address_that_is_not_up_yet_is_exit_code_1_and_served_once_it_is(
    launch: Launcher, tmp_path: Path
) -> None:
    with own_network(tmp_path, CP) as network:
        arguments = ("--host", W1, "--grpc-port", str(PORTS[0]), "--http-port", str(PORTS[1]))
        early = launch.run(*arguments, "--data-dir", "none", before=network.inside)
        assert early.exit_code() == 1
        assert f"gRPC port {PORTS[0]} on {W1}: that is no address of this machine yet" in early.stderr
        network.run("ip", "address", "add", f"{W1}/32", "dev", "lo")
        launch.control_plane("--host", W1, ports=PORTS, before=network.inside)


# On loopback


def get(host: str, port: int) -> int:
    connection = HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status
    finally:
        connection.close()


@needs_ipv6
def test_all_addresses_are_served_in_both_families_on_both_ports(launch: Launcher) -> None:
    plane = launch.control_plane("--host", "::")
    for host in (HOST, "::1"):
        assert get(host, plane.http_port) == 200
        address = f"[{host}]:{plane.grpc_port}" if ":" in host else f"{host}:{plane.grpc_port}"
        asked = launch.run("health", "--address", address, name="health")
        assert (asked.exit_code(), asked.stdout) == (0, f"{address} is serving\n")


def test_hosts_may_be_repeated_and_listed(launch: Launcher) -> None:
    plane = launch.control_plane("--host", "127.0.0.2", "--host", "127.0.0.3,127.0.0.1")
    (line,) = plane.logged("control_plane_ready")
    hosts = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    assert line["grpc"] == [f"{host}:{plane.grpc_port}" for host in hosts]
    assert line["http"] == [f"{host}:{plane.http_port}" for host in hosts]
    assert [get(host, plane.http_port) for host in hosts] == [200, 200, 200]
    worker = launch.worker(plane, "several", "--host", "127.0.0.5", "--host", "127.0.0.1")
    port = worker.until_logged("registered")["endpoint"].rpartition(":")[2]
    assert worker.logged("registered")[0]["endpoint"] == f"127.0.0.1:{port}"
    for host in ("127.0.0.5", "127.0.0.1"):
        socket.create_connection((host, int(port)), timeout=20).close()


@needs_ipv6
@pytest.mark.parametrize(("of_plane", "of_worker"), [("::1", "0.0.0.0"), ("127.0.0.1", "::")])
def test_worker_reached_over_another_family_than_it_listens_on_tells_an_address_that_answers(
    launch: Launcher, of_plane: str, of_worker: str
) -> None:
    plane = launch.control_plane("--host", of_plane)
    address = f"[{of_plane}]:{plane.grpc_port}" if ":" in of_plane else f"{of_plane}:{plane.grpc_port}"
    worker = launch.worker(address, "other-family", "--host", of_worker)
    endpoint = worker.until_logged("registered")["endpoint"]
    assert endpoint.startswith("127.0.0.1:")
    asked = launch.run("health", "--address", endpoint, name="health")
    assert asked.exit_code() == 0, asked.stderr


def test_worker_that_advertises_where_nobody_listens_says_so(launch: Launcher, shared: ControlPlane) -> None:
    nobody = f"{HOST}:{launch.reserved_port()}"
    worker = launch.worker(shared, "astray", "--advertise", nobody)
    line = worker.until_logged("endpoint_unreachable", endpoint=nobody)
    assert line["level"] == "warning"
    assert "Connection refused" in line["error"]


# What may pass


def test_worker_with_an_identity_starts_on_a_read_only_and_on_a_full_disk(
    launch: Launcher, shared: ControlPlane, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=64k") as disk:
        folder = disk.path / "worker"

        def start() -> Process:
            return launch.worker(shared, "kept", data_dir=folder, before=disk.inside)

        def ended(process: Process) -> None:
            process.until_logged("registered", worker_id="kept")
            assert process.end() == 0

        ended(start())
        disk.change("ro")
        ended(start())
        disk.change("rw")
        fill = f"cat /dev/zero > '{disk.path}/rest'; true"
        nobody = Process("fill", [*disk.inside, "sh", "-c", fill], tmp_path, launch.environment)
        assert nobody.exit_code() == 0
        ended(start())


@pytest.mark.parametrize("options", ["ro", "size=4k"], ids=["read-only", "full"])
def test_worker_that_cannot_keep_its_identity_yet_is_exit_code_1(
    launch: Launcher, shared: ControlPlane, tmp_path: Path, options: str
) -> None:
    with mounted(tmp_path / "disk", "size=4k") as disk:
        if options == "ro":
            disk.change("ro")
        else:
            fill = Process(
                "fill",
                [*disk.inside, "sh", "-c", f"cat /dev/zero > '{disk.path}/rest'; true"],
                tmp_path,
                launch.environment,
            )
            assert fill.exit_code() == 0
        worker = launch.worker(shared, "homeless", data_dir=disk.path / "worker", before=disk.inside)
        assert worker.exit_code() == 1
        (line,) = worker.stderr.splitlines()
        assert str(disk.path / "worker") in line
        assert "--data-dir" in line


def test_worker_whose_host_is_not_known_yet_is_exit_code_1(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "nameless", "--host", "no.such.host.invalid")
    assert worker.exit_code() == 1
    assert "host 'no.such.host.invalid' is not known" in worker.stderr


# Returning


def test_worker_goes_back_to_the_control_plane_named_first_and_leaves_the_other(launch: Launcher) -> None:
    first, second = launch.control_plane(), launch.control_plane()
    worker = launch.worker(f"{first.address},{second.address}", "pendulum")
    first.until_status("pendulum", "HEALTHY")
    first.freeze()
    second.until_status("pendulum", "HEALTHY")
    first.thaw()
    worker.until_logged("control_plane_changed", control_plane=first.address, was=second.address)
    first.until_status("pendulum", "HEALTHY")
    eventually(lambda: second.statuses == {}, lambda: f"the second is left, but has {second.statuses}")
    first.until_heard_from("pendulum")
