"""Calls in one line each, for traces: the fields that decide what happens, and nothing that differs between
two runs of one seed (the order of a map's bytes).

Made for every heartbeat of a run, and therefore kept cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicloud.wire.gen.minicloud.execution import (
    DeregisterWorkerRequest,
    HeartbeatRequest,
    ListWorkersRequest,
    RegisterWorkerRequest,
)


def _heartbeat_answered(message: Any, answer: Any) -> str:
    action = answer.instructions.get("action", "-") if answer.instructions else "-"
    return (
        f"Heartbeat {message.worker_id} {message.incarnation} {message.sequence} > "
        f"{answer.acknowledged} {int(answer.expected_status)} {action} {answer.next_heartbeat_ms}"
    )


def _registration(message: Any) -> str:
    return f"RegisterWorker {message.worker_id or '-'} {message.instance_id or '-'} {message.endpoint}"


def _registration_answered(message: Any, answer: Any) -> str:
    given = f"{answer.registered} {answer.assigned_worker_id or '-'} {answer.incarnation}"
    return f"{_registration(message)} > {given}"


def _deregistration(message: Any) -> str:
    return f"DeregisterWorker {message.worker_id} {message.incarnation} {message.reason!r}"


def _deregistration_answered(message: Any, answer: Any) -> str:
    return f"{_deregistration(message)} > {answer.deregistered}"


def _listing(message: Any) -> str:
    return f"ListWorkers {message.limit} {message.page_token or '-'}"


def _listing_answered(message: Any, answer: Any) -> str:
    return f"{_listing(message)} > {len(answer.workers)} {answer.next_page_token or '-'}"


# By the request's type. Heartbeats have no line of their own when they come: they are answered in that step.
REQUESTS: dict[type[Any], Callable[[Any], str]] = {
    RegisterWorkerRequest: _registration,
    DeregisterWorkerRequest: _deregistration,
    ListWorkersRequest: _listing,
}
ANSWERS: dict[type[Any], Callable[[Any, Any], str]] = {
    HeartbeatRequest: _heartbeat_answered,
    RegisterWorkerRequest: _registration_answered,
    DeregisterWorkerRequest: _deregistration_answered,
    ListWorkersRequest: _listing_answered,
}
