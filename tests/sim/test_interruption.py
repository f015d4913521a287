"""Ending the simulator by a signal: in every mode, in one line, with the results of finished runs kept.

Each run here would last for hours: a simulator that waits for a run to end fails by a deadline.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest

from minicloud.cli.itself import child_environment
from tests.integration.processes import Launcher, eventually, is_running, needs_linux
from tests.terminal import CTRL_C, Terminal

ROOT = Path(__file__).resolve().parents[2]
SIM = (sys.executable, "-m", "sim")
MINICLOUD_SIM = (sys.executable, "-m", "minicloud", "sim")
ENDLESS = ["--scenario", "steady", "--workers", "20", "--duration", "8000h"]
PARALLEL = ["--scenario", "swarm", "--seeds", "1..9", "--workers", "20", "--duration", "8000h"]
WITHIN_S = 60


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    with Launcher(tmp_path) as launcher:
        yield launcher


def environment() -> Mapping[str, str]:
    return {**child_environment(os.environ), "PYTHONPATH": str(ROOT), "TERM": "xterm"}


def last_line(terminal: Terminal) -> str:
    """The last line shown, without what a progress bar and the echo of a key left before it."""
    return terminal.shown.rstrip("\n").rpartition("\n")[2].rpartition("\r")[2]


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Terminal]]:
    """The sockets that a test opens; they are closed at its end."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.__exit__()


def simulate(
    terminals: list[Terminal], folder: Path, *arguments: str, program: Sequence[str] = SIM
) -> Terminal:
    terminals.append(Terminal([*program, *arguments], env=environment(), cwd=folder))
    return terminals[-1]


@pytest.mark.parametrize(
    ("program", "arguments", "shown"),
    [
        (SIM, ENDLESS, "steady  0:"),
        (SIM, [*ENDLESS, "--depth", "wire"], "steady  0:"),
        (SIM, [*PARALLEL, "--jobs", "1"], "swarm  0:"),
        (MINICLOUD_SIM, ENDLESS, "steady  0:"),
    ],
    ids=["single", "wire", "jobs-1", "minicloud-sim"],
)
def test_ctrl_c_while_a_run_lasts_ends_in_one_line(
    terminals: list[Terminal], tmp_path: Path, program: Sequence[str], arguments: Sequence[str], shown: str
) -> None:
    terminal = simulate(terminals, tmp_path, *arguments, program=program)
    terminal.until_shown(shown)
    terminal.press(CTRL_C)
    assert terminal.exit_code() == 130
    runs = "9 runs" if "1" in arguments else "1 run"
    assert last_line(terminal) == f"minicloud-sim: interrupted: 0 of {runs} done"
    assert len(terminal.lines_after(CTRL_C)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")])
def test_signal_while_a_run_lasts_ends_in_one_line_that_names_it(
    terminals: list[Terminal], tmp_path: Path, number: signal.Signals, name: str
) -> None:
    terminal = simulate(terminals, tmp_path, *ENDLESS)
    terminal.until_shown("steady  0:")
    os.kill(terminal.pid, number)
    assert terminal.exit_code() == 128 + number
    assert last_line(terminal) == f"minicloud-sim: ended by {name}: 0 of 1 run done"


@needs_linux
@pytest.mark.parametrize("key", [CTRL_C, ""], ids=["ctrl-c", "hang-up"])
def test_terminal_that_ends_parallel_runs_leaves_no_process(
    terminals: list[Terminal], tmp_path: Path, key: str
) -> None:
    terminal = simulate(terminals, tmp_path, *PARALLEL, "--jobs", "2")
    eventually(lambda: len(pool(terminal)) == 2, lambda: f"two are at work: {terminal.shown}")
    children = [each.pid for each in psutil.Process(terminal.pid).children(recursive=True)]
    for each in pool(terminal):
        assert blocked(each.pid) >= {signal.SIGINT, signal.SIGHUP}
    if key:
        terminal.press(key)
        assert terminal.exit_code() == 130
        assert last_line(terminal) == "minicloud-sim: interrupted: 0 of 9 runs done"
    else:
        terminal.hang_up()
        assert terminal.exit_code() == 128 + signal.SIGHUP
    assert "Traceback" not in terminal.shown
    eventually(lambda: not any(map(is_running, children)), "they end")


def pool(terminal: Terminal) -> list[psutil.Process]:
    """The processes in which it runs simulations."""

    def is_member(each: psutil.Process) -> bool:
        try:
            return "--multiprocessing-fork" in each.cmdline()
        except psutil.Error:
            return False

    return [each for each in psutil.Process(terminal.pid).children(recursive=True) if is_member(each)]


def blocked(pid: int) -> set[int]:
    """The signals that this process does not receive."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_the_results_of_runs_that_are_over(
    terminals: list[Terminal], tmp_path: Path, jobs: str
) -> None:
    for name, chaos in (("short", "1s"), ("endless", "300d")):
        (tmp_path / f"{name}.toml").write_text(
            f'name = "{name}"\nsummary = "s"\n[topology]\nworkers = 5\n[phases]\nchaos = "{chaos}"\n'
        )
    arguments = ["--scenario", "short.toml", "--scenario", "endless.toml", "--jobs", jobs]
    outputs = ["--json", "x.json", "--junit", "x.xml", "--report", "r"]
    terminal = simulate(terminals, tmp_path, *arguments, *outputs)
    terminal.until_shown("endless  " if jobs == "1" else "1 of 2 runs")
    terminal.press(CTRL_C)
    assert terminal.exit_code() == 130
    assert last_line(terminal) == "minicloud-sim: interrupted: 1 of 2 runs done"
    assert "Traceback" not in terminal.shown
    assert "1 run: 1 held" in terminal.shown
    document = json.loads((tmp_path / "x.json").read_bytes())
    assert (document["scenario"], document["verdict"], document["interrupted"]) == ("short", "held", True)
    (suite,) = ElementTree.parse(tmp_path / "x.xml").getroot()
    assert suite.attrib["tests"] == "1"
    assert "Interrupted: there were more to run." in (tmp_path / "r" / "index.html").read_text()
    assert [path.name for path in (tmp_path / "r").glob("*.json")] == ["short-1-schedule.json"]


def test_ctrl_c_while_shrinking_keeps_the_smallest_schedule_so_far(
    terminals: list[Terminal], tmp_path: Path
) -> None:
    arguments = ["--scenario", "partition", "--workers", "40", "--mutate", "no-recovery", "--shrink"]
    terminal = simulate(terminals, tmp_path, *arguments)
    terminal.until_shown("shrinking partition")
    terminal.press(CTRL_C)
    assert terminal.exit_code() == 130
    assert last_line(terminal).startswith("minicloud-sim: interrupted: the smallest schedule after ")
    assert last_line(terminal).endswith(" is in partition-1-smallest.json")
    assert "Traceback" not in terminal.shown
    assert json.loads((tmp_path / "partition-1-smallest.json").read_bytes())["name"] == "partition"


@needs_linux
def test_ctrl_c_while_determinism_is_checked_ends_both_runs(
    terminals: list[Terminal], tmp_path: Path
) -> None:
    terminal = simulate(terminals, tmp_path, *ENDLESS, "--check-determinism")
    eventually(lambda: len(psutil.Process(terminal.pid).children()) == 2, lambda: terminal.shown)
    children = [each.pid for each in psutil.Process(terminal.pid).children(recursive=True)]
    terminal.press(CTRL_C)
    assert terminal.exit_code() == 130
    assert last_line(terminal) == "minicloud-sim: interrupted: 0 of 1 schedule compared"
    assert len(terminal.lines_after(CTRL_C)) == 1
    assert not any(map(is_running, children))


def test_ctrl_c_at_a_real_control_plane_ends_with_a_summary_and_leaves_it_clean(
    launch: Launcher, terminals: list[Terminal], tmp_path: Path
) -> None:
    control_plane = launch.control_plane()
    arguments = ["--target", control_plane.address, "--ramp", "10ms", "--workers", "5", "--duration", "9h"]
    terminal = simulate(terminals, tmp_path, *arguments, "--json", "x.json")
    eventually(lambda: len(control_plane.statuses) == 5, lambda: terminal.shown)
    terminal.press(CTRL_C)
    assert terminal.exit_code() == 130
    assert last_line(terminal) == "minicloud-sim: interrupted: 0 workers are left registered"
    assert "held, interrupted" in terminal.shown
    assert control_plane.statuses == {}
    document = json.loads((tmp_path / "x.json").read_bytes())
    assert (document["interrupted"], document["signal"]) == (True, signal.SIGINT)


# Moments that no terminal can hit for sure: a script raises the signal there itself.


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import signal, sys, time\n{script}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def test_signal_while_modules_are_imported_ends_in_one_line() -> None:
    done = run_script("""
class Importing:
    def find_spec(self, name, *_):
        if name == "sim.program.command":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Importing())
from sim.program.main import main
sys.exit(main(["--list"]))
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "minicloud-sim: interrupted\n")


VIRTUALLY = """
import trio
from sim.engine.interruption import Interrupted, Interruption
from sim.engine.loop import run_virtually
from sim.engine.timeline import Timeline

timeline = Timeline()
async def spin():
    signal.raise_signal(signal.SIGINT)
    while True:
        await trio.lowlevel.checkpoint()
async def swallow():
    while True:
        try:
            await spin()
        except BaseException:
            pass
def stuck():
    signal.raise_signal(signal.SIGINT)
    while True:
        pass
async def event():
    timeline.at(1.0, stuck)
    await trio.sleep_forever()
async def returns():
    signal.raise_signal(signal.SIGINT)
with Interruption() as interruption:
    interruption.deliver()
    before = time.monotonic()
    try:
        run_virtually({0}, timeline, 1)
    except Interrupted as error:
        # The real clock is back.
        print(error, error.exit_code, 0 < time.monotonic() - before < 50)
import os
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("main", ["spin", "swallow", "event", "returns"])
def test_run_in_virtual_time_that_does_not_end_by_itself_is_given_up(main: str) -> None:
    done = run_script(VIRTUALLY.replace("{0}", main))
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted 130 True\n", "")


def test_signal_that_the_process_was_started_to_ignore_stays_ignored() -> None:
    done = run_script("""
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from sim.engine.interruption import Interruption
with Interruption() as interruption:
    interruption.deliver()
    signal.raise_signal(signal.SIGHUP)
    print("goes on")
""")
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_signal_while_results_are_written_waits_for_the_file_to_be_whole() -> None:
    done = run_script("""
from sim.engine.interruption import Interrupted, Interruption, finished_first
with Interruption() as interruption:
    interruption.deliver()
    try:
        with finished_first():
            signal.raise_signal(signal.SIGTERM)
            print("whole")
    except Interrupted as error:
        print(error.exit_code)
""")
    assert (done.returncode, done.stdout) == (0, "whole\n143\n")


def test_second_signal_ends_at_once() -> None:
    done = run_script("""
from sim.engine.interruption import Interruption
with Interruption() as interruption:
    interruption.deliver()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)  # an echo of the first
        time.sleep(0.15)
        signal.raise_signal(signal.SIGINT)
        print("goes on")
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_signal_while_a_name_server_does_not_answer_ends_in_one_line() -> None:
    done = run_script("""
import socket
from threading import Event, current_thread, main_thread
from sim.program.main import main

def getaddrinfo(*arguments, **options):
    if current_thread() is main_thread():
        print("no handler would run here")
    signal.setitimer(signal.ITIMER_REAL, 0.001)  # while the main thread waits
    Event().wait()

socket.getaddrinfo = getaddrinfo
handler = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.signal = lambda number, what, real=signal.signal: number == signal.SIGALRM or real(number, what)
sys.exit(main(["--target", "slow.invalid:9090"]))
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "minicloud-sim: interrupted\n")


def test_process_of_the_pool_that_is_killed_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = run_script("""
import multiprocessing, os, threading
from sim.program.main import main

def kill():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

if __name__ == "__main__":
    threading.Thread(target=kill).start()
    sys.exit(main("--scenario swarm --seeds 1..4 --jobs 2 --workers 20 --duration 8000h".split()))
""")
    assert done.returncode == 4, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("minicloud-sim: the process that ran swarm, seed ")
    assert "killed by SIGKILL" in line
