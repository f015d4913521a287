"""Real nginx and HAProxy run in front of both ports, with the configurations of the operating guide.

The proxies run as processes of the test's own, with files in its own folder, on ports of loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from tests.integration.processes import HOST, WITHIN_S, ControlPlane, Launcher
from tests.interop.stock_messages import Messages, call
from tests.interop.theirs import grpcio_channel
from tests.packaging.files import ROOT

NAME = "cloud.example.com"
ORIGIN = f"https://{NAME}"
AUTHORITY = trustme.CA()
CERT = AUTHORITY.issue_cert(NAME, HOST)

# These lines surround the guide's configuration: files in the test's folder, no daemon.
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
{user}
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {shown}
}}
"""


class Proxied:
    """A `Proxied` is a control plane behind a proxy."""

    def __init__(self, control_plane: ControlPlane, rest_port: int, grpc_port: int) -> None:
        self.control_plane = control_plane
        self.rest_port = rest_port
        self.grpc_port = grpc_port

    @contextmanager
    def response(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> Iterator[HTTPResponse]:
        """Return the proxy's answer to a client that reaches it under its name."""
        context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
        connection = HTTPSConnection(HOST, self.rest_port, timeout=WITHIN_S, context=context)
        try:
            connection.request(method, path, headers={"Host": NAME, **(headers or {})})
            yield connection.getresponse()
        finally:
            connection.close()

    def status(self, method: str, path: str, headers: dict[str, str] | None = None) -> int:
        with self.response(method, path, headers) as response:
            response.read()
            return response.status

    def channel(self) -> Any:
        credentials = grpc.ssl_channel_credentials(AUTHORITY.cert_pem.bytes())
        return grpcio_channel(self.grpc_port, (), credentials)


def shown_in_the_guide(language: str) -> str:
    guide = (ROOT / "docs/operating.md").read_text()
    block: str
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    return block


def nginx_arguments(folder: Path, shown: str) -> list[str]:
    user = "user root;" if os.getuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(folder=folder, user=user, shown=shown))
    return ["-e", "stderr", "-c", str(path)]


def haproxy_arguments(folder: Path, shown: str) -> list[str]:
    path = folder / "haproxy.cfg"
    path.write_text(shown)
    return ["-db", "-f", str(path)]


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """Return the proxy once it accepts connections on `port`."""
    with (folder / "proxy.err").open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline_s = time.monotonic() + WITHIN_S
        while True:
            try:
                socket.create_connection((HOST, port), WITHIN_S).close()
                break
            except OSError:
                said = (folder / "proxy.err").read_text()
                assert process.poll() is None, said
                assert time.monotonic() < deadline_s, said
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """Return one of each kind for all tests here, which keep apart by naming their workers after
    themselves."""
    language = request.param
    program = shutil.which(language, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"{language} is not installed: on Debian, apt install {language}")
    with Launcher(tmp_path_factory.mktemp(language)) as launch:
        control_plane = launch.control_plane("--allowed-origin", ORIGIN)
        rest_port, grpc_port = launch.reserved_ports()
        folder = launch.folder
        (folder / "cloud.pem").write_bytes(CERT.private_key_and_cert_chain_pem.bytes())
        (folder / "cloud.key").write_bytes(CERT.private_key_pem.bytes())
        shown = shown_in_the_guide(language)
        listens = {"nginx": ("listen 443 ", "listen 9443 "), "haproxy": ("bind :443 ", "bind :9443 ")}[
            language
        ]
        for documented, ours in (
            (listens[0], f"{listens[0].split()[0]} {HOST}:{rest_port} "),
            (listens[1], f"{listens[1].split()[0]} {HOST}:{grpc_port} "),
            ("127.0.0.1:8080", f"{HOST}:{control_plane.http_port}"),
            ("127.0.0.1:9090", control_plane.address),
            ("/etc/ssl/", f"{folder}/"),
        ):
            assert documented in shown
            shown = shown.replace(documented, ours)
        arguments = {"nginx": nginx_arguments, "haproxy": haproxy_arguments}[language](folder, shown)
        with running([program, *arguments], folder, rest_port):
            yield Proxied(control_plane, rest_port, grpc_port)


def test_rest_and_grpc_of_the_guides_configuration_work(proxied: Proxied) -> None:
    messages = Messages()
    with proxied.channel() as channel:
        answer = call(channel, messages, "RegisterWorker", worker_id="both", endpoint="10.0.0.7:9091")
        assert answer.registered
        beat = call(channel, messages, "Heartbeat", worker_id="both", incarnation=answer.incarnation)
        assert beat.acknowledged
    with proxied.response("GET", "/api/workers/both") as response:
        assert json.load(response)["workerId"] == "both"
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", "/livez", "/metrics"):
        assert proxied.status("GET", path, {"Accept-Language": "en"}) == 200, path


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Origin": ORIGIN}, 200),
        ({"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "https://evil.example"}, 403),
    ],
)
def test_changes_through_a_proxy_are_for_its_own_page_and_tools(
    proxied: Proxied, headers: dict[str, str], code: int
) -> None:
    with proxied.channel() as channel:
        registered = call(channel, Messages(), "RegisterWorker", endpoint="10.0.0.7:9091")
    path = f"/api/workers/{registered.assigned_worker_id}"
    assert proxied.status("POST", f"{path}/cordon", headers) == code
    state = proxied.control_plane.get(path)["adminState"]
    assert state == ("CORDONED" if code == 200 else "ACTIVE")


def test_events_through_a_proxy_come_as_they_happen(proxied: Proxied) -> None:
    with proxied.response("GET", "/api/events", {"Accept": "text/event-stream"}) as response:
        assert response.readline().startswith(b"id: ")
        with proxied.channel() as channel:
            call(channel, Messages(), "RegisterWorker", worker_id="seen", endpoint="10.0.0.7:9091")
        lines = [response.readline() for _ in range(4)]
    assert b"event: registered\n" in lines
