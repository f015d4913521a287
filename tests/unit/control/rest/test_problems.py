"""All requests have the same errors, request ids, limits of bodies, and counts."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock
from werkzeug.exceptions import ServiceUnavailable

from minicloud.control.rest.envelope import BODY_TIMEOUT_S, MAX_BODY_BYTES
from minicloud.core.errors import FencedError, MiniCloudError, StoreWriteError
from minicloud.core.model import ClusterStats
from tests.unit.control.rest.kit import Rest, json_of, problem_of
from tests.unit.control.test_metrics import samples


def broken_by(rest: Rest, error: Exception) -> None:
    """Have `/api/workers/stats` fail with `error`."""

    def stats() -> ClusterStats:
        raise error

    rest.membership.stats = stats  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/workers/", "/api//workers", "/api/workers/a%2Fb", "/docs/x"]
)
async def test_unknown_path_is_a_problem(path: str) -> None:
    problem = await problem_of(await Rest().client.get(path), 404)
    assert problem["title"] == "Not Found"
    assert problem["type"] == "about:blank"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/api/workers", "GET, HEAD, OPTIONS"),
        ("GET", "/api/workers/w1/drain", "OPTIONS, POST"),
        ("POST", "/api/workers/w1", "DELETE, GET, HEAD, OPTIONS"),
        ("BREW", "/livez", "GET, HEAD, OPTIONS"),
    ],
)
async def test_wrong_method_is_a_problem_that_names_the_right_ones(
    method: str, path: str, allow: str
) -> None:
    response = await Rest().client.open(path, method=method)
    assert allow in (await problem_of(response, 405))["detail"]
    assert response.headers["Allow"] == allow


async def test_options_names_the_methods() -> None:
    response = await Rest().client.options("/api/workers/w1")
    assert response.status_code == 200
    assert sorted(response.headers["Allow"].split(", ")) == ["DELETE", "GET", "HEAD", "OPTIONS"]


async def test_failure_inside_is_told_to_the_log_alone() -> None:
    rest = Rest()
    error = RuntimeError("the secret reason")
    broken_by(rest, error)
    with capture_logs() as lines:
        response = await rest.client.get("/api/workers/stats", headers={"x-request-id": "r-1"})
    problem = await problem_of(response, 500)
    assert problem["requestId"] == "r-1"
    assert "secret" not in str(problem)
    assert "Traceback" not in str(problem)
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["event"] == "http_request_failed"
    assert line["exc_info"] is error


async def test_failures_in_a_nursery_are_one_problem() -> None:
    rest = Rest()
    broken_by(rest, ExceptionGroup("two", [RuntimeError("one"), RuntimeError("other")]))
    await problem_of(await rest.client.get("/api/workers/stats"), 500)


@pytest.mark.parametrize(
    ("error", "status"), [(StoreWriteError("disk full"), 503), (FencedError("older incarnation"), 409)]
)
async def test_error_of_ours_has_its_status_and_words(error: MiniCloudError, status: int) -> None:
    rest = Rest()
    broken_by(rest, error)
    problem = await problem_of(await rest.client.get("/api/workers/stats"), status)
    assert problem["detail"] == str(error)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/workers/wroker-1", 404),
        ("POST", "/api/workers/wroker-1/cordon", 404),
        ("DELETE", "/api/workers", 405),
        ("GET", "/api/workers?limit=x", 400),
        ("GET", "/api/workers?stauts=healthy", 400),
    ],
)
async def test_clients_mistake_is_one_line_and_no_warning(method: str, path: str, code: int) -> None:
    with capture_logs() as lines:
        await Rest().client.open(path, method=method)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("http_request_refused", "info"),
        ("http_request", "debug"),
    ]
    assert lines[0]["code"] == code


async def test_refusal_for_what_the_control_plane_cannot_do_is_a_warning() -> None:
    rest = Rest()
    broken_by(rest, ServiceUnavailable("four copies are being sent"))
    with capture_logs() as lines:
        await rest.client.get("/api/workers/stats")
    assert (lines[0]["event"], lines[0]["log_level"]) == ("http_request_refused", "warning")


async def test_request_id_is_the_callers_or_its_traces_or_a_new_one() -> None:
    client = Rest().client
    given = await client.get("/livez", headers={"x-request-id": "abc"})
    assert given.headers["x-request-id"] == "abc"
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = await client.get("/livez", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert traced.headers["x-request-id"] == trace
    new = await client.get("/livez", headers={"x-request-id": "bad id"})
    assert len(new.headers["x-request-id"]) == 16


async def test_every_answer_forbids_sniffing_and_keeping() -> None:
    rest = Rest()
    for path in ("/livez", "/nothing", "/metrics"):
        response = await rest.client.get(path)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_requests_are_counted_by_template_method_and_code() -> None:
    rest = Rest()
    rest.register("w1")
    for target in ("/api/workers/w1", "/api/workers/nobody", "/made/up/1", "/made/up/2"):
        await rest.client.get(target)
    await rest.client.open("/livez", method="BREW")
    counted = {
        tuple(dict(labels)[name] for name in ("method", "route", "code")): count
        for (name, labels), count in samples(rest.metrics).items()
        if name == "minicloud_http_requests_total"
    }
    assert counted == {
        ("GET", "/api/workers/{workerId}", "200"): 1,
        ("GET", "/api/workers/{workerId}", "404"): 1,
        ("GET", "unmatched", "404"): 2,
        ("other", "unmatched", "405"): 1,
    }


async def test_body_nobody_needs_is_accepted() -> None:
    rest = Rest()
    rest.register("w1")
    response = await rest.client.get("/api/workers/w1", data=b"x" * MAX_BODY_BYTES)
    assert response.status_code == 200


async def test_body_declared_too_large_is_refused() -> None:
    response = await Rest().client.post("/api/workers/w1/drain", data=b"x" * (MAX_BODY_BYTES + 1))
    assert str(MAX_BODY_BYTES) in (await problem_of(response, 413))["detail"]


async def test_body_that_turns_out_too_large_is_refused_before_it_ends() -> None:
    rest = Rest()
    rest.register("w1")
    client = rest.client
    async with client.request("/api/workers/w1/drain", method="POST") as connection:
        for _ in range(11):
            await connection.send(b"x" * 100_000)
        await connection.send_complete()
        response = await connection.as_response()
    await problem_of(response, 413)
    assert (await json_of(await client.get("/api/workers/w1")))["adminState"] == "ACTIVE"


async def test_body_that_does_not_arrive_is_given_up(autojump_clock: MockClock) -> None:
    client = Rest().client
    begun_s = trio.current_time()
    async with client.request("/api/workers/w1/drain", method="POST") as connection:
        await connection.send(b"x")
        response = await connection.as_response()
    await problem_of(response, 408)
    assert trio.current_time() - begun_s == pytest.approx(BODY_TIMEOUT_S + 1.0)


async def test_client_that_leaves_before_the_answer_is_counted_as_such(autojump_clock: MockClock) -> None:
    rest = Rest()
    rest.register("w1")
    rest.store.gate = trio.Event()
    async with rest.client.request("/api/workers/w1/drain", method="POST") as connection:
        await connection.send_complete()
        await trio.testing.wait_all_tasks_blocked()
        await connection.disconnect()
        await connection._client_send.aclose()  # otherwise quart's client waits for an answer
    labels = (("code", "499"), ("method", "POST"), ("route", "/api/workers/{workerId}/drain"))
    assert samples(rest.metrics)["minicloud_http_requests_total", labels] == 1
