"""`minicloud dev` runs with the real processes it starts."""

from __future__ import annotations

import json
import re
import signal
from urllib.request import urlopen

import psutil

from tests.integration.processes import (
    PROGRAM,
    WITHIN_S,
    Launcher,
    Process,
    eventually,
    is_running,
    needs_linux,
)
from tests.terminal import Terminal


def dev(launch: Launcher, workers: int) -> tuple[Process, str, list[int]]:
    """Return a dev cluster whose workers have registered: the process, its REST address and its children."""
    process = launch.run(
        *("dev", "--grpc-port", "0", "--http-port", "0", "--worker-port", "0", "--workers", str(workers))
    )
    shown = eventually(
        lambda: re.search(r"REST +(http://127\.0\.0\.1:\d+)/api/workers\n", process.stdout),
        lambda: f"it shows its addresses: {process.stdout}{process.stderr}",
    )
    url = shown[1]

    def healthy() -> bool:
        with urlopen(f"{url}/api/workers/healthy", timeout=WITHIN_S) as answer:
            return [worker["workerId"] for worker in json.load(answer)] == [
                f"worker-{number}" for number in range(1, workers + 1)
            ]

    eventually(healthy, lambda: f"{workers} workers register: {process.stdout}")
    children = [child.pid for child in process.tree[1:]]
    assert len(children) >= workers + 1
    return process, url, children


def test_dev_runs_a_cluster_until_it_is_told_to_end_and_leaves_nobody(launch: Launcher) -> None:
    process, url, children = dev(launch, workers=3)
    for path in ("/docs", "/metrics"):
        assert f"{url}{path}\n" in process.stdout
    assert process.end(signal.SIGTERM) == 0
    assert not any(is_running(pid) for pid in children)
    said = process.stdout
    assert said.count("deregistered") == 3  # each worker could deregister
    assert said.rindex("worker_stopped") < said.rindex("control_plane_stopped")
    assert process.stderr == ""


def test_dev_whose_terminal_is_closed_leaves_nobody(launch: Launcher) -> None:
    arguments = ["dev", "--grpc-port", "0", "--http-port", "0", "--worker-port", "0", "--workers", "1"]
    with Terminal([*PROGRAM, *arguments], env=launch.environment | {"NO_COLOR": "1"}) as terminal:
        terminal.until_shown("worker-1      | started")
        children = psutil.Process(terminal.pid).children(recursive=True)
        terminal.hang_up()
        assert terminal.exit_code() == 0
        assert not any(is_running(child.pid) for child in children)


@needs_linux
def test_dev_killed_leaves_no_orphan(launch: Launcher) -> None:
    process, _, children = dev(launch, workers=1)
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not any(is_running(pid) for pid in children), "its children end")
