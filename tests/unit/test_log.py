from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from minicloud.log import STORM_EVENTS, STORM_LINES, STORM_WINDOW_S, StormLimiter, configure, flush
from minicloud.request_id import RequestScope, bind_request_id, current_request_id


class Lines:
    """A `Lines` is a file that the log goes to, and a clock that stands until it is moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.now_s = 1000.0

    def configure(self, level: str = "info", format: str = "json") -> Any:
        logging.getLogger().handlers.clear()  # pytest's own fail on a record that does not fit its format
        configure(level, format, fd=self.fd, now_s=lambda: self.now_s)
        return structlog.get_logger()

    def text(self) -> list[str]:
        flush()
        return self.path.read_text().splitlines()

    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text()]


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    lines = Lines(tmp_path / "log")
    yield lines
    os.close(lines.fd)
    structlog.reset_defaults()
    bind_request_id("")
    root.handlers[:] = handlers
    root.setLevel(level)


def test_log_json_line_holds_time_level_event_and_fields_in_that_order(lines: Lines) -> None:
    lines.configure().info("worker_registered", worker_id="w-1", incarnation=3)
    (line,) = lines.json()
    assert list(line) == ["timestamp", "level", "event", "worker_id", "incarnation"]
    assert (line["level"], line["event"], line["incarnation"]) == ("info", "worker_registered", 3)
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_log_line_of_a_request_carries_its_id(lines: Lines) -> None:
    log = lines.configure()
    with RequestScope("req-1"):
        assert current_request_id() == "req-1"
        log.info("asked")
    log.info("idle")
    assert [line.get("request_id") for line in lines.json()] == ["req-1", None]


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_log_below_its_level_is_silent(lines: Lines, level: str, seen: int) -> None:
    log = lines.configure(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("said")
    assert len(lines.json()) == seen


def test_log_exception_is_one_json_line_with_its_frames(lines: Lines) -> None:
    log = lines.configure()
    try:
        raise ExceptionGroup("several", [ValueError("first\nline two")])
    except ExceptionGroup:
        log.exception("crashed")
    (line,) = lines.json()
    (trace,) = line["exception"]
    assert trace["exc_type"] == "ExceptionGroup"
    assert trace["frames"][0]["name"] == "test_log_exception_is_one_json_line_with_its_frames"
    assert trace["exceptions"][0][0]["exc_value"] == "first\nline two"
    assert "locals" not in trace["frames"][0]


@pytest.mark.parametrize(
    "value",
    [float("nan"), {(1, 2): 3}, "a\nb", "\x1b[31mred", "\ud800", b"\xff", object(), {1: {2: float("inf")}}],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_log_any_value_is_one_line(lines: Lines, format: str, value: object) -> None:
    lines.configure(format=format).info("said\n", value=value)
    (line,) = lines.text()
    assert "said" in line
    assert "\x1b" not in line
    if format == "json":
        json.loads(line, parse_constant=pytest.fail)


def test_log_value_that_holds_itself_is_one_line(lines: Lines) -> None:
    circle: list[object] = []
    circle.append(circle)
    lines.configure().info("said", value=circle)
    assert len(lines.json()) == 1


def test_log_of_libraries_comes_out_as_ours_from_warning_on(lines: Lines) -> None:
    lines.configure("debug")
    library = logging.getLogger("some.library")
    library.info("not heard")
    library.warning("heard %s", "twice")
    library.error("does not fit %d", "x")
    first, second = lines.json()
    assert (first["event"], first["logger"], first["level"]) == ("heard twice", "some.library", "warning")
    assert (second["event"], second["level"]) == ("does not fit %d", "error")
    assert "_storm_key" not in first


def test_log_configured_again_says_library_lines_once(lines: Lines) -> None:
    lines.configure()
    lines.configure()
    logging.getLogger("some.library").warning("heard")
    assert len(lines.json()) == 1


def test_log_storm_of_one_warning_is_cut_and_counted(lines: Lines) -> None:
    log = lines.configure()
    for _ in range(STORM_LINES + 7):
        log.warning("refused", worker_id="w-1")
    log.warning("another")
    lines.now_s += STORM_WINDOW_S - 0.001
    log.warning("refused")
    assert len(lines.json()) == STORM_LINES + 1
    lines.now_s += 0.001
    log.error("refused")
    log.warning("refused")
    *_, first, second = lines.json()
    assert first["suppressed"] == 8
    assert "suppressed" not in second


def test_log_storm_of_info_lines_passes_whole(lines: Lines) -> None:
    log = lines.configure()
    for number in range(200):
        log.info("worker_unhealthy", worker_id=f"w-{number}")
    assert len(lines.json()) == 200


def test_log_storm_of_clients_mistakes_is_cut_at_info_too(lines: Lines) -> None:
    log = lines.configure()
    for _ in range(200):
        log.info("http_request_refused", code=404)
    log.info("rpc_connection_dropped")
    assert len(lines.json()) == STORM_LINES + 1


def test_log_storm_of_a_library_is_one_whatever_its_arguments(lines: Lines) -> None:
    lines.configure()
    for number in range(50):
        logging.getLogger("some.library").warning("connection %d lost", number)
    assert len(lines.json()) == STORM_LINES


def test_log_storm_of_ever_new_events_is_remembered_in_bounds() -> None:
    limiter = StormLimiter(lambda: 0.0)
    for number in range(STORM_EVENTS * 3):
        limiter(None, "warning", {"level": "warning", "event": f"event {number}"})
    assert len(limiter._seen) == STORM_EVENTS


def test_log_console_off_a_terminal_has_no_colours(lines: Lines) -> None:
    lines.configure(format="console").warning("said", worker_id="w-1")
    (line,) = lines.text()
    assert "\x1b" not in line
    assert "[warning  ] said" in line
    assert "worker_id=w-1" in line


def test_log_auto_off_a_terminal_is_json(lines: Lines) -> None:
    lines.configure(format="auto").info("said")
    assert lines.json()[0]["event"] == "said"


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_log_auto_on_a_terminal_is_console_with_colours_unless_unwanted(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, no_colour: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    ours, theirs = os.openpty()
    try:
        configure(fd=theirs)
        structlog.get_logger().info("said")
        shown = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "said" in shown
    assert ("\x1b[" in shown) is coloured


def test_log_to_a_broken_pipe_leaves_the_process_and_its_exit_code_alone() -> None:
    code = """
import logging, os, sys
from minicloud.log import configure
import structlog
configure("info", "json")
for _ in range(100):
    structlog.get_logger().info("said")
    logging.getLogger("library").error("said")
os.close(2)
structlog.get_logger().info("said")
print("alive")
"""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, timeout=20)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (0, b"alive\n")
