"""The executable runs with few means: in a container's environment, and in a folder without room."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.integration.mounts import mounted
from tests.integration.processes import HOST, Launcher, eventually, is_running, needs_linux

SERVE = ("--grpc-port", "0", "--http-port", "0", "--data-dir", "none", "--log-format", "json")
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@needs_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a namespace of processes")
@pytest.mark.skipif(shutil.which("tini") is None, reason="needs tini")
def test_health_check_that_is_killed_is_waited_for_by_the_init_of_the_image(launch: Launcher) -> None:
    image = launch.control_plane(before=(*NAMESPACE, "tini", "--"))
    (init,) = psutil.Process(image.pid).children()
    assert init.name() == "tini"
    with socket.create_server((HOST, 0)) as silent:
        asked = f"{HOST}:{silent.getsockname()[1]}"
        inside = ("nsenter", "--target", str(init.pid), "--pid", "--mount")
        check = launch.run("health", "--address", asked, "--timeout", "60s", before=inside, name="health")
        silent.accept()[0].close()  # the inner process runs, and has connected
        outer = psutil.Process(check.pid).children()[0]
        (inner,) = outer.children()
        outer.kill()
        check.exit_code()
    eventually(lambda: not psutil.pid_exists(inner.pid), "nothing is left of it, not even a zombie")
    assert is_running(image.pid)
    init.send_signal(signal.SIGTERM)  # the end of a container sends this, and the init passes it on
    assert image.exit_code() == 0
    assert image.logged("control_plane_stopped")


def test_temp_folder_without_room_is_an_error_that_says_what_to_set_and_what_to_remove(
    launch: Launcher, tmp_path: Path, unpacked: Path
) -> None:
    with mounted(tmp_path / "small", "size=20m") as folder:
        failed = launch.run(*SERVE, env={"TMPDIR": str(folder.path)}, before=folder.inside)
        assert failed.exit_code() not in (0, 1, 2, 3)  # these codes have other meanings
        first, second = failed.stderr.splitlines()
        assert "no room for" in first
        assert "set TMPDIR to a folder with 60 MB" in first
        assert "remove _MEI*" in second
        helped = launch.run("--version", env={"TMPDIR": str(unpacked)}, before=folder.inside)
        assert helped.exit_code() == 0
