from __future__ import annotations

import json

import pytest

from minicloud.__main__ import main
from minicloud.cli.admin import wait_until_gone
from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest
from tests.unit.cli.server import Answer, ScriptedServer, problem, worker

DRAINING = worker(status="DRAINING", adminState="DRAINING", schedulable=False)
GONE = problem(404, "no worker 'w-1' is registered")


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def wait(within_s: float | None = None) -> float:
    """Wait for w-1 to leave; how long that took."""
    time = Time()
    wait_until_gone(Rest(), "w-1", DRAINING, within_s, lambda: time.now_s, time.sleep)
    return time.now_s


@pytest.mark.parametrize(
    ("name", "request_line", "said"),
    [
        ("cordon", "POST /api/workers/w-1/cordon", "w-1 is cordoned"),
        ("uncordon", "POST /api/workers/w-1/uncordon", "w-1 may be given work again"),
        ("drain", "POST /api/workers/w-1/drain", "w-1 is draining"),
        ("remove", "DELETE /api/workers/w-1", "w-1 is removed"),
    ],
)
def test_admin_command_asks_the_api_and_says_what_is_now(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], name: str, request_line: str, said: str
) -> None:
    server.on(request_line, Answer(None, 204) if name == "remove" else Answer(worker()))
    assert main([name, "w-1"]) == 0
    assert server.targets() == [request_line]
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("name", ["cordon", "uncordon", "drain"])
def test_admin_command_with_a_reason_sends_it(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.on(f"POST /api/workers/w-1/{name}", Answer(worker()))
    assert main([name, "w-1", "--reason", "Zürich's disk"]) == 0
    assert main([name, "w-1"]) == 0
    with_one, without = server.asked
    assert json.loads(with_one.body) == {"reason": "Zürich's disk"}
    assert with_one.headers["content-type"] == "application/json"
    assert without.body == b""
    assert "content-type" not in without.headers


def test_remove_takes_no_reason(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["remove", "w-1", "--reason", "why"])
    assert "unknown option --reason" in capsys.readouterr().err
    assert server.asked == []


def test_admin_command_as_json_is_the_worker(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    assert main(["drain", "w-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == DRAINING


def test_admin_command_refused_is_exit_code_1(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on(
        "POST /api/workers/w-1/cordon", problem(503, "the change could not be kept", x_request_id="r-2")
    )
    assert main(["cordon", "w-1"]) == 1
    assert capsys.readouterr().err == "minicloud: the change could not be kept (request r-2)\n"


def test_drain_waited_for_ends_when_the_worker_has_left(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/w-1", Answer(worker()), GONE)
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    assert main(["drain", "w-1", "--wait"]) == 0
    assert capsys.readouterr().out.endswith("w-1 has left\n")
    asked = "GET /api/workers/w-1"
    assert server.targets() == [asked, "POST /api/workers/w-1/drain", asked]  # and then it was gone


def test_drain_waited_for_asks_until_it_is_gone(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING), Answer(DRAINING), GONE)
    assert wait() == 2.0


def test_drain_waited_for_worker_back_in_a_later_incarnation_had_left(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(worker(incarnation=2)))
    assert wait() == 0.0


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (worker(), "somebody took it back"),
        (
            DRAINING | {"status": "UNHEALTHY"},
            "gone silent and may never leave: if it is dead, minicloud remove w-1",
        ),
    ],
)
def test_drain_waited_for_that_will_not_end_fails(
    server: ScriptedServer, shown: dict[str, object], message: str
) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING), Answer(shown))
    with pytest.raises(OperationError, match=message):
        wait()


def test_drain_waited_for_too_long_fails_with_what_still_runs(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING))
    with pytest.raises(OperationError, match="has not left within 3s: it is still draining, with 3 queries"):
        wait(3.0)
    assert len(server.asked) == 4


def test_drain_waited_for_with_the_api_failing_fails(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", problem(500, "it crashed"))
    with pytest.raises(RefusedError, match="it crashed"):
        wait()


def test_drain_within_no_duration_is_a_usage_error(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drain", "w-1", "--within", "soon"]) == 2
    assert "--within: 'soon' is not a duration" in capsys.readouterr().err
    assert server.asked == []
