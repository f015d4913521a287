"""This module has the endpoints for machines: liveness, readiness and metrics."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from quart import Quart, Response, request
from quart_schema import validate_querystring
from werkzeug.exceptions import ServiceUnavailable

from minicloud.control.metrics import Metrics
from minicloud.control.readiness import Phase, Readiness
from minicloud.control.rest import problems
from minicloud.control.rest.openapi import Answer, json_of, operation
from minicloud.control.rest.parameters import NoQuery
from minicloud.control.rest.pieces import gzipped, response_of
from minicloud.control.rest.schemas import ProbeJson

TAG = "operation"
PROBES = frozenset({"/livez", "/readyz", "/metrics"})

_EXPOSITION = {"type": "string"}


class ProbeRoutes:
    """These are the handlers over one process's readiness and metrics."""

    def __init__(self, readiness: Readiness, metrics: Metrics) -> None:
        self._readiness = readiness
        self._metrics = metrics

    def add_to(self, app: Quart) -> None:
        app.add_url_rule("/livez", view_func=self.livez)
        app.add_url_rule("/readyz", view_func=self.readyz)
        app.add_url_rule("/metrics", view_func=self.metrics)

    @operation("isAlive", TAG, {HTTPStatus.OK: json_of(ProbeJson, "The process answers.")})
    @validate_querystring(NoQuery)
    async def livez(self, query_args: NoQuery) -> Response:
        """Is the process alive?"""
        return Response(msgspec.json.encode(ProbeJson("alive")), content_type="application/json")

    @operation(
        "isReady",
        TAG,
        {HTTPStatus.OK: json_of(ProbeJson, "Requests may be sent.")},
        refusals={
            HTTPStatus.SERVICE_UNAVAILABLE: "It is starting or stopping, or cannot write its registry."
        },
    )
    @validate_querystring(NoQuery)
    async def readyz(self, query_args: NoQuery) -> Response:
        """May requests be sent?"""
        phase = self._readiness.phase
        if phase is not Phase.READY:
            raise ServiceUnavailable(f"the control plane is {phase}")
        if self._readiness.fault:
            return problems.response(problems.Problem(HTTPStatus.SERVICE_UNAVAILABLE, self._readiness.fault))
        return Response(msgspec.json.encode(ProbeJson(phase)), content_type="application/json")

    @operation(
        "getMetrics",
        TAG,
        {
            HTTPStatus.OK: Answer(
                "The metrics; OpenMetrics if the Accept header names it.",
                {"text/plain": _EXPOSITION, "application/openmetrics-text": _EXPOSITION},
            )
        },
    )
    @validate_querystring(NoQuery)
    async def metrics(self, query_args: NoQuery) -> Response:
        """Get the metrics, for Prometheus"""
        parts, content_type = self._metrics.exposition_parts(request.headers.get("Accept", ""))
        packed = request.accept_encodings.quality("gzip") > 0
        response = await response_of(gzipped(parts) if packed else parts, content_type)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        return response
