"""Output of commands is right, whatever standard output and standard error are connected to. The processes
are real."""

from __future__ import annotations

import array
import fcntl
import json
import os
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from tests.unit.cli.server import Answer, ScriptedServer, block, event, problem, worker

MINICLOUD = (sys.executable, "-m", "minicloud")
WITHIN_S = 60.0
ALL_CLOSED = 'exec "$@" <&- >&- 2>&-'

# A process may find these encodings in place of UTF-8. With the first three, Python comes to have ASCII.
LOCALES: Mapping[str, Mapping[str, str]] = {
    "c-locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "posix-locale-unbuffered": {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUNBUFFERED": "1",
    },
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "strict-ascii": {"PYTHONIOENCODING": "ascii:strict"},
}

# None of these encodings has all of these characters; Latin-1 has some.
ZONE, REASON = "区域-é", "Zürich ist weg \U0001f525"


def environment(server: ScriptedServer | None = None, **more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    url = {"MINICLOUD_URL": server.url} if server else {}
    return {**kept, "LANG": "C.UTF-8", **url, **more}


def run(
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    shell: str = 'exec "$@"',
    program: Sequence[str] = MINICLOUD,
) -> subprocess.CompletedProcess[bytes]:
    """Run `program`, started by a line of `shell`: a shell can close what Python would keep open."""
    command = ["sh", "-c", shell, "sh", *program, *words]
    return subprocess.run(command, env=env, stdout=stdout, stderr=stderr, timeout=WITHIN_S, check=False)


@pytest.fixture
def cluster(server: ScriptedServer) -> ScriptedServer:
    """Return a control plane whose workers, events and errors hold characters that few locales have."""
    ill = worker("w-2", zone=ZONE, status="UNHEALTHY", statusReason=REASON, metadata={"team": "\ud800 é"})
    server.on("GET /api/workers?limit=1000", Answer([worker("w-1"), ill, worker("w-3")]))
    server.on("GET /api/workers/w-2", Answer(ill))
    server.on("GET /api/events?limit=100", Answer([event(1, reason=REASON), event(2)]))
    server.on("GET /api/workers/stats", Answer({"totalWorkers": 3}))
    server.on("POST /api/workers/w-1/cordon", problem(422, f"{REASON} is not right"))
    return server


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (("workers",), ("w-1 ", "w-2 ", "w-3 ")),
        (("workers", "w-2"), ("w-2", "incarnation", "queries", "team")),
        (("events",), ("     1 ", "     2 ")),
    ],
    ids=" ".join,
)
def test_output_in_a_locale_that_lacks_its_characters_escapes_them_and_loses_nothing(
    cluster: ScriptedServer, locale: str, words: tuple[str, ...], whole: tuple[str, ...]
) -> None:
    done = run(words, environment(cluster, **LOCALES[locale]))
    shown = done.stdout.decode("latin-1" if locale == "latin-1" else "ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(text in shown for text in whole)
    assert "\\U0001f525" in shown
    assert ("Zürich" if locale == "latin-1" else "Z\\xfcrich") in shown


@pytest.mark.parametrize("locale", LOCALES)
def test_error_in_a_locale_that_lacks_its_characters_is_one_whole_line(
    cluster: ScriptedServer, locale: str
) -> None:
    done = run(("cordon", "w-1"), environment(cluster, **LOCALES[locale]))
    assert done.returncode == 1
    assert done.stderr.startswith(b"minicloud: Z")
    assert done.stderr.endswith(b"\\U0001f525 is not right\n")
    usage = run(("wörkers",), environment(cluster, **LOCALES[locale]))
    assert usage.returncode == 2
    assert usage.stderr.count(b"\n") == 1
    assert b"did you mean workers?" in usage.stderr


def test_file_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.db"
    Path(os.fsdecode(name)).touch()
    done = subprocess.run(
        [*MINICLOUD, "backup", name], env=environment(), capture_output=True, timeout=WITHIN_S
    )
    assert done.returncode == 1
    assert b"\\udcff\\udcfe.db is there already" in done.stderr


COMMANDS = [
    ("--help",),
    ("--version",),
    ("workers", "--help"),
    ("workers",),
    ("workers", "w-2"),
    ("workers", "--json"),
    ("stats",),
    ("events",),
]


@pytest.mark.parametrize(
    ("words", "unbuffered"), [*((words, "") for words in COMMANDS), (("workers",), "1"), (("--help",), "1")]
)
def test_output_that_is_full_is_one_line_and_exit_code_1(
    cluster: ScriptedServer, words: tuple[str, ...], unbuffered: str
) -> None:
    with open("/dev/full", "wb") as full:
        done = run(words, environment(cluster, PYTHONUNBUFFERED=unbuffered), stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == (
        b"minicloud: cannot write to standard output: no space left on device: "
        b"send it to a file or a program\n"
    )


@pytest.mark.parametrize("words", [("--version",), ("workers",), ("workers", "--json")], ids=" ".join)
def test_output_that_is_closed_is_one_line_and_exit_code_1(
    cluster: ScriptedServer, words: tuple[str, ...]
) -> None:
    done = run(words, environment(cluster), shell='exec "$@" >&-')
    assert done.returncode == 1
    assert done.stderr == (
        b"minicloud: cannot write to standard output: it is closed: send it to a file or a program\n"
    )


def test_output_that_ends_at_a_limit_of_the_file_size_is_one_line(
    cluster: ScriptedServer, tmp_path: Path
) -> None:
    """This is another way for a file to take no more, in the middle of the output."""
    cluster.on("GET /api/workers?limit=1000", Answer([worker(f"w-{number}") for number in range(2000)]))

    limited = "trap '' XFSZ; ulimit -f 40; exec \"$@\""
    with (tmp_path / "list").open("wb") as file:
        env = environment(cluster, PYTHONDONTWRITEBYTECODE="1")
        done = run(("workers",), env, stdout=file.fileno(), shell=limited)
    assert done.returncode == 1
    assert done.stderr == (
        b"minicloud: cannot write to standard output: file too large: send it to a file or a program\n"
    )
    assert (tmp_path / "list").stat().st_size == 40 * 512


@pytest.mark.parametrize("words", [("--help",), ("workers",), ("events",)], ids=" ".join)
def test_output_whose_reader_has_gone_is_no_error(cluster: ScriptedServer, words: tuple[str, ...]) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(words, environment(cluster), stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_events_followed_by_a_reader_that_goes_end_without_a_word(server: ScriptedServer) -> None:
    server.on("GET /api/events?limit=10", Answer([]))
    told = "".join(block(event(number)) for number in range(1, 3))
    server.on("GET /api/events", Answer(told.encode(), content_type="text/event-stream", hang=True))
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(("events", "-f"), environment(server), stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_to_a_pipe_that_does_not_block_is_whole(cluster: ScriptedServer) -> None:
    """Another program that has the same pipe may have made it so."""
    count = 3000
    cluster.on("GET /api/workers?limit=1000", Answer([worker(f"w-{number}") for number in range(count)]))
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [*MINICLOUD, "workers"], env=environment(cluster), stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    with os.fdopen(ours, "rb") as reader:
        _await_full(reader.fileno(), process.pid)
        lines = reader.read().splitlines()
    _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, b"")
    assert len(lines) == count + 1


def _await_full(pipe: int, pid: int) -> None:
    """Wait until the pipe takes no more, and the process that fills it has noticed."""
    deadline_s = time.monotonic() + WITHIN_S
    waiting = (psutil.STATUS_SLEEPING, psutil.STATUS_ZOMBIE)
    while time.monotonic() < deadline_s:
        held = array.array("i", [0])
        fcntl.ioctl(pipe, termios.FIONREAD, held)
        if held[0] and psutil.Process(pid).status() in waiting:
            return
        time.sleep(0.01)
    raise AssertionError("the pipe is not full")


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("frobnicate",), 2),
        (("--grpc-port", "x"), 2),
        (("cordon", "w-1"), 1),
        (("cordon", "w-1", "--url", "http://127.0.0.1:1"), 1),
        (("workers",), 0),
    ],
)
def test_exit_code_is_the_same_where_standard_error_takes_nothing(
    cluster: ScriptedServer, words: tuple[str, ...], code: int, closed: bool
) -> None:
    with open("/dev/full", "wb") as full:
        done = run(
            words,
            environment(cluster),
            stderr=full.fileno(),
            shell='exec "$@" 2>&-' if closed else 'exec "$@"',
        )
    assert done.returncode == code
    assert bool(done.stdout) is (code == 0)


def test_both_outputs_closed_end_with_exit_code_1(cluster: ScriptedServer) -> None:
    assert run(("workers",), environment(cluster), shell=ALL_CLOSED).returncode == 1


def test_standard_streams_that_are_closed_are_the_number_of_no_file(tmp_path: Path) -> None:
    """A log line must not be written into a socket or a file that has taken the number."""
    code = """
import os
from minicloud.cli.output import standard_streams
with standard_streams():
    opened = os.open(os.devnull, os.O_RDWR)
    failed = []
    for number in (0, 1, 2):
        try:
            os.write(number, b"x") if number else os.read(number, 1)
        except OSError:
            failed.append(number)
    with open(os.environ["FOUND"], "w") as file:
        file.write(f"{opened > 2} {failed}")
"""

    found = tmp_path / "found"
    env = environment(FOUND=str(found))
    run((), env, shell=ALL_CLOSED, program=(sys.executable, "-c", code))
    assert found.read_text() == "True [0, 1, 2]"


def test_json_is_the_same_in_every_locale(cluster: ScriptedServer) -> None:
    shown = {run(("workers", "--json"), environment(cluster, **locale)).stdout for locale in LOCALES.values()}
    assert len(shown) == 1
    assert json.loads(shown.pop())[1]["statusReason"] == REASON
