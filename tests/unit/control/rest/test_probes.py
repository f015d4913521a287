"""Probes, metrics and documentation are answered in memory."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from tests.unit.control.rest.kit import Rest, json_of, problem_of


async def test_readiness_follows_the_phase() -> None:
    rest = Rest()
    assert "starting" in (await problem_of(await rest.client.get("/readyz"), 503))["detail"]
    assert (await rest.client.get("/livez")).status_code == 200
    rest.readiness.mark_ready()
    assert await json_of(await rest.client.get("/readyz")) == {"status": "ready"}
    rest.readiness.begin_stopping()
    rest.readiness.mark_ready()
    assert "stopping" in (await problem_of(await rest.client.get("/readyz"), 503))["detail"]
    assert (await rest.client.get("/livez")).status_code == 200


async def test_metrics_are_in_the_format_asked_for() -> None:
    client = Rest().client
    plain = await client.get("/metrics")
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    accept = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
    openmetrics = await client.get("/metrics", headers={"Accept": accept})
    assert openmetrics.content_type.startswith("application/openmetrics-text; version=1.0.0")
    text = (await openmetrics.get_data()).decode()
    assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


async def test_metrics_are_packed_if_that_is_accepted() -> None:
    rest = Rest(per_worker=True)
    for workers in (1, 200):
        rest.register(*(f"w{number}" for number in range(workers)))
        response = await rest.client.get("/metrics", headers={"Accept-Encoding": "gzip"})
        assert response.headers["Content-Encoding"] == "gzip"
        assert b"minicloud_workers" in gzip.decompress(await response.get_data())
    refused = await rest.client.get("/metrics", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers


async def test_root_leads_to_the_docs() -> None:
    response = await Rest().client.get("/")
    assert (response.status_code, response.headers["Location"]) == (302, "/docs")


async def test_docs_name_only_files_that_are_served_and_nothing_outside() -> None:
    client = Rest().client
    response = await client.get("/docs")
    page = (await response.get_data()).decode()
    policy = response.headers["Content-Security-Policy"]
    for allowed in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"):
        assert allowed in policy
    references = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(references) >= 5
    for reference in references:
        found = await client.get(f"/{reference}")
        assert found.status_code == 200
        assert len(await found.get_data()) > 10
    assert "//" not in re.sub(r"<!.*?>", "", page)
    assert b"http" not in await (await client.get("/docs/docs.js")).get_data()


async def test_docs_serve_nothing_else_of_the_package() -> None:
    client = Rest().client
    for path in ("/docs/README.md", "/docs/..%2Fapp.py", "/docs/swagger-ui", "/docs/%2e%2e"):
        await problem_of(await client.get(path), 404)


@pytest.fixture
async def document() -> dict[str, Any]:
    response = await Rest().client.get("/openapi.json")
    assert response.content_type == "application/json"
    document: dict[str, Any] = await json_of(response)
    return document


async def test_document_holds_every_endpoint(document: dict[str, Any]) -> None:
    operations = {
        f"{method.upper()} {path}": operation["operationId"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == {
        "GET /api/events": "listEvents",
        "POST /api/registry/backup": "backUpRegistry",
        "GET /api/workers": "listWorkers",
        "GET /api/workers/healthy": "listHealthyWorkers",
        "GET /api/workers/stats": "getStats",
        "GET /api/workers/{workerId}": "getWorker",
        "DELETE /api/workers/{workerId}": "removeWorker",
        "POST /api/workers/{workerId}/cordon": "cordonWorker",
        "POST /api/workers/{workerId}/uncordon": "uncordonWorker",
        "POST /api/workers/{workerId}/drain": "drainWorker",
        "GET /livez": "isAlive",
        "GET /readyz": "isReady",
        "GET /metrics": "getMetrics",
    }


async def test_document_describes_parameters_and_problems(document: dict[str, Any]) -> None:
    listing = document["paths"]["/api/workers"]["get"]
    parameters = {parameter["name"]: parameter for parameter in listing["parameters"]}
    assert list(parameters) == ["status", "limit", "page_token"]
    assert parameters["limit"]["schema"]["minimum"] == 1
    assert parameters["limit"]["schema"]["maximum"] == 2**31 - 1
    assert all(parameter["description"] for parameter in parameters.values())
    status = document["components"]["schemas"]["StatusFilter"]
    assert (status["type"], sorted(status["enum"])) == (
        "string",
        ["DRAINING", "HEALTHY", "OFFLINE", "UNHEALTHY"],
    )
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert operation["tags"], path
            codes = operation["responses"]
            assert {"400", "403", "408", "413", "500", "503"} <= set(codes)
            assert ("404" in codes) == ("{workerId}" in path)
            for code, response in codes.items():
                assert response["description"]
                if code >= "400":
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ProblemJson"}


async def test_document_describes_the_bodies(document: dict[str, Any]) -> None:
    taken = {
        path.rpartition("/")[2]: operation
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "requestBody" in operation
    }
    assert set(taken) == {"cordon", "uncordon", "drain", "{workerId}"}
    for operation in taken.values():
        assert operation["requestBody"]["required"] is False
        (content,) = operation["requestBody"]["content"].items()
        assert content == ("application/json", {"schema": {"$ref": "#/components/schemas/ReasonJson"}})
        assert {"415", "422"} <= set(operation["responses"])
    schema = document["components"]["schemas"]["ReasonJson"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["reason"]["maxLength"] == 256


async def test_document_names_both_forms_of_the_events(document: dict[str, Any]) -> None:
    events = document["paths"]["/api/events"]["get"]
    assert set(events["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert ("Last-Event-ID", "header") in {
        (parameter["name"], parameter["in"]) for parameter in events["parameters"]
    }
