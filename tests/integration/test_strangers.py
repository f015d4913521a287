"""A control plane answers foreign programs in their own language: web clients, scrapers, port scanners."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from minicloud.http2.connection import PREFACE
from minicloud.wire.gen.minicloud.execution import RegisterWorkerRequest
from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher
from tests.unit.http2.raw_frames import GOAWAY, SETTINGS, frame_bytes


def conversation(port: int, said: bytes) -> tuple[bytes, int]:
    """Return all bytes that answer `said` until the other end closes, and this end's port."""
    with socket.create_connection((HOST, port), WITHIN_S) as peer:
        own_port: int = peer.getsockname()[1]
        peer.sendall(said)
        answered = b""
        while True:
            try:
                data = peer.recv(65536)
            except ConnectionResetError:  # the server did not read everything
                data = b""
            if not data:
                return answered, own_port
            answered += data


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nhost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 8,
        b"\xff" * 1000,
    ],
    ids=["HTTP/1.1", "TLS", "garbage"],
)
def test_something_else_than_http2_on_the_grpc_port_is_told_so_and_dropped_with_one_line(
    shared: ControlPlane, said: bytes
) -> None:
    answered, own_port = conversation(shared.grpc_port, said)
    # These are frames that tools understand, and a client without HTTP/2 does not.
    kinds = []
    while answered:
        kinds.append(answered[3])
        answered = answered[9 + int.from_bytes(answered[:3], "big") :]
    assert (kinds[0], kinds[-1]) == (SETTINGS, GOAWAY)
    dropped = shared.until_logged("rpc_connection_dropped", peer=f"{HOST}:{own_port}")
    assert dropped["level"] == "info"
    assert len(shared.logged("rpc_connection_dropped", peer=f"{HOST}:{own_port}")) == 1
    assert shared.get("/readyz") == {"status": "ready"}


def test_http2_on_the_http_port_is_refused_in_http1(shared: ControlPlane) -> None:
    answered, _ = conversation(shared.http_port, PREFACE + frame_bytes(SETTINGS, 0, 0))
    assert answered.startswith(b"HTTP/1.1 505 ")
    assert b"\r\n\r\n{" in answered


def test_garbage_on_the_http_port_is_refused(shared: ControlPlane) -> None:
    answered, _ = conversation(shared.http_port, b"\xff\xfe\r\n\r\n" * 100)
    assert answered.startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_gets_json_and_headers(shared: ControlPlane) -> None:
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", "--include"]
    done = subprocess.run([*command, f"{shared.url}/api/workers/stats"], capture_output=True)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200")
    assert "content-type: application/json" in head.lower()
    assert body.startswith('{"totalWorkers":')


def test_metrics_are_what_parsers_take(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "measured")
    assert worker.worker_id == "measured"
    assert shared.get("/readyz") == {"status": "ready"}
    text = shared.request("GET", "/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in prometheus_text(text.body.decode())}
    healthy = [s.value for s in families["minicloud_workers"].samples if s.labels == {"status": "healthy"}]
    assert healthy[0] >= 1
    heartbeats = families["minicloud_heartbeats"].samples
    assert {sample.name for sample in heartbeats} >= {"minicloud_heartbeats_total"}
    calls = {
        (sample.labels["method"], sample.labels["code"]): sample.value
        for sample in families["minicloud_grpc_requests"].samples
    }
    assert calls["/minicloud.execution.WorkerManagementService/RegisterWorker", "OK"] >= 1
    timed = {sample.name for sample in families["minicloud_grpc_request_duration_seconds"].samples}
    assert "minicloud_grpc_request_duration_seconds_count" in timed
    requests = {sample.labels["route"] for sample in families["minicloud_http_requests"].samples}
    assert "/readyz" in requests
    opened = shared.request("GET", "/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in open_metrics(opened.body.decode())}  # type: ignore[no-untyped-call]
    assert {"minicloud_workers", "minicloud_heartbeats"} <= names


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: it comes with Debian's package prometheus"
)
def test_metrics_are_what_promtool_takes_without_a_word(launch: Launcher) -> None:
    control_plane = launch.control_plane("--metrics-per-worker")
    assert launch.worker(control_plane, "measured").worker_id == "measured"
    control_plane.until_heard_from("measured")
    exposition = control_plane.request("GET", "/metrics").body
    assert b'minicloud_worker_healthy{worker_id="measured"' in exposition
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_request_id_of_a_rest_call_is_answered_logged_and_kept(
    launch: Launcher, shared: ControlPlane
) -> None:
    worker = launch.worker(shared, "traced")
    assert worker.worker_id == "traced"
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    given = [
        ("cordon", {"x-request-id": "from-a-test/1"}, "from-a-test/1"),
        ("uncordon", {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}, trace_id),
    ]
    for action, headers, request_id in given:
        answer = shared.request("POST", f"/api/workers/traced/{action}", headers)
        assert answer.headers["x-request-id"] == request_id
        assert shared.until_logged(f"worker_{action}ed", worker_id="traced", request_id=request_id)
        assert shared.events_of("traced")[-1]["requestId"] == request_id
    made = shared.request("GET", "/api/workers/nobody")
    assert made.json["requestId"] == made.headers["x-request-id"]
    assert made.headers["x-request-id"]


def test_request_id_of_a_grpc_call_is_answered_and_logged(shared: ControlPlane) -> None:
    request = RegisterWorkerRequest(worker_id="called", endpoint="10.0.0.1:9091")
    answer = shared.call(
        lambda stub: stub.register_worker(
            request, metadata={"x-request-id": "from-a-test/2"}, timeout=WITHIN_S
        )
    )
    assert answer.registered
    assert answer.response is not None
    assert answer.response.request_id == "from-a-test/2"
    assert shared.until_logged("worker_registered", worker_id="called", request_id="from-a-test/2")


def test_request_id_of_a_worker_is_the_same_in_both_logs(launch: Launcher, shared: ControlPlane) -> None:
    worker = launch.worker(shared, "paired")
    request_id = worker.until_logged("registered")["request_id"]
    assert shared.until_logged("worker_registered", worker_id="paired", request_id=request_id)


def test_control_plane_out_of_connections_still_answers_operators(launch: Launcher) -> None:
    plane = launch.control_plane(before=("prlimit", "--nofile=200:200"))
    strangers = [socket.create_connection((HOST, plane.grpc_port), timeout=30) for _ in range(150)]
    try:
        plane.until_logged("rpc_connection_refused")
        assert plane.get("/readyz") == {"status": "ready"}
        assert plane.get("/api/workers") == []
    finally:
        for stranger in strangers:
            stranger.close()
