"""A scripted REST server on loopback gives the answers that a test sets, and remembers the requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from ssl import SSLContext
from threading import Thread
from typing import Any


@dataclass
class Answer:
    """An `Answer` is sent once.

    `body` other than bytes is sent as JSON. `hang` keeps the connection open afterwards; `chunked` sends the
    body without its length, and `until_close` ends it with the connection. The last `missing_bytes` are not
    sent.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    hang: bool = False
    chunked: bool = False
    until_close: bool = False
    missing_bytes: int = 0


@dataclass
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class ScriptedServer:
    """A `ScriptedServer` gives the `answers` for `METHOD /path?query` in turn, and repeats the last one."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []
        self.url = ""
        self.stopping = False

    def on(self, request: str, *answers: Answer) -> None:
        self.answers[request] = list(answers)

    def targets(self) -> list[str]:
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    def next_answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        queue = self.answers.get(f"{asked.method} {asked.target}")
        if not queue:
            return problem(404, f"nothing is scripted for {asked.method} {asked.target}")
        return queue.pop(0) if len(queue) > 1 else queue[0]


def problem(status: int, detail: str, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "Problem", "status": status, "detail": detail}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(body, status, named, "application/problem+json")


def worker(worker_id: str = "w-1", **changes: Any) -> dict[str, Any]:
    """Return a worker in the form of the REST interface."""
    shown = {
        "workerId": worker_id,
        "endpoint": f"{worker_id}.example:9091",
        "status": "HEALTHY",
        "resources": {
            "cpuCores": 8,
            "memoryMb": 16000,
            "diskMb": 500_000,
            "activeQueries": 3,
            "cpuUtilization": 0.25,
            "memoryUtilization": 0.5,
            "memoryUsedMb": 8000,
            "diskUsedMb": 1000,
        },
        "lastHeartbeatMs": 1_700_000_012_000,
        "metadata": {"zone": "eu-1"},
        "registeredAtMs": 1_700_000_000_000,
        "incarnation": 1,
        "heartbeatAgeMs": 12_345,
        "statusReason": "registered",
        "statusSinceMs": 1_700_000_000_000,
        "statusAgeMs": 7_200_000,
        "adminState": "ACTIVE",
        "adminReason": "",
        "schedulable": True,
        "zone": "eu-1",
    }
    return shown | changes


def event(event_id: int, **changes: Any) -> dict[str, Any]:
    """Return an event in the form of the REST interface."""
    shown = {
        "eventId": event_id,
        "atMs": 1_700_000_000_000 + event_id * 1000,
        "kind": "unhealthy",
        "detail": "",
        "workerId": "w-1",
        "incarnation": 1,
        "endpoint": "w-1.example:9091",
        "oldStatus": "HEALTHY",
        "newStatus": "UNHEALTHY",
        "reason": "no heartbeat for 120 s",
        "requestId": "",
    }
    return shown | changes


def stream(*blocks: str) -> Answer:
    """Return an answer of server-sent events, in the form that hypercorn sends."""
    return Answer("".join(blocks).encode(), content_type="text/event-stream", chunked=True)


def block(shown: Mapping[str, Any]) -> str:
    return f"id: {shown['eventId']}\nevent: {shown['kind']}\ndata: {json.dumps(shown)}\n\n"


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: a client may refuse the certificate, or go at any time."""


class _ServerV6(_Server):
    address_family = AF_INET6


@contextmanager
def scripted_server(host: str = "127.0.0.1", tls: SSLContext | None = None) -> Iterator[ScriptedServer]:
    script = ScriptedServer()
    kind = _ServerV6 if ":" in host else _Server
    server = kind((host, 0), _handler(script))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    shown = f"[{host}]" if ":" in host else host
    script.url = f"{'http' if tls is None else 'https'}://{shown}:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        script.stopping = True
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(script: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = self.rfile.read(int(headers.get("content-length", "0")))
            asked = Asked(self.command, self.path, headers, said)
            answer = script.next_answer(asked)
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            if answer.body is None:
                body = b""
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.chunked:
                self.send_header("transfer-encoding", "chunked")
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            elif not answer.hang and not answer.until_close:
                self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body[: len(body) - answer.missing_bytes])
            if answer.hang:
                self.connection.settimeout(10)
                self.rfile.read(1)  # until the client closes

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
