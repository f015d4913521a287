"""`minicloud dev` runs with stand-ins for the processes it starts."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minicloud.cli.cluster import _END_WITHIN_S
from minicloud.cli.ports import Ports, choose_ports

STUB = Path(__file__).parent / "stub_process.py"
WITHIN_S = 60.0

PROGRAM = f"""
import sys
import minicloud.cli.dev
from minicloud.__main__ import main
minicloud.cli.dev.minicloud_command = lambda: [sys.executable, "-S", "-E", {str(STUB)!r}]
ports = ["--grpc-port", "0", "--http-port", "0", "--worker-port", "0"]
sys.exit(main(["dev", "--workers", "2", *ports, *sys.argv[1:]]))
"""


class Dev:
    """A `Dev` is a running `minicloud dev` and its output so far."""

    def __init__(self, fault: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "STUB_FAULT": fault, "MINICLOUD_GRPC_PORT": "1"},
        )
        self.said: list[str] = []

    def until_all(self, *texts: str) -> None:
        """Read on until each of `texts` has been in some line."""
        assert self.process.stdout is not None
        missing = set(texts)
        while missing:
            line = self.process.stdout.readline()
            assert line, f"{missing} was never said, but:\n" + "\n".join(self.said)
            self.said.append(line.rstrip("\n"))
            missing = {text for text in missing if text not in line}

    def end(self) -> int:
        """Return the exit code, once it has ended and all output is read."""
        assert self.process.stdout is not None
        self.said += [line.rstrip("\n") for line in self.process.stdout]
        return self.process.wait(WITHIN_S)

    def child_pids(self) -> list[int]:
        return [int(found[1]) for line in self.said if (found := re.search(r"started, process (\d+)", line))]

    def line_of(self, text: str) -> int:
        return next(number for number, line in enumerate(self.said) if text in line)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + WITHIN_S
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def start() -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(fault: str = "") -> Dev:
        started.append(Dev(fault))
        return started[-1]

    yield start
    for dev in started:
        if dev.process.poll() is None:
            dev.process.terminate()
        assert dev.process.stdout is not None
        dev.process.stdout.close()
        dev.process.wait(WITHIN_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_dev_told_to_end_ends_workers_then_control_plane_and_leaves_nobody(
    start: Callable[..., Dev], number: signal.Signals
) -> None:
    dev = start()
    dev.until_all("worker-1      | worker-1 with", "worker-2      | worker-2 with")
    dev.process.send_signal(number)
    assert dev.end() == 0
    assert len(dev.child_pids()) == 3
    assert not any(is_running(pid) for pid in dev.child_pids())
    last_worker = max(
        dev.line_of("worker-1      | ended in order"), dev.line_of("worker-2      | ended in order")
    )
    assert last_worker < dev.line_of("control-plane | ended in order")
    assert not any("has ended" in line for line in dev.said)


def test_dev_interrupted_ends_everything_with_one_line_and_exit_code_130(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.until_all("worker-1      | worker-1 with", "worker-2      | worker-2 with")
    shown = len(dev.said)
    pids = dev.child_pids()
    dev.process.send_signal(signal.SIGINT)
    assert dev.end() == 130
    assert [line for line in dev.said[shown:] if "settings" not in line] == ["minicloud: interrupted"]
    assert not any(is_running(pid) for pid in pids)


def test_dev_interrupted_waits_no_longer_than_a_person_for_what_will_not_end(
    start: Callable[..., Dev],
) -> None:
    dev = start("stubborn")
    dev.until_all("worker-1 with", "worker-2 with")
    pids = dev.child_pids()
    since_s = time.monotonic()
    dev.process.send_signal(signal.SIGINT)
    assert dev.end() == 130
    assert time.monotonic() - since_s < _END_WITHIN_S  # less than the time that SIGTERM leaves them
    assert not any(is_running(pid) for pid in pids)


def test_dev_gives_its_processes_loopback_ports_and_no_settings_of_its_own(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.until_all("worker-2 with", "control-plane | settings")
    dev.process.send_signal(signal.SIGTERM)
    dev.end()
    control_plane = dev.said[dev.line_of("control-plane with")]
    worker = dev.said[dev.line_of("worker-2 with")]
    assert "--host 127.0.0.1 --data-dir none" in control_plane
    assert "--heartbeat-interval 5s --heartbeat-timeout 20s" in control_plane
    grpc_port = control_plane.split("--grpc-port ")[1].split()[0]
    assert worker.endswith(f"--control-plane 127.0.0.1:{grpc_port}")
    assert any("control-plane | settings: []" in line for line in dev.said)


def test_dev_shows_where_to_look(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.until_all("silence")
    dev.process.send_signal(signal.SIGTERM)
    dev.end()
    http_port = dev.said[dev.line_of("control-plane with")].split("--http-port ")[1].split()[0]
    text = "\n".join(dev.said)
    assert f"REST      http://127.0.0.1:{http_port}/api/workers\n" in text
    assert f"minicloud workers --url http://127.0.0.1:{http_port}\n" in text
    assert "\x1b" not in text


def test_dev_worker_that_dies_is_reported_and_the_rest_goes_on(start: Callable[..., Dev]) -> None:
    dev = start("worker-1")
    dev.until_all("worker-1 has ended (exit code 7); the others go on")
    assert any("worker-1      | something is wrong\\x1b[2J" in line for line in dev.said)
    assert dev.process.poll() is None
    dev.process.send_signal(signal.SIGTERM)
    assert dev.end() == 0


def test_dev_control_plane_that_does_not_start_is_the_end(start: Callable[..., Dev]) -> None:
    dev = start("control-plane")
    assert dev.end() == 1
    assert dev.said[-1] == "minicloud: the control plane did not start (exit code 2): see above"
    assert any("something is wrong" in line for line in dev.said)


def test_dev_control_plane_killed_ends_the_rest(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.until_all("silence")
    os.kill(dev.child_pids()[0], signal.SIGKILL)
    assert dev.end() == 1
    assert dev.said[-1].startswith("minicloud: the control plane has ended (killed by SIGKILL)")
    assert not any(is_running(pid) for pid in dev.child_pids())


def test_dev_killed_leaves_no_orphan(start: Callable[..., Dev]) -> None:
    dev = start()
    dev.until_all("worker-1 with", "worker-2 with")
    dev.process.kill()
    dev.process.wait(WITHIN_S)
    assert len(dev.child_pids()) == 3
    assert eventually(lambda: not any(is_running(pid) for pid in dev.child_pids()))


def test_dev_told_twice_kills_what_will_not_end(start: Callable[..., Dev]) -> None:
    dev = start("stubborn")
    dev.until_all("worker-1 with", "worker-2 with")
    pids = dev.child_pids()
    dev.process.send_signal(signal.SIGTERM)
    dev.process.send_signal(signal.SIGHUP)
    assert dev.end() == 0
    assert not any(is_running(pid) for pid in pids)


def test_dev_output_nobody_reads_ends_it_quietly(start: Callable[..., Dev]) -> None:
    dev = start("worker-1")
    dev.until_all("control-plane | started")
    assert dev.process.stdout is not None
    dev.process.stdout.close()
    assert dev.process.wait(WITHIN_S) == 0
    assert eventually(lambda: not any(is_running(pid) for pid in dev.child_pids()))


def test_dev_output_that_is_full_is_one_line_and_exit_code_1() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=WITHIN_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"minicloud: cannot write to standard output: no space left on device")
    assert done.stderr.count(b"\n") == 1


def test_ports_taken_or_wanted_twice_are_replaced_and_said() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        ports, notices = choose_ports(Ports(taken, 0, (70000, 0)))
    chosen = [ports.grpc, ports.http, *ports.workers]
    assert len(set(chosen)) == 4
    assert taken not in chosen
    assert 0 not in chosen
    assert notices == [
        f"port {taken} is taken: gRPC has {ports.grpc}",
        f"port 70000 is taken: worker-1 has {ports.workers[0]}",
    ]
