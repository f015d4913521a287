from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest

from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest, UnreachableError
from minicloud.core.errors import ConfigError
from tests.unit.cli.server import Answer, ScriptedServer, problem


def numbered(*numbers: int) -> list[dict[str, int]]:
    return [{"number": number} for number in numbers]


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Return a port that accepts connections (the kernel does) and sends nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture
def babbling_port() -> Iterator[int]:
    """Return a port with a protocol other than HTTP, as a gRPC port has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def babble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\0\0\6\4\0\0\0\0\0\0\5\0\0@\0")

        thread = Thread(target=babble)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://x:notaport", "http://[::1", "http://x:0", "http://x:1_0x"]
)
def test_rest_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--url: .* is not an address: give e\.g\. http"):
        Rest(url)


def test_rest_url_from_the_environment_that_is_none_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINICLOUD_URL", "ftp://x")
    with pytest.raises(ConfigError, match="MINICLOUD_URL: 'ftp://x'"):
        Rest()


@pytest.mark.parametrize("timeout", ["10", "0s", "-1s"])
def test_rest_timeout_that_is_none_is_refused_by_name(timeout: str) -> None:
    with pytest.raises(ConfigError, match="--timeout"):
        Rest(timeout=timeout)


def test_rest_url_without_a_scheme_is_http(server: ScriptedServer) -> None:
    server.on("GET /base/x", Answer({"a": 1}))
    assert Rest(server.url.removeprefix("http://") + "/base/").get("/x") == {"a": 1}


def test_rest_unreachable_says_so_and_what_to_do(dead_port: int) -> None:
    with pytest.raises(UnreachableError) as caught:
        Rest(f"http://127.0.0.1:{dead_port}").get("/x")
    assert str(caught.value) == (
        f"cannot reach http://127.0.0.1:{dead_port}: connection refused; is the control plane running there? "
        "give another with --url"
    )


def test_rest_no_answer_in_time_says_so(mute_port: int) -> None:
    with pytest.raises(UnreachableError, match=r"no answer from .* within 0\.05 s"):
        Rest(f"http://127.0.0.1:{mute_port}", "50ms").get("/x")


def test_rest_port_of_another_protocol_says_so(babbling_port: int) -> None:
    with pytest.raises(UnreachableError, match="is that the gRPC port"):
        Rest(f"http://127.0.0.1:{babbling_port}", "5s").get("/x")


def test_rest_problem_is_shown_by_its_detail(server: ScriptedServer) -> None:
    server.on("GET /x", problem(404, "no worker 'x' is registered", x_request_id="r-1"))
    with pytest.raises(RefusedError) as caught:
        Rest().get("/x")
    assert (str(caught.value), caught.value.status) == ("no worker 'x' is registered", 404)


def test_rest_server_error_names_its_request(server: ScriptedServer) -> None:
    server.on("GET /x", problem(500, "it crashed", x_request_id="r-1"))
    with pytest.raises(RefusedError, match=r"^it crashed \(request r-1\)$"):
        Rest().get("/x")


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b"\xff"])
def test_rest_error_of_some_other_server_asks_whether_it_is_ours(server: ScriptedServer, body: bytes) -> None:
    server.on("GET /x", Answer(body, 404, content_type="text/html"))
    with pytest.raises(RefusedError, match="answered 404 Not Found without details: is that a MiniCloud"):
        Rest().get("/x")


def test_rest_answer_that_is_no_json_asks_whether_it_is_ours(server: ScriptedServer) -> None:
    server.on("GET /x", Answer(b"<html>", content_type="text/html"))
    with pytest.raises(OperationError, match="answered with text/html where JSON was due"):
        Rest().get("/x")


def test_rest_pages_are_followed_to_the_last(server: ScriptedServer) -> None:
    server.on(
        "GET /l?limit=2", Answer(numbered(1, 2), headers={"link": '<?limit=2&page_token=b>; rel="next"'})
    )
    server.on(
        "GET /l?limit=2&page_token=b",
        Answer(
            numbered(3, 4),
            headers={"link": '</l>; rel="first", <https://other.example/l?page_token=c>; rel="next"'},
        ),
    )
    server.on("GET /l?page_token=c", Answer(numbered(5)))
    assert Rest().pages("/l", {"limit": "2"}) == numbered(1, 2, 3, 4, 5)


def test_rest_pages_in_a_circle_end(server: ScriptedServer) -> None:
    server.on("GET /l", Answer(numbered(1), headers={"link": '</l>; rel="next"'}))
    assert Rest().pages("/l") == numbered(1)


def test_rest_stream_that_falls_silent_is_given_up(server: ScriptedServer) -> None:
    server.on("GET /s", Answer(b": hello\n", content_type="text/event-stream", hang=True))
    lines = Rest().lines("/s", {}, idle_s=0.05)
    assert next(lines) == b": hello\n"
    with pytest.raises(UnreachableError, match=r"nothing came from .* for 0\.05 s"):
        next(lines)
