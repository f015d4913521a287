"""An operator's commands run against a running control plane."""

from __future__ import annotations

import json
import signal
from typing import Any

from minicloud.wire.gen.minicloud.common import ResourceInfo
from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest
from tests.integration.processes import ControlPlane, Launcher, Process, eventually


def typed(launch: Launcher, control_plane: ControlPlane, *words: str) -> Process:
    """Run a command that has to succeed, and return it."""
    process = launch.run(*words, "--url", control_plane.url, name=words[0])
    assert process.exit_code() == 0, process.stderr
    return process


def answer(launch: Launcher, control_plane: ControlPlane, *words: str) -> Any:
    """Return the command's output for programs."""
    return json.loads(typed(launch, control_plane, *words, "--json").stdout)


def test_operator_sees_the_cluster(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "seen", "--zone", "eu-1a")
    assert worker.worker_id == "seen"
    table = typed(launch, shared, "workers").stdout.splitlines()
    assert table[0].split()[:4] == ["WORKER", "STATUS", "SINCE", "ZONE"]
    (row,) = [line.split() for line in table if line.startswith("seen ")]
    assert (row[1], row[3]) == ("HEALTHY", "eu-1a")
    assert "seen" in [shown["workerId"] for shown in answer(launch, shared, "workers")]
    assert answer(launch, shared, "workers", "seen")["zone"] == "eu-1a"
    assert answer(launch, shared, "stats")["healthyWorkers"] >= 1
    assert "\x1b" not in "\n".join(table)


def test_operator_sees_the_memory_of_a_worker_that_sends_the_fraction_alone(
    launch: Launcher, shared: ControlPlane
) -> None:
    """Workers older than `memory_used_mb` send only the fraction."""
    resources = ResourceInfo(cpu_cores=4, memory_mb=8000, memory_utilization=0.5)
    request = RegisterWorkerRequest(worker_id="old", endpoint="127.0.0.1:1", resources=resources)
    used_mb = answer(launch, shared, "stats")["usedMemoryMb"]
    shared.call(lambda stub: stub.register_worker(request))
    assert answer(launch, shared, "workers", "old")["resources"]["memoryUsedMb"] == 4000
    assert "3.9G of 7.8G used (50%)" in typed(launch, shared, "workers", "old").stdout
    assert answer(launch, shared, "stats")["usedMemoryMb"] >= used_mb + 4000
    typed(launch, shared, "remove", "old", "--yes")


def test_operator_cordons_uncordons_and_drains(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "operated")
    assert worker.worker_id == "operated"
    assert typed(launch, shared, "cordon", "operated").stdout.startswith("operated is cordoned")
    assert shared.statuses["operated"] == "DRAINING"
    assert answer(launch, shared, "uncordon", "operated")["status"] == "HEALTHY"
    drained = typed(launch, shared, "drain", "operated", "--within", "30s")
    assert drained.stdout.splitlines()[-1] == "operated has left"
    assert worker.exit_code() == 0
    assert "operated" not in shared.statuses
    entries = [json.loads(line) for line in typed(launch, shared, "events", "--json").stdout.splitlines()]
    kinds = [entry["kind"] for entry in entries if entry["workerId"] == "operated"]
    assert kinds == ["registered", "cordoned", "uncordoned", "draining", "departed"]


def test_operators_reason_is_seen_by_everybody(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "explained")
    assert worker.worker_id == "explained"
    reason = "its disk is replaced"
    shown = answer(launch, shared, "cordon", "explained", "--reason", reason)
    assert (shown["adminReason"], shown["statusReason"]) == (reason, reason)
    (row,) = [
        line for line in typed(launch, shared, "workers").stdout.splitlines() if line.startswith("explained ")
    ]
    assert row.endswith(reason)
    # Workers of other tests may have had events since.
    events = [line for line in typed(launch, shared, "events").stdout.splitlines() if " explained " in line]
    assert events[-1].endswith(reason)
    assert shared.until_logged("worker_cordoned", worker_id="explained", reason=reason)
    refused = launch.run("cordon", "explained", "--reason", "x" * 257, "--url", shared.url)
    assert refused.exit_code() == 2
    assert "--reason: it has 257 characters: give at most 256" in refused.stderr


def test_operator_follows_what_happens_until_ctrl_c(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "followed")
    assert worker.worker_id == "followed"
    following = launch.run("events", "-f", "--json", "--url", shared.url)

    def seen(kind: str) -> bool:
        lines = following.stdout.rpartition("\n")[0].splitlines()
        return any(
            (entry["workerId"], entry["kind"]) == ("followed", kind) for entry in map(json.loads, lines)
        )

    eventually(lambda: seen("registered"), "it shows what has happened")
    shared.post("/api/workers/followed/cordon")
    eventually(lambda: seen("cordoned"), "it shows what happens")
    assert following.end(signal.SIGINT) == 130
    assert following.stderr == "minicloud: interrupted\n"


def test_operator_removes_a_dead_worker(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "struck-off")
    assert worker.worker_id == "struck-off"
    worker.kill()
    refused = launch.run("remove", "struck-off", "--url", shared.url)
    assert refused.exit_code() == 2
    assert "nobody is here to ask: give --yes" in refused.stderr
    typed(launch, shared, "remove", "struck-off", "--yes", "--reason", "its board is dead")
    assert shared.events_of("struck-off")[-1]["reason"] == "its board is dead"
    assert "struck-off" not in shared.statuses


def test_operator_of_an_unknown_worker_is_told_so(launch: Launcher, shared: ControlPlane) -> None:
    process = launch.run("cordon", "nobody", "--url", shared.url)
    assert process.exit_code() == 1
    assert process.stderr.startswith("minicloud: no worker 'nobody' is registered: ")


def test_operator_of_a_control_plane_that_is_away_is_told_what_to_do(launch: Launcher) -> None:
    url = f"http://127.0.0.1:{launch.reserved_port()}"
    processes = [
        launch.run(*words, "--url", url)
        for words in (("workers",), ("stats", "--json"), ("events", "-f"), ("drain", "worker-1"))
    ]
    for process in processes:
        assert process.exit_code() == 1
        assert process.stdout == ""
        assert process.stderr == (
            f"minicloud: cannot reach {url}: connection refused; is the control plane running there? "
            "give another with --url\n"
        )
