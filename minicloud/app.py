"""The two programs, put together: a control plane, and a worker.

Here, and nowhere else, the real clock, real chance, sockets, signals and files meet. Always holds: whatever
can be refused (a port, a folder, a database) is refused before anything is served; a first signal ends the
program in order, a second at once.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from random import SystemRandom

import structlog
import trio
from grpclib.const import Status

from minicloud import __version__
from minicloud.clock import SystemClock
from minicloud.config import ControlPlaneConfig, WorkerConfig
from minicloud.control.journal import log_entry
from minicloud.control.metrics import Metrics
from minicloud.control.plane import ControlPlane, Timers
from minicloud.control.rest.app import create_rest_app
from minicloud.control.rest.readiness import Readiness
from minicloud.control.rest.server import serve_rest
from minicloud.core.errors import RegistrationFailedError
from minicloud.listening import bind_tcp
from minicloud.rpc.channel import open_channel
from minicloud.rpc.health import Health
from minicloud.rpc.reflection import Reflection
from minicloud.rpc.servable import Servable
from minicloud.rpc.server import Server
from minicloud.store.memory import MemoryStore
from minicloud.store.port import Store, StoreObserver
from minicloud.store.sqlite import SqliteStore
from minicloud.wire.descriptors import descriptor_pool
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE, ControlPlaneClient
from minicloud.worker.endpoint import endpoint_finder, host_port
from minicloud.worker.identity import exclusive, instance_id_in
from minicloud.worker.queries import QueryTracker
from minicloud.worker.resources import ResourceProbe

GRACE_S = 5.0  # for calls in flight once the program was told to end
WORKER_GRACE_S = 1.0  # the same of a worker, whose queries have had their own time by then

log = structlog.get_logger()


def run_control_plane(config: ControlPlaneConfig) -> int:
    """Run a control plane until a signal ends it; answers with the exit code.

    Raises `ConfigError` or `StoreError` before anything is served where something cannot be used.
    """
    _raise_open_file_limit()
    return trio.run(_control_plane, config)


def run_worker(config: WorkerConfig) -> int:
    """Run a worker until a signal or a drain ends it; answers with the exit code.

    Raises `ConfigError` before anything is served where something cannot be used, and
    `RegistrationFailedError` where it gives up.
    """
    _raise_open_file_limit()
    return trio.run(_worker, config)


async def _control_plane(config: ControlPlaneConfig) -> int:
    random, clock, readiness = SystemRandom(), SystemClock(), Readiness()
    metrics = Metrics(per_worker=config.metrics_per_worker)
    grpc_listeners = await bind_tcp(config.host, config.grpc_port, "gRPC", "--grpc-port")
    http_listeners = await bind_tcp(config.host, config.http_port, "HTTP", "--http-port")
    store: Store = MemoryStore()
    if config.data_dir is not None:
        store = SqliteStore(config.data_dir / "registry.db", StoreObserver(metrics.store_batch))
    timers = Timers(config.heartbeat_interval_s, config.heartbeat_timeout_s, config.retention_s)
    plane = ControlPlane(timers, store, metrics, clock, random)
    membership = plane.membership
    membership.subscribe(log_entry)
    health, services = _services(config.enable_reflection, plane.service)
    readiness.on_stopping(health.close)
    grpc = Server(services, random=random, observer=_CallObserver(metrics))
    metrics.show_grpc_connections(lambda: grpc.open_connections)
    rest = create_rest_app(membership, plane.feed, metrics, random=random, readiness=readiness)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watching:
            # The store outlives the servers, so that what they last answered for is written.
            async with trio.open_nursery() as keeping:
                await keeping.start(store.run)
                async with trio.open_nursery() as serving:
                    await serving.start(plane.sweeper.run)
                    await serving.start(grpc.serve, grpc_listeners)
                    await serving.start(
                        partial(serve_rest, rest, http_listeners, readiness=readiness, grace_s=GRACE_S)
                    )
                    readiness.mark_ready()
                    log.info(
                        "control_plane_ready",
                        version=__version__,
                        grpc=[host_port(*listener.socket.getsockname()[:2]) for listener in grpc_listeners],
                        http=[host_port(*listener.socket.getsockname()[:2]) for listener in http_listeners],
                        data_dir=str(config.data_dir or "none"),
                        workers=len(membership.registry),
                    )

                    async def stop() -> None:
                        readiness.begin_stopping()
                        await grpc.stop(GRACE_S)
                        serving.cancel_scope.cancel()

                    watching.start_soon(_until_signalled, signals, stop)
                keeping.cancel_scope.cancel()
            watching.cancel_scope.cancel()
    log.info("control_plane_stopped")
    return 0


async def _worker(config: WorkerConfig) -> int:
    listeners = await bind_tcp(config.host, config.port, "gRPC", "--port")
    with exclusive(config.data_dir):
        return await _worker_on(listeners, config)


async def _worker_on(listeners: list[trio.SocketListener], config: WorkerConfig) -> int:
    random, clock, queries = SystemRandom(), SystemClock(), QueryTracker()
    instance_id = instance_id_in(config.data_dir, random)
    addresses = [host_port(host, port) for host, port in config.control_planes]
    probe = ResourceProbe(config.data_dir or Path("/"), clock)
    health, services = _services(config.enable_reflection)
    server = Server(services, random=random)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with AsyncExitStack() as scopes:
            stubs = []
            for address, control_plane in zip(addresses, config.control_planes, strict=True):
                channel = await scopes.enter_async_context(
                    open_channel([control_plane], random=random, config=TO_CONTROL_PLANE)
                )
                stubs.append((address, channel.stub(WorkerManagementServiceStub)))
            nursery = await scopes.enter_async_context(trio.open_nursery())
            agent = Agent(
                AgentConfig(
                    wanted_id=config.worker_id,
                    instance_id=instance_id,
                    metadata={"zone": config.zone},
                    exit_after_failures=config.exit_after_failures,
                    drain_timeout_s=config.drain_timeout_s,
                ),
                ControlPlaneClient(stubs, clock),
                endpoint=endpoint_finder(
                    config.advertise or "", config.host, listeners[0].socket.getsockname()[1], addresses
                ),
                resources=probe.read,
                queries=queries,
                clock=clock,
                random=random,
            )
            nursery.start_soon(probe.keep_disk_fresh)
            await nursery.start(server.serve, listeners)

            async def stop() -> None:
                health.stop_serving()
                agent.stop("shutdown")

            nursery.start_soon(_until_signalled, signals, stop)
            try:
                reason = await agent.run()
            except RegistrationFailedError as error:
                log.error("worker_gave_up", error=str(error))
                raise
            health.close()
            await server.stop(WORKER_GRACE_S)
            log.info("worker_stopped", reason=reason)
            nursery.cancel_scope.cancel()
    return 0


class _CallObserver:
    """The gRPC server's calls, counted by metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_call_finished(self, method: str, status: Status, duration_s: float) -> None:
        self._metrics.grpc_call(method, status.name, duration_s)


async def _until_signalled(signals: AsyncIterator[int], stop: Callable[[], Awaitable[None]]) -> None:
    """Wait for a first signal and `stop`; a second one, until this is cancelled, ends the process at once."""
    first = await anext(signals)
    log.info("stopping", signal=signal.Signals(first).name)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_at_once_when_signalled, signals)
        await stop()


async def _end_at_once_when_signalled(signals: AsyncIterator[int]) -> None:
    second = await anext(signals)
    log.warning("ended_at_once", signal=signal.Signals(second).name)
    os._exit(128 + second)


def _services(enable_reflection: bool, *services: Servable) -> tuple[Health, list[Servable]]:
    """`services` and, beside them, those every gRPC server of ours answers."""
    health = Health(services)
    served = [*services, health]
    return health, [*served, Reflection(served, descriptor_pool())] if enable_reflection else served


def _raise_open_file_limit() -> None:
    """Allow as many open files, and so connections, as this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
