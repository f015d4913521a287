"""The agent is a worker's membership from the first registration to the last call.

Always holds: no failure of the control plane ends the agent, unless `exit_after_failures` is set
(`tests/unit/worker/test_agent_registration.py`). Queries are accepted exactly while no order and no stop is
in force (`tests/unit/worker/test_agent_heartbeats.py`). An agent that was stopped never resumes
(`tests/unit/worker/test_agent_leaving.py`).

It makes one call at a time, except for the heartbeat that announces a shutdown and for calls to a control
plane that is not in use. All time comes from the `Clock` and all chance from the `Random`, so thousands of
agents run in one process on virtual clocks (DESIGN 7).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from random import Random

import structlog
import trio

from minicloud.clock import Clock
from minicloud.core.commands import Deregister, Heartbeat
from minicloud.core.errors import RegistrationFailedError
from minicloud.core.model import Resources
from minicloud.request_id import RequestScope
from minicloud.worker.agent_config import AgentConfig, told_interval_s
from minicloud.worker.agent_state import AgentState, Phase
from minicloud.worker.contact import Contact
from minicloud.worker.control_plane import (
    ControlPlaneApi,
    ControlPlaneError,
    HeartbeatAnswer,
    RegisterAnswer,
    RegistrationRequest,
)
from minicloud.worker.deadline import in_time
from minicloud.worker.leave import leave
from minicloud.worker.orders import Order, order_in
from minicloud.worker.queries import QueryTracker
from minicloud.worker.returning import Returning
from minicloud.worker.ticks import Ticks

DRAINED = "drained"


_PHASES = {Order.WORK: Phase.ACTIVE, Order.CORDON: Phase.CORDONED, Order.DRAIN: Phase.DRAINING}


class Agent:
    """This is one worker's membership; `run` it once.

    `endpoint` finds the worker's own host:port. It is called for each registration and after each heartbeat
    (DESIGN 53), and may raise `ControlPlaneError`. `verify` tries a registered endpoint and logs what is
    wrong with it. `resources` takes the number of active queries; it is called on the loop and must be quick.
    """

    def __init__(
        self,
        config: AgentConfig,
        control_plane: ControlPlaneApi,
        *,
        endpoint: Callable[[], Awaitable[str]],
        resources: Callable[[int], Resources],
        queries: QueryTracker,
        clock: Clock,
        random: Random,
        verify: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._config = config
        self._control_plane = control_plane
        self._endpoint = endpoint
        self._verify = verify
        self._resources = resources
        self._queries = queries
        self._clock = clock
        self._random = random
        self._contact = Contact()
        self._log = structlog.get_logger()
        self._registered = False
        self._worker_id = ""
        self._incarnation = 0
        self._registered_endpoint = ""
        self._returning = Returning(control_plane, config, clock)
        # It never starts again, not even with a new incarnation: no heartbeat is then taken for an old one.
        self._sequence = 0
        self._interval_s = config.heartbeat_interval_s
        self._last_acknowledged_s: float | None = None
        self._acknowledged = 0
        self._failed = 0
        self._order = Order.WORK
        self._nursery: trio.Nursery | None = None
        self._draining = False
        self._stop_reason: str | None = None
        self._stop_requested = trio.Event()
        self._registration_answered: trio.Event | None = None
        self._left = False
        self._given_up: RegistrationFailedError | None = None

    @property
    def state(self) -> AgentState:
        """Return the state as of now."""
        return AgentState(
            phase=self._phase,
            registered=self._registered,
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            interval_s=self._interval_s,
            last_acknowledged_s=self._last_acknowledged_s,
            acknowledged=self._acknowledged,
            failed=self._failed,
            outage=self._contact.outage,
        )

    def stop(self, reason: str) -> None:
        """Have `run` finish the queries, leave and return. The first reason counts; a stop is final."""
        if self._stop_reason is None:
            self._stop_reason = reason
            self._queries.stop_accepting()
            self._returning.stop()
            self._stop_requested.set()
            self._log.info("stopping", reason=reason, active_queries=self._queries.active)

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> str:
        """Register and send heartbeats until stopped, leave, and return the reason, which is `DRAINED` after
        a drain.

        The task reports the worker's id once it is registered (an empty id if it is stopped before that).
        Raise `RegistrationFailedError` where it gives up. A cancellation ends it without a call to the
        control plane.
        """
        started = _Once(task_status)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._stay_member, started)
            await self._stop_requested.wait()
            if self._registered and self._queries.active:
                nursery.start_soon(self._announce_leaving)
            await self._finish_queries()
            leave_by_s = self._clock.monotonic_s() + self._config.leave_timeout_s
            await self._await_registration_under_way(leave_by_s)
            nursery.cancel_scope.cancel()
        if self._registered:
            await self._deregister(leave_by_s)
        self._left = True
        if self._given_up is not None:
            raise self._given_up
        started.report("")
        assert self._stop_reason is not None
        return self._stop_reason

    # Joining and staying

    async def _stay_member(self, started: _Once) -> None:
        # A worker that is about to leave does not register again.
        while self._stop_reason is None:
            await self._register()
            if self._registered:
                started.report(self._worker_id)
                await self._beat()

    async def _register(self) -> None:
        """Return once registered or stopped."""
        failures = 0
        last_error = ""
        while self._stop_reason is None:
            error = await self._try_to_register()
            if not error:
                return
            failures += 1
            # There is a warning for each doubling of the attempts and for each new error, so that an outage
            # of hours is visible in the log and does not fill it.
            newsworthy = failures.bit_count() == 1 or error != last_error
            (self._log.warning if newsworthy else self._log.debug)(
                "registration_failed",
                error=error,
                attempt=failures,
                wanted_id=self._worker_id or self._config.wanted_id,
                control_plane=self._control_plane.address,
            )
            last_error = error
            if failures == self._config.exit_after_failures:
                self._given_up = RegistrationFailedError(
                    f"registration failed {failures} times in a row, last with: {error}"
                )
                self.stop("registration failed")
                return
            await self._pause(self._config.backoff.delay_s(failures - 1, self._random))

    async def _try_to_register(self) -> str:
        """Register once. Return the error; empty if there was none."""
        with RequestScope(self._new_request_id()):
            try:
                registration = RegistrationRequest(
                    worker_id=self._worker_id or self._config.wanted_id,
                    endpoint=await self._endpoint(),
                    resources=self._resources(self._queries.active),
                    metadata=self._config.metadata,
                    instance_id=self._config.instance_id,
                )
                answer = await self._call_register(registration)
            except ControlPlaneError as error:
                self._contact.lost(self._clock.monotonic_s())
                return str(error)
            self._note_contact()
            if not answer.registered:
                return f"refused: {answer.error or 'no reason given'}"
            worker_id = answer.worker_id or registration.worker_id
            if not worker_id:
                return "the control plane gave no worker id: set one with --id"
            self._become(worker_id, answer, registration)
            return ""

    async def _call_register(self, registration: RegistrationRequest) -> RegisterAnswer:
        self._registration_answered = trio.Event()
        try:
            return await self._control_plane.register(registration, self._config.call_timeout_s)
        finally:
            self._registration_answered.set()

    def _become(self, worker_id: str, answer: RegisterAnswer, registration: RegistrationRequest) -> None:
        self._registered = True
        self._registered_endpoint = registration.endpoint
        self._worker_id = worker_id
        self._incarnation = answer.incarnation
        self._interval_s = told_interval_s(answer.heartbeat_interval_s, self._config.heartbeat_interval_s)
        self._last_acknowledged_s = self._clock.monotonic_s()
        self._log = self._log.bind(worker_id=worker_id, incarnation=answer.incarnation)
        self._log.info(
            "registered",
            wanted_id=registration.worker_id,
            endpoint=registration.endpoint,
            interval_s=self._interval_s,
            control_plane=self._control_plane.address,
        )
        assert self._nursery is not None, "what registers runs in it"
        self._returning.registered(self._nursery, answer.incarnation)
        if self._verify is not None:
            self._nursery.start_soon(self._verify, registration.endpoint)

    async def _beat(self) -> None:
        """Send heartbeats until the control plane asks for a new registration."""
        ticks = Ticks(self._clock.monotonic_s(), self._interval_s, self._random)
        retry_s = math.inf
        while self._registered:
            await self._clock.sleep_until(min(ticks.due_s, retry_s))
            if not self._still_registered():
                return
            answer = await self._send_heartbeat()
            now_s = self._clock.monotonic_s()
            retry_s = math.inf
            if answer is not None:
                self._interval_s = told_interval_s(answer.next_heartbeat_s, self._interval_s)
                ticks.change_period(self._interval_s, now_s)
            elif outage := self._contact.outage:
                # The retry may come before the next tick, so that a lost packet costs seconds of the lease
                # and not a whole interval. In a long outage there is a call every 15 s or so, at random.
                retry_s = now_s + self._config.backoff.delay_s(outage.failures - 1, self._random)
            ticks.advance(now_s)

    async def _send_heartbeat(self) -> HeartbeatAnswer | None:
        self._sequence += 1
        with RequestScope(self._new_request_id()):
            heartbeat = Heartbeat(
                self._worker_id,
                self._resources(self._queries.active),
                self._incarnation,
                self._sequence,
                self._stop_reason is not None,
            )
            try:
                answer = await self._control_plane.heartbeat(heartbeat, self._config.call_timeout_s)
            except ControlPlaneError as error:
                self._failed += 1
                first = self._contact.lost(self._clock.monotonic_s())
                (self._log.warning if first else self._log.debug)(
                    "contact_lost" if first else "heartbeat_failed",
                    error=str(error),
                    sequence=self._sequence,
                    control_plane=self._control_plane.address,
                )
                return None
            self._note_contact()
            if not answer.acknowledged or answer.action == "register":
                self._registered = False
                self._log.warning("told_to_register", error=answer.error, sequence=self._sequence)
                return answer
            self._acknowledged += 1
            self._last_acknowledged_s = self._clock.monotonic_s()
            self._obey(order_in(answer))
            if self._control_plane.away:
                assert self._nursery is not None, "what beats runs in it"
                membership = self._worker_id, self._incarnation
                self._returning.look_back(self._nursery, membership, self._interval_s)
            await self._register_again_if_moved()
            return answer

    async def _register_again_if_moved(self) -> None:
        """Begin a new registration where this worker's endpoint is no longer the registered one."""
        try:
            endpoint = await self._endpoint()
        except ControlPlaneError:
            return  # the connection is lost; the next heartbeat looks again
        if endpoint != self._registered_endpoint and self._stop_reason is None:
            self._registered = False
            self._log.info("endpoint_changed", was=self._registered_endpoint, endpoint=endpoint)

    def _note_contact(self) -> None:
        if (outage := self._contact.answered()) is not None:
            self._log.info(
                "contact_restored",
                outage_s=round(self._clock.monotonic_s() - outage.since_s, 1),
                failures=outage.failures,
                control_plane=self._control_plane.address,
            )

    def _obey(self, order: Order) -> None:
        if order is self._order or self._stop_reason is not None:
            return
        self._order = order
        if order is Order.WORK:
            self._queries.resume()
        else:
            self._queries.stop_accepting()
        if order is Order.DRAIN and not self._draining:
            self._draining = True
            assert self._nursery is not None, "what beats runs in it"
            self._nursery.start_soon(self._leave_once_drained)
        self._log.info("ordered", to=order.value, active_queries=self._queries.active)

    # Leaving

    async def _announce_leaving(self) -> None:
        """Send a heartbeat now, so that no new work is sent here while the last queries finish (DESIGN
        54)."""
        failures = 0
        while self._registered and await self._send_heartbeat() is None:
            await self._pause(self._config.backoff.delay_s(failures, self._random))
            failures += 1

    async def _leave_once_drained(self) -> None:
        await self._queries.wait_idle()
        self._draining = False
        # The order may have changed meanwhile; the present one counts.
        if self._order is Order.DRAIN:
            self.stop(DRAINED)

    async def _finish_queries(self) -> None:
        deadline_s = self._clock.monotonic_s() + self._config.drain_timeout_s
        if not await in_time(self._clock, deadline_s, self._queries.wait_idle):
            self._log.warning("queries_abandoned", active_queries=self._queries.active)

    async def _await_registration_under_way(self, deadline_s: float) -> None:
        # A call that is cancelled now may still register this worker, which then gets work after its end.
        if self._registration_answered is not None:
            await in_time(self._clock, deadline_s, self._registration_answered.wait)

    async def _deregister(self, deadline_s: float) -> None:
        assert self._stop_reason is not None
        command = Deregister(self._worker_id, self._stop_reason, self._incarnation)
        with RequestScope(self._new_request_id()):
            problem = await leave(self._control_plane, command, deadline_s, self._clock, self._random)
            self._registered = False
            if problem:
                self._log.warning("deregistration_failed", reason=self._stop_reason, error=problem)
            else:
                self._log.info("deregistered", reason=self._stop_reason)

    # Helpers

    @property
    def _phase(self) -> Phase:
        if self._left:
            return Phase.LEFT
        if self._stop_reason is not None:
            return Phase.STOPPING
        if not self._registered:
            return Phase.REGISTERING
        return _PHASES[self._order]

    def _still_registered(self) -> bool:
        return self._registered

    def _new_request_id(self) -> str:
        return f"{self._random.getrandbits(64):016x}"

    async def _pause(self, delay_s: float) -> None:
        await self._clock.sleep_until(self._clock.monotonic_s() + delay_s)


class _Once:
    """This reports that a task has started, at the first call only."""

    def __init__(self, task_status: trio.TaskStatus[str]) -> None:
        self._task_status: trio.TaskStatus[str] | None = task_status

    def report(self, value: str) -> None:
        if self._task_status is not None:
            self._task_status.started(value)
            self._task_status = None
