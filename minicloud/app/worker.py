"""This module puts the worker together: the agent, its gRPC port, and the real clock, chance, sockets and
signals.

Always holds: everything that can be refused (a port, a folder) is refused before anything is served
(`tests/integration/test_starting.py`).
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import SystemRandom

import structlog
import trio

from minicloud.app.service_manager import ServiceManager
from minicloud.app.serving import MAX_REQUEST_BYTES, raise_open_file_limit, with_standard_services
from minicloud.app.signals import ending_signals, until_signalled
from minicloud.clock import SystemClock
from minicloud.config import WorkerConfig
from minicloud.core.errors import RegistrationFailedError
from minicloud.net.address import of_socket
from minicloud.net.listening import bind_tcp
from minicloud.rpc.channel import open_channel
from minicloud.rpc.config import ServerLimits
from minicloud.rpc.server import Server
from minicloud.wire.gen.minicloud.execution import WorkerManagementServiceStub
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import AgentState
from minicloud.worker.control_plane_client import TO_CONTROL_PLANE, ControlPlaneClient, Upstream
from minicloud.worker.endpoint import EndpointFinder
from minicloud.worker.endpoint_check import EndpointCheck
from minicloud.worker.identity import exclusive, instance_id_in
from minicloud.worker.queries import QueryTracker
from minicloud.worker.resources import ResourceProbe

GRACE_S = 1.0  # for calls in flight after the agent has ended; queries have had their own time by then
CONNECT_S = 10.0  # for a connection that is made to the control plane to find out this end's address

log = structlog.get_logger()


def run_worker(config: WorkerConfig) -> int:
    """Run a worker until a signal or a drain ends it, and return the exit code.

    Raises `ConfigError` before anything is served where something cannot be used, and
    `RegistrationFailedError` where it gives up.
    """
    raise_open_file_limit()
    return trio.run(_worker, config, ServiceManager.taken_from(os.environ))


async def _worker(config: WorkerConfig, manager: ServiceManager) -> int:
    listeners = await bind_tcp(config.hosts, config.port, "gRPC", "--port")
    with exclusive(config.data_dir):
        return await _worker_on(listeners, config, manager)


async def _worker_on(
    listeners: list[trio.SocketListener], config: WorkerConfig, manager: ServiceManager
) -> int:
    random, clock, queries = SystemRandom(), SystemClock(), QueryTracker()
    instance_id = instance_id_in(config.data_dir, random)
    probe = ResourceProbe(config.data_dir or Path("/"), clock)
    health, services = with_standard_services(config.enable_reflection)
    limits = ServerLimits(max_message_bytes=MAX_REQUEST_BYTES)
    server = Server(services, random=random, limits=limits)
    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with AsyncExitStack() as scopes:
            upstreams = []
            for address in config.control_planes:
                channel = await scopes.enter_async_context(
                    open_channel([address], random=random, config=TO_CONTROL_PLANE)
                )
                upstreams.append(Upstream(str(address), channel.stub(WorkerManagementServiceStub), channel))
            client = ControlPlaneClient(upstreams, clock)
            connection = partial(client.local_address, CONNECT_S)
            nursery = await scopes.enter_async_context(trio.open_nursery())
            agent = Agent(
                AgentConfig(
                    wanted_id=config.worker_id,
                    instance_id=instance_id,
                    metadata={"zone": config.zone},
                    exit_after_failures=config.exit_after_failures,
                    drain_timeout_s=config.drain_timeout_s,
                ),
                client,
                endpoint=EndpointFinder(
                    config.advertise or "",
                    config.hosts,
                    [of_socket(listener.socket.getsockname()) for listener in listeners],
                    connection,
                ),
                verify=EndpointCheck(connection, random),
                resources=probe.read,
                queries=queries,
                clock=clock,
                random=random,
            )
            nursery.start_soon(probe.keep_disk_fresh)
            await nursery.start(server.serve, listeners)
            # A worker is ready without being registered: it waits for its control plane as long as that
            # takes, and the service manager must not end it for that (DESIGN 40).
            manager.ready(_status(agent.state))
            nursery.start_soon(manager.keep_reporting, lambda: _status(agent.state))

            async def stop() -> None:
                manager.stopping()
                health.stop_serving()
                agent.stop("shutdown")

            nursery.start_soon(until_signalled, signals, stop)
            try:
                reason = await agent.run()
            except RegistrationFailedError as error:
                log.error("worker_gave_up", error=str(error))
                raise
            health.close()
            await server.stop(GRACE_S)
            log.info("worker_stopped", reason=reason)
            nursery.cancel_scope.cancel()
    return 0


def _status(state: AgentState) -> str:
    """Describe the agent's state in a few words."""
    if not state.registered:
        return str(state.phase)
    silent = "" if state.outage is None else ", without an answer from the control plane"
    return f"{state.worker_id} {state.phase}{silent}"
