from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from minicloud.__main__ import main
from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest
from minicloud.cli.waiting import Progress, Wait
from tests.terminal import CTRL_C, Terminal
from tests.unit.cli.server import Answer, ScriptedServer, problem, worker

MINICLOUD = (sys.executable, "-m", "minicloud")
DRAINING = worker(status="DRAINING", adminState="DRAINING", schedulable=False)
GONE = problem(404, "no worker 'w-1' is registered")


def terminal_environment() -> dict[str, str]:
    """Return our environment, without a width that is not the terminal's."""
    return {name: text for name, text in os.environ.items() if name != "COLUMNS"}


class Time:
    """A `Time` is a clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def wait(within_s: float | None = None, shown: io.StringIO | None = None, *, patient: bool = False) -> float:
    """Wait for w-1 to leave, and return how long that took."""
    time = Time()
    progress = Progress(shown or io.StringIO())
    waiting = Wait("w-1", within_s, patient, lambda: time.now_s, time.sleep)
    try:
        waiting.until_gone(Rest(), DRAINING, progress)
    finally:
        progress.close()
    return time.now_s


class InterruptedTerminal(io.StringIO):
    """An `InterruptedTerminal` gets Ctrl-C when it has shown something for the first time."""

    interrupted = False

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt


def test_progress_interrupted_while_it_is_drawn_leaves_the_terminal_clear() -> None:
    shown = InterruptedTerminal()
    progress = Progress(shown)
    with pytest.raises(KeyboardInterrupt):
        progress.show(DRAINING, 0.0, None)
    progress.close()
    assert shown.getvalue().endswith("\r\x1b[K")


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
    assert main([name, "w-1", *(["--yes"] if name == "remove" else [])]) == 0
    assert server.targets() == [request_line]
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.parametrize("name", ["cordon", "uncordon", "drain", "remove"])
def test_admin_command_with_a_reason_sends_it(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    server.on(f"POST /api/workers/w-1/{name}", Answer(worker()))
    server.on("DELETE /api/workers/w-1", Answer(None, 204))
    yes = ["--yes"] if name == "remove" else []
    assert main([name, "w-1", "--reason", "Zürich's disk", *yes]) == 0
    assert main([name, "w-1", *yes]) == 0
    with_one, without = server.asked
    assert json.loads(with_one.body) == {"reason": "Zürich's disk"}
    assert with_one.headers["content-type"] == "application/json"
    assert without.body == b""
    assert "content-type" not in without.headers


def test_reason_too_long_is_a_usage_error(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cordon", "w-1", "--reason", "x" * 257])
    assert "--reason: it has 257 characters: give at most 256" in capsys.readouterr().err
    assert server.asked == []


def test_option_misspelt_with_a_space_in_its_value_is_no_id(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["cordon", "--raeson=its disk"])
    assert "ID: there is no option --raeson" in capsys.readouterr().err
    assert server.asked == []


# Removing


@pytest.mark.parametrize("status", ["HEALTHY", "DRAINING"])
def test_remove_of_a_live_worker_without_a_terminal_is_refused(server: ScriptedServer, status: str) -> None:
    server.on("GET /api/workers/w-1", Answer(worker(status=status)))
    done = subprocess.run(
        [*MINICLOUD, "remove", "w-1"], capture_output=True, text=True, timeout=30, input="y\n", check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"minicloud: w-1 is {status}, and nobody is here to ask: give --yes to remove it all the same, "
        "or minicloud drain w-1 to have it leave\n"
    )
    assert server.targets() == ["GET /api/workers/w-1"]


def test_remove_of_a_silent_worker_does_not_ask(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/w-1", Answer(worker(status="UNHEALTHY")))
    server.on("DELETE /api/workers/w-1", Answer(None, 204))
    assert main(["remove", "w-1"]) == 0
    assert capsys.readouterr().out.startswith("w-1 is removed")


@pytest.mark.parametrize(
    ("answer", "code", "removed"),
    [("y\r", 0, True), ("Yes\r", 0, True), ("n\r", 1, False), ("\r", 1, False), ("\x04", 1, False)],
)
def test_remove_of_a_live_worker_asks_on_a_terminal(
    server: ScriptedServer, answer: str, code: int, removed: bool
) -> None:
    server.on("GET /api/workers/w-1", Answer(worker()))
    server.on("DELETE /api/workers/w-1", Answer(None, 204))
    with Terminal([*MINICLOUD, "remove", "w-1"], env=terminal_environment()) as terminal:
        terminal.until_shown("w-1 is HEALTHY; it will register again unless it is stopped. Remove it? [y/N] ")
        terminal.press(answer)
        assert terminal.exit_code() == code
        assert ("w-1 is removed" in terminal.shown) is removed
        assert ("w-1 was not removed" in terminal.shown) is not removed
    assert ("DELETE /api/workers/w-1" in server.targets()) is removed


def test_remove_asked_about_and_interrupted_removes_nothing(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(worker()))
    with Terminal([*MINICLOUD, "remove", "w-1"], env=terminal_environment()) as terminal:
        terminal.until_shown("[y/N]")
        terminal.press(CTRL_C)
        assert terminal.exit_code() == 130
    assert server.targets() == ["GET /api/workers/w-1"]


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
    assert server.targets() == [asked, "POST /api/workers/w-1/drain", asked]  # the last answer had it gone


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
    with pytest.raises(OperationError, match="within 1500ms"):
        wait(1.5)
    assert len(server.asked) == 4 + 3  # at 0, at 1 and at the deadline


def test_drain_waited_for_shows_what_changes_and_now_and_then_the_time(server: ScriptedServer) -> None:
    fewer = DRAINING | {"resources": {"activeQueries": 1}}
    server.on("GET /api/workers/w-1", *[Answer(DRAINING)] * 3, *[Answer(fewer)] * 40, GONE)
    shown = io.StringIO()
    wait(60.0, shown)
    assert shown.getvalue().splitlines() == [
        "w-1 is draining, with 3 queries running (0s of 1m)",
        "w-1 is draining, with 1 query running (3s of 1m)",
        "w-1 is draining, with 1 query running (33s of 1m)",
    ]


def test_drain_waited_for_on_a_terminal_draws_one_line_and_leaves_it_empty(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING), Answer(DRAINING), GONE)
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    command = [*MINICLOUD, "drain", "w-1", "--wait"]
    with Terminal(command, env=terminal_environment(), columns=40) as terminal:
        assert terminal.exit_code() == 0
        shown = terminal.shown
    assert "\rw-1 is draining, with 3 queries runnin…\x1b[K" in shown
    assert shown.endswith("\r\x1b[Kw-1 has left\n")


def test_drain_waited_for_through_a_proxys_404_goes_on_to_fail(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", Answer(b"<html>", 404, content_type="text/html"))
    with pytest.raises(RefusedError, match="without details"):
        wait()


@pytest.mark.parametrize("flag", ["--deadline", "--within"])
def test_drain_at_its_deadline_fails_and_leaves_the_worker_draining(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING))
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    assert main(["drain", "w-1", flag, "1ms"]) == 1
    assert "w-1 has not left within 1ms" in capsys.readouterr().err
    assert "DELETE /api/workers/w-1" not in server.targets()


@pytest.mark.parametrize("status", ["DRAINING", "UNHEALTHY"])
def test_drain_forced_removes_the_worker_at_its_deadline(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING | {"status": status}))
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    server.on("DELETE /api/workers/w-1", Answer(None, 204))
    assert main(["drain", "w-1", "--deadline", "1ms", "--force"]) == 0
    assert capsys.readouterr().out.endswith("w-1 had not left within 1ms, and is removed\n")
    assert json.loads(server.asked[-1].body) == {"reason": "not drained within 1ms"}


def test_drain_forced_of_a_worker_that_leaves_at_the_deadline_is_done(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("GET /api/workers/w-1", Answer(DRAINING))
    server.on("POST /api/workers/w-1/drain", Answer(DRAINING))
    server.on("DELETE /api/workers/w-1", GONE)
    assert main(["drain", "w-1", "--deadline", "1ms", "--force", "--reason", "why"]) == 0
    assert capsys.readouterr().out.endswith("w-1 has left\n")


def test_drain_forced_without_a_deadline_is_a_usage_error(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["drain", "w-1", "--force"])
    assert "--force is for the deadline: give --deadline DURATION too" in capsys.readouterr().err


def test_drain_waited_for_with_the_api_failing_fails(server: ScriptedServer) -> None:
    server.on("GET /api/workers/w-1", problem(500, "it crashed"))
    with pytest.raises(RefusedError, match="it crashed"):
        wait()


def test_drain_within_no_duration_is_a_usage_error(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drain", "w-1", "--within", "soon"]) == 2
    assert "--deadline: 'soon' is not a duration" in capsys.readouterr().err
    assert server.asked == []
