"""The simulator's processes end with it."""

from __future__ import annotations

import signal

import psutil

from tests.integration.processes import Launcher, Process, eventually, is_running, needs_linux


def pool_of(process: Process) -> list[int]:
    """Return the processes in which it runs simulations."""

    def is_member(each: psutil.Process) -> bool:
        try:
            return "--multiprocessing-fork" in each.cmdline()
        except psutil.Error:
            return False

    return [each.pid for each in process.tree if is_member(each)]


@needs_linux
def test_simulator_killed_leaves_no_process(launch: Launcher) -> None:
    process = launch.run("sim", "--scenario", "swarm", "--seeds", "1..1000", "--jobs", "2")
    eventually(lambda: len(pool_of(process)) == 2, lambda: f"two are at work: {process.stderr}")
    descendants = [each.pid for each in process.tree[1:]]
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: not any(is_running(pid) for pid in descendants), "they end")
