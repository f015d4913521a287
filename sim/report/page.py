"""One HTML page about runs, without scripts and external files.

Always holds: the same runs give the same page, except for the real seconds that they took
(tests/sim/test_report.py).
"""

from __future__ import annotations

import platform
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import trio

from minicloud import __version__
from sim.record.record import Record
from sim.report.figures import clock, count, of, seconds
from sim.report.markup import Markup, Part, element, joined
from sim.report.run_section import run_section
from sim.verdict.outcome import Outcome, Verdict

# Read now: a run may take hours, after which the executable's folder may have been cleaned up.
_CSS = (files("sim.report") / "page.css").read_text(encoding="utf-8")
_MOST_IN_FULL = 20  # a run takes some 100 KB

Run = tuple[Outcome, Record]


def write_report(folder: Path, runs: Sequence[Run], *, whole: bool = True) -> Path:
    """Write `index.html` into `folder`, which is made if it is missing; return its path.

    The page shows that the runs were interrupted unless these are the `whole` of them. Raises `OSError` if it
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(page(runs, whole=whole), encoding="utf-8", errors="backslashreplace")
    return path


def page(runs: Sequence[Run], *, whole: bool = True) -> str:
    """The page."""
    css = _CSS
    digest = b64encode(sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    shown = _in_full(runs)
    names = ", ".join(dict.fromkeys(outcome.scenario for outcome, _ in runs))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{names}: MiniCloud, simulated"),
        Markup(f"<style>{css}</style>"),
    )
    body = element(
        "body",
        element("h1", "MiniCloud, simulated"),
        element(
            "p", _describe(runs) + ("" if whole else " Interrupted: there were more to run."), class_="dim"
        ),
        _overview(runs, shown) if len(runs) > 1 else None,
        *(run_section(outcome, record, f"run-{number}") for number, (outcome, record) in shown.items()),
        _footer(),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _in_full(runs: Sequence[Run]) -> dict[int, Run]:
    """The runs that are shown in full, by number: runs that did not hold have priority."""
    order = sorted(range(len(runs)), key=lambda number: (runs[number][0].verdict is Verdict.HELD, number))
    return {number: runs[number] for number in sorted(order[:_MOST_IN_FULL])}


def _describe(runs: Sequence[Run]) -> str:
    outcomes = [outcome for outcome, _ in runs]
    virtual_s = sum(outcome.virtual_seconds for outcome in outcomes)
    described = [
        f"{sum(outcome.verdict is verdict for outcome in outcomes)} {verdict}"
        for verdict in Verdict
        if any(outcome.verdict is verdict for outcome in outcomes)
    ]
    heartbeats = of(sum(outcome.heartbeats for outcome in outcomes), "heartbeat")
    return (
        f"{of(len(runs), 'run')}, {', '.join(described)}; {clock(virtual_s)} of virtual time, {heartbeats}."
    )


def _overview(runs: Sequence[Run], shown: dict[int, Run]) -> Markup:
    headings = (
        "Scenario", "Seed", "Workers", "Virtual time", "Heartbeats", "Detection p99", "Recovery p99",
        "False positives", "Violations", "Verdict",
    )  # fmt: skip
    rows = []
    for number, (outcome, _) in enumerate(runs):
        name: Part = outcome.scenario
        if number in shown:
            name = element("a", outcome.scenario, href=f"#run-{number}")
        figures = (
            str(outcome.seed),
            count(outcome.workers),
            clock(outcome.virtual_seconds),
            count(outcome.heartbeats),
            seconds(outcome.detection_seconds.p99) if outcome.detection_seconds.count else "–",
            seconds(outcome.recovery_seconds.p99) if outcome.recovery_seconds.count else "–",
            count(outcome.false_positives),
            count(max(outcome.violations_total, len(outcome.violations))),
        )
        rows.append(
            element(
                "tr",
                element("td", name, class_="name"),
                *(element("td", figure, class_="number") for figure in figures),
                element("td", element("b", outcome.verdict.value, class_=outcome.verdict.value)),
            )
        )
    head = [
        element("th", heading, scope="col", class_="number" if 0 < index < len(headings) - 1 else None)
        for index, heading in enumerate(headings)
    ]
    left = len(runs) - len(shown)
    note = element("p", f"{of(left, 'run')} without details below.", class_="dim") if left else None
    table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return joined(element("div", table, class_="scroll"), note)


def _footer() -> Markup:
    versions = f"minicloud {__version__}, Python {platform.python_version()}, Trio {trio.__version__}"
    return element("footer", f"Written by minicloud-sim: {versions}.")
