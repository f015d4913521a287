"""This module puts the control plane together: its parts, and the real clock, chance, sockets, signals and
files.

Always holds: everything that can be refused (a port, a folder, a database) is refused before anything is
served (`tests/integration/test_starting.py`); the store outlives the servers, so that the changes of their
last answers are written (`tests/integration/test_ending.py`, `test_durability.py`).
"""

from __future__ import annotations

import gc
import os
from functools import partial
from random import SystemRandom

import structlog
import trio
from grpclib.const import Status

from minicloud import __version__
from minicloud.app.collector import Collector
from minicloud.app.service_manager import ServiceManager
from minicloud.app.serving import (
    MAX_REQUEST_BYTES,
    ConnectionLimits,
    connection_limits,
    raise_open_file_limit,
    with_standard_services,
)
from minicloud.app.signals import ending_signals, until_signalled
from minicloud.clock import SystemClock
from minicloud.config import ControlPlaneConfig
from minicloud.control.event_log import log_event
from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane
from minicloud.control.readiness import Readiness
from minicloud.control.rest.access import Access, own_names
from minicloud.control.rest.app import create_rest_app
from minicloud.control.rest.seats import SeatLimits, Seats
from minicloud.control.rest.server import serve_rest
from minicloud.control.service import grpc_error
from minicloud.log import lines_dropped
from minicloud.net.address import of_socket
from minicloud.net.listening import bind_tcp
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.interceptors import intercepted, translating
from minicloud.rpc.refusals import Cause
from minicloud.rpc.server import Server
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Store, StoreObserver
from minicloud.store.sqlite.opening import REGISTRY_NAME
from minicloud.store.sqlite.store import SqliteStore

GRACE_S = 5.0  # for calls in flight after the program was asked to end

log = structlog.get_logger()

# An open connection is some thousand objects that stay. Looking through those of 5,000 connections for
# garbage stopped every heartbeat for a second, again and again. Closed connections and failed calls are freed
# without the collector (DESIGN 70); other garbage in cycles is young, and the two younger generations find
# it. The oldest generation waits for ten million allocations that were not given back, or for `Collector` to
# find a run cheap.
_COLLECTOR = (10_000, 20, 50)


def run_control_plane(config: ControlPlaneConfig) -> int:
    """Run a control plane until a signal ends it, and return the exit code.

    Raises `ConfigError` or `StoreError` before anything is served where something cannot be used, and
    `StoreWriteError` where changes are left at the end that the store could not write.
    """
    connections = connection_limits(raise_open_file_limit())
    gc.set_threshold(*_COLLECTOR)
    return trio.run(_control_plane, config, connections, ServiceManager.taken_from(os.environ))


async def _control_plane(
    config: ControlPlaneConfig, connections: ConnectionLimits, manager: ServiceManager
) -> int:
    random, clock, readiness = SystemRandom(), SystemClock(), Readiness()
    metrics = Metrics(per_worker=config.metrics_per_worker)
    grpc_listeners = await bind_tcp(config.hosts, config.grpc_port, "gRPC", "--grpc-port")
    http_listeners = await bind_tcp(config.hosts, config.http_port, "HTTP", "--http-port")
    store: Store = MemoryStore()
    if config.data_dir is not None:
        observer = StoreObserver(metrics.store_batch, lambda fault: show_fault(fault), metrics.store_dropped)
        store = durable = SqliteStore(config.data_dir / REGISTRY_NAME, observer)
        metrics.show_store(lambda: durable.unwritten, durable.oldest_unwritten_s)
    plane = ControlPlane(
        config.liveness,
        store,
        metrics,
        clock,
        random,
        snapshot=await store.load(),
        max_workers=config.max_workers,
    )
    membership = plane.membership
    membership.subscribe(log_event)
    health, services = with_standard_services(config.enable_reflection, plane.service)
    readiness.on_stopping(health.close)

    def show_fault(fault: str) -> None:
        metrics.store_available(not fault)
        readiness.fault = fault
        health.set_serving(not fault)

    limits = ServerLimits(max_connections=connections.grpc, max_message_bytes=MAX_REQUEST_BYTES)
    grpc = Server(
        intercepted(services, translating(grpc_error)),
        random=random,
        limits=limits,
        observer=_CallObserver(metrics),
    )
    metrics.show_grpc_connections(lambda: grpc.open_connections)
    seats = Seats(SeatLimits.of(connections.http), on_crowded_out=metrics.http_crowded_out)
    metrics.show_http_connections(lambda: seats.open, lambda: seats.streams)
    metrics.show_log_lines_dropped(lines_dropped)
    rest = create_rest_app(
        membership,
        plane.feed,
        metrics,
        random=random,
        readiness=readiness,
        access=Access(
            [*(name for host in config.hosts for name in own_names(host)), *config.allowed_hosts],
            config.allowed_origins,
        ),
        copies=store.backup if isinstance(store, SqliteStore) else None,
    )

    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as keeping:
                await keeping.start(store.run)
                async with trio.open_nursery() as serving:
                    await serving.start(plane.sweeper.run)
                    serving.start_soon(Collector(lambda: grpc.open_connections).run)
                    await serving.start(grpc.serve, grpc_listeners)
                    await serving.start(
                        partial(
                            serve_rest,
                            rest,
                            http_listeners,
                            readiness=readiness,
                            seats=seats,
                            grace_s=GRACE_S,
                        )
                    )
                    readiness.mark_ready()
                    log.info(
                        "control_plane_ready",
                        version=__version__,
                        grpc=[str(of_socket(listener.socket.getsockname())) for listener in grpc_listeners],
                        http=[str(of_socket(listener.socket.getsockname())) for listener in http_listeners],
                        data_dir=str(config.data_dir or "none"),
                        workers=len(membership.sweep_due()),
                    )

                    def status() -> str:
                        fault = f"; {readiness.fault}" if readiness.fault else ""
                        return f"{len(membership.sweep_due())} workers registered{fault}"

                    manager.ready(status())
                    watching.start_soon(manager.keep_reporting, status)

                    async def stop() -> None:
                        manager.stopping()
                        readiness.begin_stopping()
                        await grpc.stop(GRACE_S)
                        serving.cancel_scope.cancel()

                    watching.start_soon(until_signalled, signals, stop)
                keeping.cancel_scope.cancel()
            watching.cancel_scope.cancel()
    log.info("control_plane_stopped")
    return 0


class _CallObserver:
    """A `_CallObserver` counts the gRPC server's calls in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        self._metrics.grpc_call(method, status.name, duration_s)

    def on_refused(self, cause: Cause) -> None:
        self._metrics.grpc_refusal(cause)
