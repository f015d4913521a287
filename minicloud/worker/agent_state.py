"""This module has the state that an agent shows, for health checks, metrics and tests."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from minicloud.worker.contact import Outage


class Phase(StrEnum):
    """The phase is the present stage of a worker's membership."""

    REGISTERING = "registering"
    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINING = "draining"
    STOPPING = "stopping"
    LEFT = "left"


class AgentState(NamedTuple):
    """This is the agent as of one moment. Instants are monotonic seconds of its clock."""

    phase: Phase
    registered: bool
    worker_id: str  # the last one given; empty before the first
    incarnation: int
    interval_s: float
    last_acknowledged_s: float | None  # when a heartbeat or registration was last acknowledged
    acknowledged: int  # heartbeats
    failed: int  # heartbeats without an answer
    outage: Outage | None  # None while the control plane answers
