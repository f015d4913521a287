"""Reports of runs: the summary, progress, JSON, JUnit's XML and the page."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from grpclib.const import Status

from minicloud.cli.text import Paint
from sim.faults.schedule import Fault, Phases
from sim.net.exchanges import Exchange
from sim.net.network import Counts
from sim.oracle.oracle import Oracle
from sim.record.record import Mark, Moment, Record
from sim.record.recorder import Recorder
from sim.report.axes import round_up, time_ticks
from sim.report.documents import to_json, to_junit
from sim.report.figures import clock, exactly, nodes
from sim.report.markup import element
from sim.report.page import page, write_report
from sim.report.progress import Progress
from sim.report.status_line import StatusLine
from sim.report.summary import summary
from sim.scenario.expand import expand
from sim.scenario.scenario import load
from sim.simulation.simulation import Simulation
from sim.verdict.outcome import Outcome, Quantiles, Verdict, Violation

# What `--json` has to have, at least.
KEYS = {
    "seed", "scenario", "workers", "virtual_seconds", "wall_seconds", "heartbeats", "trace_hash",
    "violations", "probes", "detection_seconds", "recovery_seconds", "false_positives",
    "peak_registrations_per_second",
    "messages",
}  # fmt: skip
QUANTILES = {"p50", "p95", "p99", "max"}
MESSAGES = {"sent", "delivered", "dropped", "duplicated"}

VIOLATION = Violation(
    "4 ids-unique", 130.5, "worker-1", "two go by <worker-1> & live\x1b[31m", ("begins", "a <b> happened")
)
HELD = Outcome(
    "steady",
    1,
    50,
    virtual_seconds=480.0,
    wall_seconds=2.0,
    heartbeats=700,
    registrations=50,
    trace_hash="ab12",
    checks={"4 ids-unique": 9},
    goals={"registered": 50},
    detection_seconds=Quantiles(1.0, 2.0, 3.0, 4.0, 7),
    peak_registrations_per_second=12,
    messages=Counts(10, 8, 2, 1),
    command="minicloud-sim --scenario steady --seed 1",
)
BROKEN = replace(
    HELD,
    scenario="partition",
    seed=7,
    violations=[VIOLATION],
    violations_total=1,
    detection_seconds=Quantiles(0.5, 5.0, 6.0, 7.0, 3),
    false_positives=2,
    command="minicloud-sim --scenario partition --seed 7",
)
INCONCLUSIVE = replace(HELD, seed=3, missed_goals=("fenced",))


@cache
def real_run() -> tuple[Outcome, Record]:
    schedule = expand(load("partition"), 1, 9)
    oracle = Oracle()
    recorder = Recorder(schedule, oracle.violations)
    Simulation(schedule, [oracle, recorder]).run()
    outcome = Outcome(schedule.name, schedule.seed, 9, command="minicloud-sim --scenario partition")
    recorder.fill(outcome)
    oracle.fill(outcome)
    return outcome, recorder.record(oracle.detection_s, oracle.recovery_s)


def broken_run() -> tuple[Outcome, Record]:
    """The real run, as if two calls had gone wrong in it."""
    outcome, record = real_run()
    exchanges = (
        Exchange(
            "worker-1",
            "control-plane",
            "/x.Y/Heartbeat",
            130.0,
            [("arrived", 130.001), ("answered", 130.001)],
        ),
        Exchange("worker-1", "control-plane", "/x.Y/Heartbeat", 130.2),
        Exchange(
            "worker-1",
            "control-plane",
            "/x.Y/RegisterWorker",
            130.4,
            [
                *(("arrived", 130.401), ("answered", 130.402), ("returned", 130.403)),
                *(("arrived", 130.9), ("answered", 130.901), ("returned", 130.904)),
            ],
            Status.UNAVAILABLE,
        ),
    )
    marks = (Mark(130.5, "control-plane", "worker-1 <unhealthy>"),)
    moment = Moment(VIOLATION, exchanges, marks)
    return replace(outcome, violations=[VIOLATION], violations_total=1), replace(record, moment=moment)


# Quantiles and verdicts


def test_quantiles_are_those_of_the_nearest_rank() -> None:
    quantiles = Quantiles.of([float(number) for number in range(100, 0, -1)])
    assert quantiles == Quantiles(50.0, 95.0, 99.0, 100.0, 100)
    assert Quantiles.of([3.0]) == Quantiles(3.0, 3.0, 3.0, 3.0, 1)
    assert Quantiles.of([]) == Quantiles()


def test_verdict_of_a_violation_wins_over_a_missed_goal() -> None:
    assert HELD.verdict is Verdict.HELD
    assert INCONCLUSIVE.verdict is Verdict.INCONCLUSIVE
    assert replace(BROKEN, missed_goals=("fenced",)).verdict is Verdict.BROKEN


# JSON


def test_json_of_one_run_has_every_key() -> None:
    document = json.loads(to_json([BROKEN]))
    assert document.keys() >= KEYS
    assert "runs" not in document
    assert document["detection_seconds"].keys() >= QUANTILES
    assert document["recovery_seconds"].keys() >= QUANTILES
    assert document["messages"].keys() >= MESSAGES
    assert document["violations"][0]["promise"] == "4 ids-unique"
    assert document["violations"][0]["context"] == ["begins", "a <b> happened"]


def test_json_of_several_runs_has_sums_the_worst_and_each_run() -> None:
    document = json.loads(to_json([HELD, BROKEN, INCONCLUSIVE]))
    assert document.keys() >= KEYS
    assert [run["seed"] for run in document["runs"]] == [1, 7, 3]
    assert all(run.keys() >= KEYS for run in document["runs"])
    assert document["verdict"] == "broken"
    assert document["seed"] == 7
    assert document["scenario"] == "steady,partition"
    assert document["heartbeats"] == 2100
    assert document["virtual_seconds"] == 1440.0
    assert document["messages"] == {"sent": 30, "delivered": 24, "dropped": 6, "duplicated": 3}
    assert document["probes"] == {"registered": 150}
    assert document["detection_seconds"] == {"p50": 1.0, "p95": 5.0, "p99": 6.0, "max": 7.0, "count": 17}
    assert document["false_positives"] == 2
    assert document["peak_registrations_per_second"] == 12
    assert [(one["scenario"], one["seed"]) for one in document["violations"]] == [("partition", 7)]
    assert document["missed_probes"] == ["fenced"]


# JUnit


def test_junit_has_a_case_for_each_run_and_a_failure_for_each_violation() -> None:
    suite = ElementTree.fromstring(to_junit([HELD, BROKEN, INCONCLUSIVE])).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    held, broken, inconclusive = suite.findall("testcase")
    assert held.find("failure") is None
    assert held.find("error") is None
    failure = broken.find("failure")
    assert failure is not None
    assert failure.get("type") == "4 ids-unique"
    assert failure.get("message") == "two go by <worker-1> & live\\x1b[31m"
    assert "a <b> happened" in (failure.text or "")
    error = inconclusive.find("error")
    assert error is not None
    assert "fenced" in (error.get("message") or "")


# The summary


def told(*outcomes: Outcome) -> str:
    return "\n".join(summary(outcomes, Paint(io.StringIO())))


def test_summary_of_a_run_names_its_figures_and_the_command() -> None:
    text = told(HELD)
    assert "steady  seed 1, 50 workers  HELD" in text
    assert "8:00 virtual in 2.00 s, 240x real time" in text
    assert "p50 1.00 s, p99 3.00 s" in text
    assert "2 lost, 1 doubled" in text
    assert "minicloud-sim --scenario steady --seed 1" in text
    assert text.endswith("1 run: 1 held  (8:00 virtual, 700 heartbeats)")


def test_summary_of_a_violation_shows_what_broke_and_obeys_no_control_codes() -> None:
    text = told(BROKEN)
    assert "broken: 4 ids-unique  at 2:10.500, worker-1" in text
    assert "a <b> happened" in text
    assert "\x1b" not in text


def test_summary_of_an_inconclusive_run_names_what_never_happened() -> None:
    assert "never happened, so this run shows little: fenced" in told(INCONCLUSIVE)


def test_summary_of_many_runs_is_short_and_tells_of_the_bad_ones() -> None:
    text = told(*[replace(HELD, seed=seed) for seed in range(200)], BROKEN)
    assert len(text.splitlines()) < 20
    assert "broken: 4 ids-unique" in text
    assert "200 runs not listed" in text
    assert "201 runs: 200 held, 1 broken" in text


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticks(step_s: float) -> Iterator[float]:
    at_s = 0.0
    while True:
        yield at_s
        at_s += step_s


def test_progress_into_a_file_is_a_line_each_tenth_of_the_way() -> None:
    stream = io.StringIO()
    clock_s = ticks(0.001)
    progress = Progress(stream, lambda: next(clock_s))
    schedule = expand(load("partition"), 1, 9)
    for second in range(int(schedule.phases.end_s) + 1):
        progress.at(schedule, float(second))
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("100%  partition  27:00 of 27:00")
    assert any("partition of 3 workers" in line for line in lines)
    assert "\r" not in stream.getvalue()


def test_progress_of_one_run_after_another_begins_anew() -> None:
    stream = io.StringIO()
    progress = Progress(stream, lambda: 0.0)
    for name in ("steady", "partition"):
        schedule = expand(load(name), 1, 9)
        for second in range(int(schedule.phases.end_s) + 1):
            progress.at(schedule, float(second))
    shown = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert shown == ["steady"] * 10 + ["partition"] * 10


@pytest.mark.parametrize("columns", [1, 30, 80, 200])
def test_progress_on_a_terminal_is_one_line_that_is_wiped_at_the_end(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    clock_s = ticks(1.0)
    progress = Progress(stream, lambda: next(clock_s))
    schedule = expand(load("partition"), 1, 9)
    for second in range(0, 1620, 60):
        progress.at(schedule, float(second))
    progress.close()
    text = stream.getvalue()
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
    assert all(len(line.removesuffix("\x1b[K")) < columns for line in text.split("\r"))


def test_progress_on_a_terminal_that_cannot_be_drawn_on_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    progress = Progress(stream, lambda: 0.0)
    progress.over(1, 2)
    progress.close()
    assert stream.getvalue() == " 50%  1 of 2 runs\n"


class Encoded(io.TextIOWrapper):
    """A terminal of a locale."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "██████████░"), ("ascii", "##########.")])
def test_progress_has_a_bar_that_the_locale_can_show(
    encoding: str, bar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Encoded(io.BytesIO(), encoding=encoding)
    Progress(stream, lambda: 0.0).over(1, 2)
    shown = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert bar in shown
    assert "\\u" not in shown


def test_status_line_with_a_character_the_locale_lacks_is_as_short_as_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Encoded(io.BytesIO(), encoding="ascii")
    StatusLine(stream).draw("é" * 15)
    shown = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert shown == "\r" + ("\\xe9" * 15)[:19] + "\x1b[K"


class InterruptedTerminal(Terminal):
    interrupted = False

    def flush(self) -> None:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt


def test_status_line_interrupted_while_it_is_drawn_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = InterruptedTerminal()
    line = StatusLine(stream)
    with pytest.raises(KeyboardInterrupt):
        line.draw("50%")
    line.wipe()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_progress_of_several_runs_counts_those_that_are_over() -> None:
    stream = io.StringIO()
    progress = Progress(stream, lambda: 0.0)
    for done in range(1, 21):
        progress.over(done, 20, broken=1)
    assert stream.getvalue().splitlines()[-1] == "100%  20 of 20 runs  1 broken"


# The page


class Page(HTMLParser):
    """Reads a page, and sees that everything opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_of_a_run_has_every_part() -> None:
    read = Page(page([real_run()]))
    assert read.tags["svg"] == 3
    for part in (
        "partition, seed 1", "What happened", "Detection and recovery", "Promises", "Probes",
        "heartbeats a second", "registrations a second", "no-early-verdict", "No promise was broken.",
        "minicloud-sim --scenario partition", "Trio 0.", "Python 3.", "held",
    ):  # fmt: skip
        assert part in read.text


def test_page_of_a_violation_draws_the_messages_around_it() -> None:
    text = page([broken_run()])
    read = Page(text)
    assert read.tags["svg"] == 4
    assert "violated: 4 ids-unique" in read.text
    assert "RegisterWorker" in read.text
    assert "UNAVAILABLE" in read.text
    assert text.count('class="lost"') == 2  # a request that never arrived, and an answer
    assert text.count('class="answer"') == 2


def test_page_shows_what_others_said_and_obeys_none_of_it() -> None:
    outcome, record = broken_run()
    text = page([(replace(outcome, scenario='<script>alert("1")</script>', command="<img src=x>"), record)])
    read = Page(text)
    assert "script" not in read.tags
    assert "img" not in read.tags
    assert '<script>alert("1")</script>' in read.text


def test_page_loads_nothing_and_forbids_it() -> None:
    text = page([broken_run(), real_run()])
    read = Page(text)
    assert not re.search(r"https?://|url\(|@import|\bsrc=", text)
    assert all(value.startswith("#") for name, value in read.attributes if name in ("href", "src"))
    assert not any(name == "style" or name.startswith("on") for name, _ in read.attributes)
    policy = next(value for name, value in read.attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_page_of_the_same_run_is_the_same() -> None:
    assert page([real_run()]) == page([real_run()])


def test_page_of_several_runs_begins_with_a_table_that_leads_to_each() -> None:
    outcome, record = real_run()
    runs = [(replace(outcome, seed=seed), record) for seed in range(30)]
    runs[29] = (replace(BROKEN, seed=29), record)
    read = Page(page(runs))
    ids = {value for name, value in read.attributes if name == "id"}
    links = {value.removeprefix("#") for name, value in read.attributes if name == "href"}
    assert links == ids
    assert len(ids) == 20
    assert "run-29" in ids  # it broke a promise, and so is among those in full
    assert "10 runs without details below." in read.text


def test_page_of_a_crowd_of_faults_stays_small() -> None:
    outcome, record = real_run()
    faults = tuple(Fault("partition", 120.0 + number / 10, ("worker-1",), 30.0) for number in range(5000))
    crowded = replace(record, schedule=record.schedule.with_faults(faults))
    text = page([(outcome, crowded)])
    assert re.search("5,000 times, up to 30[01] at once", text)
    assert len(text) < 100_000


def test_page_of_a_run_without_faults_or_samples_can_be_written(tmp_path: Path) -> None:
    schedule = replace(real_run()[1].schedule, faults=(), phases=Phases(0.0, 0.0, 0.0))
    path = write_report(tmp_path / "new" / "folder", [(HELD, Record(schedule, 1.0))])
    assert path == tmp_path / "new" / "folder" / "index.html"
    Page(path.read_text())


# Figures and axes


@pytest.mark.parametrize(
    ("at_s", "shown"), [(0.0, "0:00"), (59.6, "1:00"), (1620.0, "27:00"), (3723.0, "1:02:03")]
)
def test_clock_of_seconds_is_what_a_stopwatch_shows(at_s: float, shown: str) -> None:
    assert clock(at_s) == shown


def test_exactly_of_seconds_carries_milliseconds_over() -> None:
    assert exactly(119.9996) == "2:00.000"


def test_nodes_of_one_is_its_name_and_of_several_how_many() -> None:
    assert nodes(("worker-3",)) == "worker-3"
    assert nodes(("worker-3", "worker-4")) == "2 workers"
    assert nodes(("worker-3", "control-plane")) == "2 nodes"


@pytest.mark.parametrize(
    ("value", "end"), [(0, 1.0), (1, 1.0), (3, 5.0), (10, 10.0), (21, 25.0), (301, 500.0), (0.3, 0.5)]
)
def test_round_up_of_a_value_is_the_next_round_one(value: float, end: float) -> None:
    assert round_up(value) == pytest.approx(end)


def test_time_ticks_of_any_run_are_few() -> None:
    for end_s in (1.0, 90.0, 1620.0, 7200.0, 86_400.0):
        assert 2 <= len(time_ticks(end_s)) <= 14


def test_element_escapes_text_and_attributes_but_not_markup() -> None:
    inner = element("b", "a < b")
    assert element("p", inner, " & ", title='"x"') == '<p title="&quot;x&quot;"><b>a &lt; b</b> &amp; </p>'
