"""This module makes pages of workers, for gRPC and REST. A page token is the last id of its page, opaque to
clients, so that pages stay right while workers come and go between two requests.

At most a slice of the workers is looked at, or returned, between two turns of other tasks (DESIGN 32).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import trio

from minicloud.control.membership import Membership
from minicloud.core.commands import check_worker_id
from minicloud.core.errors import InvalidError
from minicloud.core.model import Status, Worker, WorkerId

# A look takes some 1 ms, at 0.1 us a worker and 0.5 us where a status is given.
_LOOKED_AT_ONCE = 2_000
# JSON of these takes 1 ms, at 6 us a worker, and messages take 2 to 3 ms; a turn costs 0.05 ms.
_HANDED_OUT_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """A page is some workers in the order of ids, all of `status` if it has one. `next_token` is empty on the
    last page. The page holds ids, as a worker may leave while the page is read."""

    worker_ids: tuple[WorkerId, ...]
    status: Status | None
    next_token: str

    def slices(self, membership: Membership) -> Iterator[list[Worker]]:
        """Yield the workers in slices, as they are when each slice is taken. The caller lets other tasks run
        between two. Workers that have left or changed their status are left out."""
        for start in range(0, len(self.worker_ids), _HANDED_OUT_AT_ONCE):
            registry = membership.sweep_due()
            get = registry.departures.get if self.status is Status.OFFLINE else registry.get
            found = map(get, self.worker_ids[start : start + _HANDED_OUT_AT_ONCE])
            yield [worker for worker in found if worker is not None and _is(worker, self.status)]


async def page_of_workers(membership: Membership, status: Status | None, limit: int, page_token: str) -> Page:
    """Return a page of up to `limit` (0: all) registered workers behind `page_token`, of `status` if one is
    given. OFFLINE lists the departed workers that are remembered.

    Raise `InvalidError` for a negative limit and for a token that this program did not make.
    """
    if limit < 0:
        raise InvalidError(f"limit is {limit}: it must be 0 (no limit) or more")
    found: list[WorkerId] = []
    after = _from_token(page_token) if page_token else ""
    while True:
        registry = membership.sweep_due()
        workers = registry.departures.workers if status is Status.OFFLINE else registry.workers
        looked_at = list(islice(workers(after), _LOOKED_AT_ONCE))
        found.extend(worker.worker_id for worker in looked_at if _is(worker, status))
        if limit and len(found) > limit:
            return Page(tuple(found[:limit]), status, token_after(found[limit - 1]))
        if len(looked_at) < _LOOKED_AT_ONCE:
            return Page(tuple(found), status, "")
        after = looked_at[-1].worker_id
        await trio.lowlevel.checkpoint()


def _is(worker: Worker, status: Status | None) -> bool:
    return status is None or worker.status is status


def token_after(worker_id: str) -> str:
    """Return the token of the page that begins behind `worker_id`."""
    return base64.urlsafe_b64encode(worker_id.encode()).decode().rstrip("=")


def _from_token(token: str) -> str:
    try:
        padded = token + "=" * (-len(token) % 4)
        return check_worker_id(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (binascii.Error, ValueError, InvalidError):
        raise InvalidError("page_token is not one this control plane gave: start again without it") from None
