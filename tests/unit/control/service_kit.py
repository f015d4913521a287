"""This module has a control plane without its servers, and calls to its service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from minicloud.clock import SystemClock
from minicloud.control.membership import Membership
from minicloud.control.service import WorkerManagementService
from minicloud.core.registry import Registry
from minicloud.wire.gen.minicloud.common import ResourceInfo
from minicloud.wire.gen.minicloud.execution import (
    HeartbeatRequest,
    HeartbeatResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
)
from tests.unit.control.gated_store import GatedStore


class Counts:
    def __init__(self) -> None:
        self.heartbeats: Counter[str] = Counter()
        self.registrations: Counter[str] = Counter()

    def heartbeat(self, result: str) -> None:
        self.heartbeats[result] += 1

    def registration(self, outcome: str) -> None:
        self.registrations[outcome] += 1


class Plane:
    """A `Plane` is a control plane without its servers."""

    def __init__(self, max_workers: int = 1_000_000) -> None:
        self.store = GatedStore()
        self.counts = Counts()
        self.membership = Membership(Registry(max_workers=max_workers), self.store, SystemClock())
        self.service = WorkerManagementService(self.membership, self.counts, Random(1))

    async def register(
        self,
        worker_id: str = "w",
        endpoint: str = "h:1",
        instance_id: str = "",
        resources: ResourceInfo | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> RegisterWorkerResponse:
        return await self.service.register_worker(
            RegisterWorkerRequest(
                worker_id=worker_id,
                endpoint=endpoint,
                instance_id=instance_id,
                resources=resources,
                metadata=dict(metadata or {}),
            )
        )

    async def beat(
        self,
        worker_id: str = "w",
        incarnation: int = 0,
        sequence: int = 0,
        resources: ResourceInfo | None = None,
        state: str = "",
    ) -> HeartbeatResponse:
        return await self.service.heartbeat(
            HeartbeatRequest(
                worker_id=worker_id,
                incarnation=incarnation,
                sequence=sequence,
                current_resources=resources,
                status_metadata={"state": state} if state else {},
            )
        )

    async def list_workers(self, request: ListWorkersRequest) -> ListWorkersResponse:
        """Return the answer in the form in which a client gets it."""
        return ListWorkersResponse.FromString(bytes(await self.service.list_workers(request)))
