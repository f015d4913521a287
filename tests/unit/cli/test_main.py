"""The program's entry point runs the right command, prints the right lines, and ends with the right exit
code."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoints
from pathlib import Path
from types import ModuleType

import pytest
import structlog

from minicloud import __version__
from minicloud.__main__ import main
from minicloud.cli.exits import OperationError
from minicloud.cli.parser import COMMANDS
from minicloud.config import ControlPlaneConfig, LogConfig, WorkerConfig
from minicloud.config.table import SETTINGS
from minicloud.core.errors import ConfigError, RegistrationFailedError, StoreError, StoreWriteError
from minicloud.net.address import Address
from tests.terminal import Terminal
from tests.unit.cli.server import Answer, ScriptedServer, block, event, stream, worker

MINICLOUD = (sys.executable, "-m", "minicloud")
Config = ControlPlaneConfig | WorkerConfig


class App:
    """An `App` stands in for `minicloud.app`'s programs: it remembers its settings, and ends as the test has
    it end."""

    def __init__(self) -> None:
        self.ran: list[Config] = []
        self.ends: Callable[[], int] = lambda: 0

    def run(self, config: Config) -> int:
        self.ran.append(config)
        structlog.get_logger().info("running")
        return self.ends()


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    app = App()
    for program in ("control_plane", "worker"):
        module = ModuleType(f"minicloud.app.{program}")
        module.__dict__[f"run_{program}"] = app.run
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [name for name in os.environ if name.startswith("MINICLOUD_")]:
        monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield app
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def ending(error: BaseException) -> Callable[[], int]:
    def end() -> int:
        raise error

    return end


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_main_without_arguments_runs_a_control_plane(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert main([]) == 0
    assert app.ran == [ControlPlaneConfig(data_dir=tmp_path / "control-plane")]
    assert (tmp_path / "control-plane").is_dir()


def test_main_with_flags_runs_what_they_say(app: App) -> None:
    flags = [
        "--data-dir",
        "none",
        "--grpc-port=1",
        "--http-port",
        "2",
        "--metrics-per-worker",
        "--log-level",
        "error",
    ]
    assert main([*flags, "--no-enable-reflection"]) == 0
    assert app.ran == [
        ControlPlaneConfig(
            grpc_port=1, http_port=2, metrics_per_worker=True, enable_reflection=False, log=LogConfig("error")
        )
    ]


def test_main_worker_runs_a_worker(app: App) -> None:
    assert main(["--worker", "--data-dir", "none", "--id", "w-1", "--control-plane", "a:1,b:2"]) == 0
    assert app.ran == [WorkerConfig(worker_id="w-1", control_planes=(Address("a", 1), Address("b", 2)))]


def test_main_ends_with_the_exit_code_of_the_app(app: App) -> None:
    app.ends = lambda: 3
    assert main(["--worker", "--data-dir", "none"]) == 3


def test_main_warning_of_the_file_is_logged_in_the_wanted_form(
    app: App, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yml").write_text("spring: {a: 1}")
    assert main(["--config", str(tmp_path / "a.yml"), "--data-dir", "none", "--log-format", "json"]) == 0
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert first["level"] == "warning"
    assert "spring (line 1)" in first["detail"]
    assert second["event"] == "running"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("port 9090 is taken"), 2, "port 9090 is taken"),
        (StoreError("the registry is\ncorrupt"), 2, "the registry is corrupt"),
        (StoreWriteError("the disk is full"), 1, "the disk is full"),
        (OperationError("it failed"), 1, "it failed"),
        (RegistrationFailedError("failed 3 times"), 3, "failed 3 times"),
        (ExceptionGroup("n", [ExceptionGroup("m", [ConfigError("port taken")])]), 2, "port taken"),
    ],
)
def test_main_error_with_a_name_is_one_line_and_a_code(
    app: App, capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    app.ends = ending(error)
    assert main(["--data-dir", "none"]) == code
    assert capsys.readouterr().err == f"minicloud: {said}\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), ExceptionGroup("n", [ZeroDivisionError()])])
def test_main_error_without_a_name_is_a_crash(app: App, error: Exception) -> None:
    app.ends = ending(error)
    with pytest.raises(type(error)):
        main(["--data-dir", "none"])


def test_main_bad_configuration_is_one_line_and_runs_nothing(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--heartbeat-interval", "30"]) == 2
    assert capsys.readouterr().err.startswith("minicloud: --heartbeat-interval: '30' is not a duration")
    assert app.ran == []


def test_main_data_folder_that_cannot_be_written_runs_nothing(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data-dir", "/proc/x"]) == 2
    assert "cannot write to the data folder /proc/x" in capsys.readouterr().err
    assert app.ran == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--grpc-prot", "1"],
            "unknown option --grpc-prot: did you mean --grpc-port? (see minicloud --help)",
        ),
        (["--qqqq"], "unknown option --qqqq (see minicloud --help)"),
        (["wrokers"], "unknown command 'wrokers': did you mean workers?"),
        (["frobnicate"], "unknown command 'frobnicate': there are dev, workers,"),
        (["--host", "h", "stats"], "'stats' comes first: minicloud stats ..."),
        (["--worker", "w-1"], "unexpected 'w-1'"),
        (["--grpc-port"], "--grpc-port: expected one argument"),
        (["--heartbeat", "1s"], "unknown option --heartbeat: did you mean --heartbeat-"),
        (["drain"], "ID (see minicloud drain --help)"),
        (["workers", "w-1", "--status", "healthy"], "--status is for the list"),
        (["events", "--since", "x"], "--since: 'x' is not a whole number"),
        (["events", "--since", "1", "-n", "1"], "--lines and --since do not go together"),
        (["dev", "--workers", "-1"], "minicloud"),
        (["dev", "--workers", "1000"], "is not a count from 0 to 100"),
        (["dev", "--grpc-port", "x"], "--grpc-port: 'x' is not a port"),
        (["dev", "--heartbeat-interval", "5"], "--heartbeat-interval: '5' is not a duration"),
    ],
)
def test_main_wrong_command_line_says_what_would_be_right(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in usage_error(capsys, *arguments)


def test_help_names_every_option_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for setting in SETTINGS:
        assert setting.in_file_only or setting.flag in shown
    for name in COMMANDS:
        assert f"\n  {name} " in shown
    for code in ("0", "1", "2", "3", "130"):
        assert f"\n  {code:<3}  " in shown
    assert max(len(line) for line in shown.splitlines()) <= 110


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sim"])
def test_help_of_each_command_says_what_it_does(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert COMMANDS[name][1:] in " ".join(capsys.readouterr().out.split())


def test_sim_is_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["sim", "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: minicloud-sim ")
    # The simulator's exit codes are its own: 2 is an outcome there.
    assert main(["sim", "--scenario", "nowhere"]) == 4


def test_sim_that_is_not_installed_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: EntryPoints())
    assert "sim is not part of this installation" in usage_error(capsys, "sim", "--list")


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"minicloud {__version__}\n"


def test_help_imports_neither_loop_nor_servers() -> None:
    code = """
import sys
from minicloud.__main__ import main
try:
    main(["--help"])
except SystemExit:
    slow = {"trio", "quart", "structlog", "yaml", "http.client", "grpclib"}
    print(slow & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.stderr.strip() == "set()"


@pytest.mark.parametrize("count", [1, 2000])
def test_output_nobody_reads_to_the_end_is_no_error(server: ScriptedServer, count: int) -> None:
    # One worker stays in the buffer until it is flushed; 2,000 do not fit in it.
    server.on("GET /api/workers?limit=1000", Answer([worker(f"w-{number}") for number in range(count)]))
    ours, theirs = os.pipe()
    os.close(ours)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*MINICLOUD, "workers"], stdout=theirs, stderr=subprocess.PIPE, env=buffered, timeout=20
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_events_followed_and_interrupted_end_with_130_and_no_traceback(server: ScriptedServer) -> None:
    server.on("GET /api/events?limit=10", Answer([]))
    server.on(
        "GET /api/events",
        Answer(block(event(1)).encode(), content_type="text/event-stream", hang=True),
        stream(),
    )
    process = subprocess.Popen(
        [*MINICLOUD, "events", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "UNHEALTHY" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "minicloud: interrupted\n")


def test_table_on_a_terminal_has_colours_and_fits_it(server: ScriptedServer) -> None:
    ill = worker(status="UNHEALTHY", statusReason="r" * 300)
    server.on("GET /api/workers?limit=1000", Answer([ill]))
    shown = _on_a_terminal(100)
    assert "\x1b[31mUNHEALTHY" in shown
    assert "…" in shown
    plain = _on_a_terminal(100, NO_COLOR="1")
    assert "\x1b" not in plain
    assert max(len(line) for line in plain.splitlines()) == 100


def _on_a_terminal(columns: int, **env: str) -> str:
    """Return the output of `minicloud workers` on a terminal."""
    unwanted = ("NO_COLOR", "COLUMNS", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    with Terminal([*MINICLOUD, "workers"], env=kept | env, columns=columns) as terminal:
        assert terminal.exit_code() == 0
        return terminal.shown
