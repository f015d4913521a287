"""`/api/workers` lists, shows and administers the workers.

A change is answered once it is durable. The fixed paths `stats` and `healthy` take precedence over a worker's
id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, UnsetType
from quart import Quart, Response
from quart_schema import validate_querystring
from werkzeug.routing import BaseConverter

from minicloud.control.membership import Membership
from minicloud.control.paging import Page, page_of_workers
from minicloud.control.rest.bodies import ReasonJson, reason_given
from minicloud.control.rest.openapi import Answer, json_of, operation
from minicloud.control.rest.parameters import HealthyQuery, NoQuery, WorkersQuery
from minicloud.control.rest.pieces import response_of
from minicloud.control.rest.schemas import Moment, StatsJson, WorkerJson, stats_json, worker_json
from minicloud.core.commands import RESERVED_IDS, Command, Cordon, Drain, Remove, Uncordon
from minicloud.core.errors import UnknownWorkerError
from minicloud.core.model import Status, Worker

TAG = "workers"
_ID_BYTES = 8  # of a page, for each worker: the ids themselves are the registry's
_JSON = "application/json"

_PAGE = json_of(
    list[WorkerJson],
    "Workers in the order of their ids.",
    {"Link": 'The next page, as `<address>; rel="next"`; absent on the last one.'},
)
_WORKER = json_of(WorkerJson, "The worker.")
_CHANGED = json_of(WorkerJson, "The worker as it is now.")
_UNKNOWN = {HTTPStatus.NOT_FOUND: "No worker of that id is registered."}
_NOT_CHANGED = {
    **_UNKNOWN,
    HTTPStatus.SERVICE_UNAVAILABLE: "The change could not be kept.",
}
_NOT_SAID = {
    **_NOT_CHANGED,
    HTTPStatus.BAD_REQUEST: "A query parameter is not known, or the body is not JSON.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is said to be something other than JSON.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The body is not what the schema says; the detail names the field.",
}


class WorkerIdConverter(BaseConverter):
    """This is a worker's id in a path. Reserved ids do not match, so that their paths have their own
    methods."""

    regex = rf"(?!(?:{'|'.join(map(re.escape, sorted(RESERVED_IDS)))})$)[^/]+"
    part_isolating = True  # else werkzeug assumes that the slash in the expression may match


class WorkerRoutes:
    """These are the handlers over one membership."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    def add_to(self, app: Quart) -> None:
        app.url_map.converters["worker"] = WorkerIdConverter
        add = app.add_url_rule
        add("/api/workers", view_func=self.list_workers)
        add("/api/workers/stats", view_func=self.stats)
        add("/api/workers/healthy", view_func=self.list_healthy)
        add("/api/workers/<worker:worker_id>", view_func=self.show)
        add("/api/workers/<worker:worker_id>", view_func=self.remove, methods=["DELETE"])
        add("/api/workers/<worker:worker_id>/cordon", view_func=self.cordon, methods=["POST"])
        add("/api/workers/<worker:worker_id>/uncordon", view_func=self.uncordon, methods=["POST"])
        add("/api/workers/<worker:worker_id>/drain", view_func=self.drain, methods=["POST"])

    @operation("listWorkers", TAG, {HTTPStatus.OK: _PAGE})
    @validate_querystring(WorkersQuery)
    async def list_workers(self, query_args: WorkersQuery) -> Response:
        """List the registered workers

        All of them, or those of one status; in pages if a limit is given. OFFLINE lists the workers that have
        departed: for the retention, and for as long as an operator holds them cordoned.
        """
        query = query_args
        status = Status(query.status.value) if query.status is not UNSET else None
        return await self._page("/api/workers", status, query.limit, query.page_token, shows_status=True)

    @operation("listHealthyWorkers", TAG, {HTTPStatus.OK: _PAGE})
    @validate_querystring(HealthyQuery)
    async def list_healthy(self, query_args: HealthyQuery) -> Response:
        """List the HEALTHY workers

        Those that may be given new work.
        """
        query = query_args
        return await self._page("/api/workers/healthy", Status.HEALTHY, query.limit, query.page_token)

    @operation("getStats", TAG, {HTTPStatus.OK: json_of(StatsJson, "The statistics as of now.")})
    @validate_querystring(NoQuery)
    async def stats(self, query_args: NoQuery) -> Response:
        """Get the cluster's statistics"""
        return _json(stats_json(self._membership.stats()))

    @operation("getWorker", TAG, {HTTPStatus.OK: _WORKER}, refusals=_UNKNOWN)
    @validate_querystring(NoQuery)
    async def show(self, worker_id: str, query_args: NoQuery) -> Response:
        """Get one worker"""
        return self._worker(worker_id)

    @operation("cordonWorker", TAG, {HTTPStatus.OK: _CHANGED}, body=ReasonJson, refusals=_NOT_SAID)
    @validate_querystring(NoQuery)
    async def cordon(self, worker_id: str, query_args: NoQuery) -> Response:
        """Give a worker no new work

        It keeps what it runs and stays registered. A draining worker stays draining. A second cordon with
        another reason changes the reason. The cordon lasts until somebody uncordons the worker, also while
        it is OFFLINE; an OFFLINE worker can be cordoned, too.
        """
        return await self._changed(Cordon(worker_id, await reason_given()), worker_id)

    @operation("uncordonWorker", TAG, {HTTPStatus.OK: _CHANGED}, body=ReasonJson, refusals=_NOT_SAID)
    @validate_querystring(NoQuery)
    async def uncordon(self, worker_id: str, query_args: NoQuery) -> Response:
        """Take a cordon or a drain back

        Also of a worker that is OFFLINE.
        """
        return await self._changed(Uncordon(worker_id, await reason_given()), worker_id)

    @operation("drainWorker", TAG, {HTTPStatus.OK: _CHANGED}, body=ReasonJson, refusals=_NOT_SAID)
    @validate_querystring(NoQuery)
    async def drain(self, worker_id: str, query_args: NoQuery) -> Response:
        """Have a worker finish what it runs and leave

        Said again with another reason, that one counts.
        """
        return await self._changed(Drain(worker_id, await reason_given()), worker_id)

    @operation(
        "removeWorker",
        TAG,
        {HTTPStatus.NO_CONTENT: Answer("The worker is no longer registered.")},
        body=ReasonJson,
        refusals=_NOT_SAID,
    )
    @validate_querystring(NoQuery)
    async def remove(self, worker_id: str, query_args: NoQuery) -> Response:
        """Strike a worker off

        One that is alive after all is told to register again at its next heartbeat.
        """
        await self._carried_out(Remove(worker_id, await reason_given()))
        response = Response(b"", HTTPStatus.NO_CONTENT)
        del response.headers["Content-Type"], response.headers["Content-Length"]  # RFC 9110, 8.6
        return response

    async def _changed(self, command: Command, worker_id: str) -> Response:
        await self._carried_out(command)
        return self._shown(self._membership.sweep_due().known(worker_id), worker_id)

    async def _carried_out(self, command: Command) -> None:
        self._membership.execute(command)
        await self._membership.durable()

    @property
    def _moment(self) -> Moment:
        return Moment.of(self._membership.clock, self._membership.wall)

    def _worker(self, worker_id: str) -> Response:
        return self._shown(self._membership.sweep_due().get(worker_id), worker_id)

    def _shown(self, worker: Worker | None, worker_id: str) -> Response:
        if worker is None:  # it never existed, or left while a change to it was being stored
            raise UnknownWorkerError(f"no worker {worker_id[:140]!r} is registered")
        return _json(worker_json(worker, self._moment))

    async def _page(
        self,
        path: str,
        status: Status | None,
        limit: int | UnsetType,
        page_token: str | UnsetType,
        *,
        shows_status: bool = False,
    ) -> Response:
        limit = 0 if limit is UNSET else limit
        token = "" if page_token is UNSET else page_token
        page = await page_of_workers(self._membership, status, limit, token)
        source_bytes = _ID_BYTES * len(page.worker_ids)
        response = await response_of(self._array(page), _JSON, source_bytes=source_bytes)
        if page.next_token:
            query = {"limit": str(limit), "page_token": page.next_token}
            if status is not None and shows_status:
                query["status"] = status.value
            response.headers["Link"] = f'<{path}?{urlencode(query)}>; rel="next"'
        return response

    def _array(self, page: Page) -> Iterator[bytes]:
        """Yield the page as a JSON array, a worker at a time, with an empty part after each slice."""
        begin = b"["
        for workers in page.slices(self._membership):
            moment = self._moment
            for worker in workers:
                yield begin + msgspec.json.encode(worker_json(worker, moment))
                begin = b","
            yield b""
        yield b"]" if begin == b"," else b"[]"


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type=_JSON)
