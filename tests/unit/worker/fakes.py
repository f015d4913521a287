"""This module has a control plane in memory that plays a script, and an agent ready to run against it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

import trio

from minicloud.clock import Clock, SystemClock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.model import Resources
from minicloud.worker.agent import Agent
from minicloud.worker.agent_config import AgentConfig
from minicloud.worker.agent_state import AgentState, Phase
from minicloud.worker.control_plane import (
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from minicloud.worker.queries import QueryTracker

T = TypeVar("T")

AWAY = ControlPlaneError("cp:9090: UNAVAILABLE: connection refused")
ACKNOWLEDGED = HeartbeatAnswer(True, next_heartbeat_s=30.0)
CORDON = HeartbeatAnswer(True, "cordon", next_heartbeat_s=30.0)
DRAIN = HeartbeatAnswer(True, "drain", next_heartbeat_s=30.0)
REGISTER = HeartbeatAnswer(False, "register", error="no worker 'w' is registered")


@dataclass(frozen=True)
class Slow(Generic[T]):
    """A `Slow` is an answer that takes `delay_s`."""

    delay_s: float
    answer: T | ControlPlaneError


@dataclass(frozen=True)
class Silence:
    """A `Silence` is no answer: the call ends with its timeout."""


SILENCE = Silence()
Scripted: TypeAlias = T | ControlPlaneError | Slow[T] | Silence


@dataclass(frozen=True)
class Call(Generic[T]):
    at_s: float
    said: T


class ScriptedControlPlane:
    """A `ScriptedControlPlane` plays each script to its end, then gives the usual answer for ever."""

    address = "cp:9090"
    away = False

    def __init__(self) -> None:
        self.registrations: list[Call[RegistrationRequest]] = []
        self.heartbeats: list[Call[Heartbeat]] = []
        self.leaves: list[Call[Deregister]] = []
        self.register_script: deque[Scripted[RegisterAnswer]] = deque()
        self.heartbeat_script: deque[Scripted[HeartbeatAnswer]] = deque()
        self.usual_register: Scripted[RegisterAnswer] = RegisterAnswer(True, "w", 1, 30.0)
        self.usual_heartbeat: Scripted[HeartbeatAnswer] = ACKNOWLEDGED
        self.deregister_script: deque[Scripted[bool]] = deque()
        self.usual_deregister: Scripted[bool] = True
        self.renewed_s: list[float] = []

    def go_away(self) -> None:
        self.usual_register = self.usual_heartbeat = self.usual_deregister = AWAY

    async def register(self, registration: RegistrationRequest, timeout_s: float) -> RegisterAnswer:
        self.registrations.append(Call(trio.current_time(), registration))
        return await _play(self.register_script, self.usual_register, timeout_s)

    async def heartbeat(self, heartbeat: Heartbeat, timeout_s: float) -> HeartbeatAnswer:
        self.heartbeats.append(Call(trio.current_time(), heartbeat))
        return await _play(self.heartbeat_script, self.usual_heartbeat, timeout_s)

    async def deregister(self, leave: Deregister, timeout_s: float) -> bool:
        self.leaves.append(Call(trio.current_time(), leave))
        return await _play(self.deregister_script, self.usual_deregister, timeout_s)

    def renew(self) -> None:
        self.renewed_s.append(trio.current_time())

    async def look_back(self, timeout_s: float) -> bool:
        raise AssertionError("there is nothing to look back to")

    async def leave_other(self, address: str, leave: Deregister, timeout_s: float) -> None:
        raise AssertionError("there is no other control plane")


async def _play(script: deque[Scripted[T]], usual: Scripted[T], timeout_s: float) -> T:
    await trio.lowlevel.checkpoint()
    step = script.popleft() if script else usual
    if isinstance(step, Silence):
        await trio.sleep(timeout_s)
        raise ControlPlaneError("cp:9090: DEADLINE_EXCEEDED")
    if isinstance(step, Slow):
        await trio.sleep(step.delay_s)
        step = step.answer
    if isinstance(step, ControlPlaneError):
        raise step
    return step


async def _endpoint() -> str:
    return "10.0.0.7:9091"


class World:
    """A `World` has one agent, its control plane, and the result of running it."""

    def __init__(
        self,
        config: AgentConfig | None = None,
        *,
        seed: int = 1,
        clock: Clock | None = None,
        endpoint: Callable[[], Awaitable[str]] = _endpoint,
        verify: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.control_plane = ScriptedControlPlane()
        self.queries = QueryTracker()
        self.agent = Agent(
            config if config is not None else AgentConfig(wanted_id="w", instance_id="0" * 32),
            self.control_plane,
            endpoint=endpoint,
            resources=lambda active: Resources(cpu_cores=4, memory_mb=1024, active_queries=active),
            queries=self.queries,
            clock=clock if clock is not None else SystemClock(),
            random=Random(seed),
            verify=verify,
        )
        self._left: tuple[str | None, float] = (None, 0.0)

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        reason = await self.agent.run(task_status=task_status)
        self._left = (reason, trio.current_time())

    def left(self) -> tuple[str | None, float]:
        """Return the reason for which the agent left, None while it has not, and the time."""
        return self._left

    def state(self) -> AgentState:
        return self.agent.state

    def phase(self) -> Phase:
        return self.agent.state.phase

    async def run_query(self, duration_s: float) -> None:
        with self.queries.query():
            await trio.sleep(duration_s)

    @property
    def beat_times_s(self) -> list[float]:
        return [call.at_s for call in self.control_plane.heartbeats]


def gaps(times_s: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times_s)]


def events(logs: Sequence[MutableMapping[str, Any]], name: str) -> list[MutableMapping[str, Any]]:
    return [entry for entry in logs if entry["event"] == name]
