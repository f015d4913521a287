"""The executable serves everything, on systems with little."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.mounts import mounted
from tests.integration.processes import Launcher, Process, eventually
from tests.interop.stock_messages import Messages, call
from tests.interop.theirs import grpcio_channel

ANY_PORTS = ("--grpc-port", "0", "--http-port", "0")


def finished(process: Process) -> str:
    """Return the output of a process that succeeded."""
    assert process.exit_code() == 0, process.stderr
    return process.stdout


def test_stock_client_registers_and_everybody_sees_it(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    with grpcio_channel(control_plane.grpc_port) as channel:
        request = {"worker_id": "stock", "endpoint": "10.0.0.1:9091"}
        assert call(channel, Messages(), "RegisterWorker", **request).registered
        assert call(channel, Messages(), "Heartbeat", worker_id="stock").acknowledged
    assert control_plane.statuses == {"stock": "HEALTHY"}
    metrics = control_plane.request("GET", "/metrics").body.decode()
    assert 'minicloud_workers{status="healthy"} 1' in metrics
    assert "stock" in finished(launch.run("workers", "--url", control_plane.url))


def test_files_of_the_interface_are_inside(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    kinds = {
        "/openapi.json": "application/json",
        "/docs": "text/html",
        "/docs/swagger-ui-bundle.js": "text/javascript",
        "/docs/swagger-ui.css": "text/css",
    }
    for path, kind in kinds.items():
        answer = control_plane.request("GET", path)
        assert (path, answer.status) == (path, 200)
        assert answer.headers["content-type"].startswith(kind)
        assert len(answer.body) > 500


def test_workers_on_ports_of_their_own_are_told_apart(launch: Launcher) -> None:
    control_plane = launch.control_plane()
    ports = launch.reserved_ports()
    workers = [
        launch.worker(control_plane, port=port, data_dir=launch.folder / f"worker-{port}") for port in ports
    ]
    ids = [worker.worker_id for worker in workers]
    assert len(set(ids)) == 2
    endpoints = {worker["endpoint"] for worker in control_plane.get("/api/workers")}
    assert endpoints == {f"127.0.0.1:{port}" for port in ports}
    assert [worker.end() for worker in workers] == [0, 0]
    assert control_plane.statuses == {}


def test_executable_needs_no_home_it_can_write_to(launch: Launcher, tmp_path: Path) -> None:
    with mounted(tmp_path / "home", "size=1m") as home:
        home.change("ro")
        env = {"HOME": str(home.path)}
        refused = launch.run(*ANY_PORTS, env=env, before=home.inside)
        assert refused.exit_code() == 1
        assert "give another with --data-dir FOLDER" in refused.stderr
        served = launch.run(*ANY_PORTS, "--data-dir", "none", env=env, before=home.inside)
        eventually(lambda: "control_plane_ready" in served.stderr, lambda: served.stderr)
        assert served.end() == 0


@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX"}])
def test_executable_runs_in_the_c_locale(launch: Launcher, locale: dict[str, str]) -> None:
    folder = launch.folder / "dätä"
    process = launch.run(*ANY_PORTS, "--data-dir", str(folder), "--log-format", "json", env=locale)
    eventually(lambda: "control_plane_ready" in process.stderr, lambda: process.stderr)
    assert process.end() == 0
    assert (folder / "registry.db").is_file()
    (ready,) = [line for line in process.stderr.splitlines() if "control_plane_ready" in line]
    assert json.loads(ready)["data_dir"] == str(folder)


def test_executable_needs_no_network_but_loopback(launch: Launcher) -> None:
    if not (shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")):
        pytest.skip("no unshare, nsenter and ip here")
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"')
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no network of its own may be made here")
    process = launch.run("dev", "--workers", "2", "--http-port", "18080", before=alone)
    inside = ("nsenter", f"--net=/proc/{process.pid}/ns/net", "--")

    def healthy() -> bool:
        asked = launch.run("workers", "--url", "http://127.0.0.1:18080", before=inside)
        asked.exit_code()
        return asked.stdout.count(" HEALTHY ") == 2

    eventually(healthy, lambda: f"its workers register: {process.stdout}")
    assert process.end() == 0


def test_temp_folder_that_may_hold_no_programs_is_an_error_that_says_what_to_set(
    launch: Launcher, tmp_path: Path, unpacked: Path
) -> None:
    with mounted(tmp_path / "noexec", "noexec,size=100m") as folder:
        failed = launch.run("--version", env={"TMPDIR": str(folder.path)}, before=folder.inside)
        assert failed.exit_code() not in (0, 1, 2, 3)  # these codes have other meanings
        (line,) = failed.stderr.splitlines()
        assert "set-TMPDIR-to-a-folder-without-noexec" in line
        # The advice helps.
        helped = launch.run("--version", env={"TMPDIR": str(unpacked)}, before=folder.inside)
        assert finished(helped).startswith("minicloud ")


def test_environment_of_python_changes_nothing(launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text("raise SystemExit('not this one')")
    env = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONOPTIMIZE": "2"}
    assert finished(launch.run("sim", "--list", env=env)).startswith("scenarios")


def test_worker_that_gives_up_and_a_taken_port_have_their_exit_codes(launch: Launcher) -> None:
    taken = launch.taken_port()
    refused = launch.run("--grpc-port", str(taken), "--http-port", "0", "--data-dir", "none")
    worker = launch.worker(f"127.0.0.1:{launch.reserved_port()}", "lost", "--exit-after-failures", "1")
    assert refused.exit_code() == 1
    assert f"gRPC port {taken} on 127.0.0.1 is in use" in refused.stderr
    assert worker.exit_code() == 3
    nobody = launch.run("workers", "--url", f"http://127.0.0.1:{launch.reserved_port()}")
    assert nobody.exit_code() == 1


def test_name_it_is_called_by_is_what_runs(launch: Launcher, dist: Path, tmp_path: Path) -> None:
    link = tmp_path / "bin"
    link.symlink_to(dist)
    shown = subprocess.run(
        [link / "minicloud-sim", "--version"],
        capture_output=True,
        text=True,
        env=launch.environment,
        check=True,
    )
    assert shown.stdout == finished(launch.run("--version")).replace("minicloud ", "minicloud-sim ")
