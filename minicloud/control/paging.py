"""Pages of workers, for gRPC and REST alike. A page token is opaque to clients: it is the last id they saw,
so that a page stays right while workers come and go between two requests."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from minicloud.core.commands import check_worker_id
from minicloud.core.errors import InvalidError
from minicloud.core.model import Status, Worker
from minicloud.core.registry import Registry


@dataclass(frozen=True, slots=True)
class Page:
    """Some workers in the order of ids; `next_token` is empty on the last page."""

    workers: tuple[Worker, ...]
    next_token: str


def page_of_workers(registry: Registry, status: Status | None, limit: int, page_token: str) -> Page:
    """Up to `limit` (0: all) workers, those of `status` if one is given, behind `page_token`.

    Raises `InvalidError` for a negative limit and a token this program did not make.
    """
    if limit < 0:
        raise InvalidError(f"limit is {limit}: it must be 0 (no limit) or more")
    found: list[Worker] = []
    for worker in registry.workers(after=_from_token(page_token) if page_token else ""):
        if status is None or worker.status is status:
            if limit and len(found) == limit:
                return Page(tuple(found), _to_token(found[-1].worker_id))
            found.append(worker)
    return Page(tuple(found), "")


def _to_token(worker_id: str) -> str:
    return base64.urlsafe_b64encode(worker_id.encode()).decode().rstrip("=")


def _from_token(token: str) -> str:
    try:
        padded = token + "=" * (-len(token) % 4)
        return check_worker_id(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (binascii.Error, ValueError, InvalidError):
        raise InvalidError("page_token is not one this control plane gave: start again without it") from None
