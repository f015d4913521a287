"""Faults of machines: programs that crash or stop, disks that lose data, clocks that are wrong, slow
processors."""

from __future__ import annotations

from collections.abc import Iterator

from sim.cluster.cluster import Cluster
from sim.cluster.control_plane import ControlPlaneNode
from sim.cluster.worker import WorkerNode
from sim.faults.effect import Undo, nothing, number
from sim.faults.schedule import Fault
from sim.net.network import Delay


def _nodes(cluster: Cluster, fault: Fault) -> Iterator[WorkerNode | ControlPlaneNode]:
    for name in fault.nodes:
        yield cluster.control_plane if name == cluster.control_plane.name else cluster.workers[name]


def crash(cluster: Cluster, fault: Fault) -> Undo:
    """Programs lose power; they start again, with what their disk kept, at the end, unless `restart` is
    `never`."""
    for node in _nodes(cluster, fault):
        node.kill()
    return nothing if fault.options["restart"] == "never" else lambda: _start(cluster, fault)


def stop(cluster: Cluster, fault: Fault) -> Undo:
    """Workers get a SIGTERM while they run a query that takes `busy_s`; they start again at the end."""
    busy_s = number(fault, "busy_s")
    for node in cluster.workers_named(fault.nodes):
        if node.run is not None and node.alive:
            node.run.stop(busy_s)
    return lambda: _start(cluster, fault)


def wipe(cluster: Cluster, fault: Fault) -> Undo:
    """Programs lose power and start again at the end, with an empty disk."""
    for node in _nodes(cluster, fault):
        node.kill()
        node.wipe()
    return lambda: _start(cluster, fault)


def stale_disk(cluster: Cluster, fault: Fault) -> Undo:
    """The control plane is backed up now; at the end it crashes and starts again from that backup."""
    node = cluster.control_plane
    backup = node.disk.copy()

    def end() -> None:
        node.kill()
        node.disk.restore(backup)
        node.start(cluster.nursery)

    return end


def duplicate_id(cluster: Cluster, fault: Fault) -> Undo:
    """Another installation takes each worker's place and wants the id of the worker `of`."""
    for worker in cluster.workers_named(fault.nodes):
        worker.kill()
        worker.wipe()
        worker.wanted_id = str(fault.options["of"])
    _start(cluster, fault)
    return nothing


def move(cluster: Cluster, fault: Fault) -> Undo:
    """Workers are reached at another endpoint from now on."""
    for worker in cluster.workers_named(fault.nodes):
        worker.move()
    return nothing


def _start(cluster: Cluster, fault: Fault) -> None:
    for node in _nodes(cluster, fault):
        node.start(cluster.nursery)


def pause(cluster: Cluster, fault: Fault) -> Undo:
    """Programs are stopped, as by SIGSTOP or a hypervisor, and go on at the end."""
    processes = [node.run.process for node in _nodes(cluster, fault) if node.run is not None]
    for process in processes:
        process.pause()

    def end() -> None:
        for process in processes:
            process.resume()

    return end


def disk_failure(cluster: Cluster, fault: Fault) -> Undo:
    """The control plane's writes fail; it refuses what has to be durable until they succeed."""
    disk = cluster.control_plane.disk
    disk.failing += 1

    def end() -> None:
        assert disk.failing > 0, "a failure ends once"
        disk.failing -= 1

    return end


def slow_server(cluster: Cluster, fault: Fault) -> Undo:
    """Each call takes `low_s` to `high_s` more of the control plane's processor."""
    extra = Delay(number(fault, "low_s"), number(fault, "high_s"))
    slowness = cluster.control_plane.slowness
    slowness.append(extra)
    return lambda: slowness.remove(extra)


def clock_drift(cluster: Cluster, fault: Fault) -> Undo:
    """Clocks run `rate` times as fast."""
    rate = number(fault, "rate")
    clocks = [node.clock for node in _nodes(cluster, fault)]
    for clock in clocks:
        clock.set_rate(clock.rate * rate)

    def end() -> None:
        for clock in clocks:
            clock.set_rate(clock.rate / rate)

    return end


def clock_step(cluster: Cluster, fault: Fault) -> Undo:
    """Wall clocks are set `by_s` forward, or back if it is negative, and right again at the end."""
    by_s = number(fault, "by_s")
    clocks = [node.clock for node in _nodes(cluster, fault)]
    for clock in clocks:
        clock.step_wall(by_s)

    def end() -> None:
        for clock in clocks:
            clock.step_wall(-by_s)

    return end
