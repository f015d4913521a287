"""The section of the page about one run."""

from __future__ import annotations

from collections.abc import Sequence

from sim.record.record import Record
from sim.report.course import course
from sim.report.figures import clock, count, exactly, of, seconds, times
from sim.report.histogram import histogram
from sim.report.markup import Markup, Part, element, joined
from sim.report.spacetime import spacetime
from sim.verdict.goals import GOALS
from sim.verdict.outcome import Outcome, Quantiles, Violation
from sim.verdict.promises import PROMISES

_VIOLATIONS = 10  # in words; the rest are counted


def run_section(outcome: Outcome, record: Record, anchor: str) -> Markup:
    """The section; `anchor` is its id."""
    verdict = element("span", outcome.verdict.value, class_=f"verdict {outcome.verdict.value}")
    timers = record.schedule.topology.timers
    timeout_s = timers.heartbeat_timeout_s
    return element(
        "section",
        element("h2", f"{outcome.scenario}, seed {outcome.seed} ", verdict),
        element("pre", element("code", outcome.command)) if outcome.command else None,
        _inconclusive(outcome),
        _facts(outcome, record),
        _violations(outcome),
        element("h3", "What happened"),
        course(record),
        element("h3", "Messages around the first violation"),
        _legend() if record.moment is not None else None,
        spacetime(record),
        element("h3", "Detection and recovery"),
        element(
            "div",
            histogram("detections", record.detection_s, outcome.detection_seconds, ("timeout", timeout_s)),
            histogram(
                "recoveries",
                record.recovery_s,
                outcome.recovery_seconds,
                ("interval", timers.heartbeat_interval_s),
            ),
            class_="beside",
        ),
        element("h3", "Promises"),
        _promises(outcome),
        element("h3", "Probes: what has to happen for a run to show anything"),
        _goals(outcome, record),
        class_="run",
        id=anchor,
    )


def _inconclusive(outcome: Outcome) -> Markup | None:
    if not outcome.missed_goals:
        return None
    return element("p", f"Never happened, though this run is about it: {', '.join(outcome.missed_goals)}.")


def _facts(outcome: Outcome, record: Record) -> Markup:
    topology = record.schedule.topology
    timers = topology.timers
    messages = outcome.messages
    real = f"{seconds(outcome.wall_seconds)} real, {times(outcome.speed)}" if outcome.wall_seconds else ""
    facts = (
        ("Workers", count(outcome.workers), f"in {of(len(topology.zones), 'zone')}"),
        ("Virtual time", clock(outcome.virtual_seconds), real),
        (
            "Heartbeats",
            count(outcome.heartbeats),
            f"each {timers.heartbeat_interval_s:g} s, timeout {timers.heartbeat_timeout_s:g} s",
        ),
        (
            "Registrations",
            count(outcome.registrations),
            f"at most {count(outcome.peak_registrations_per_second)} attempts a second",
        ),
        (
            f"Messages, depth {outcome.depth}",
            f"{count(messages.sent)} sent",
            f"{count(messages.dropped)} lost, {count(messages.duplicated)} doubled",
        ),
        ("Detection", *_quantiles(outcome.detection_seconds)),
        ("Recovery", *_quantiles(outcome.recovery_seconds)),
        ("False positives", count(outcome.false_positives), "live workers declared UNHEALTHY"),
        ("Checks", count(sum(outcome.checks.values())), f"of {of(len(outcome.checks), 'promise')}"),
        ("Trace", element("code", outcome.trace_hash[:12] or "–"), "hash of every event"),
    )
    return element("dl", *(_fact(name, value, more) for name, value, more in facts), class_="facts")


def _fact(name: str, value: Part, more: str) -> Markup:
    small = element("small", more) if more else None
    return element("div", element("dt", name), element("dd", value, small))


def _quantiles(quantiles: Quantiles) -> tuple[str, str]:
    if not quantiles.count:
        return "–", "there was none"
    return f"p99 {seconds(quantiles.p99)}", f"p50 {seconds(quantiles.p50)}, {of(quantiles.count, 'time')}"


def _violations(outcome: Outcome) -> Markup | None:
    if not outcome.violations:
        return None
    total = max(outcome.violations_total, len(outcome.violations))
    left = total - len(outcome.violations[:_VIOLATIONS])
    first, *others = outcome.violations[:_VIOLATIONS]
    more = element("p", f"and {count(left)} more", class_="dim") if left else None
    return joined(
        element("h3", of(total, "violation")),
        element("div", _violated(first), element("p", first.text), _context(first), class_="violation"),
        *(
            element(
                "details",
                element("summary", _violated(violation)),
                element("p", violation.text),
                _context(violation),
                class_="violation",
            )
            for violation in others
        ),
        more,
    )


def _violated(violation: Violation) -> Markup:
    what = element("b", violation.promise, class_="broken")
    return joined(what, f" at {exactly(violation.at_s)}, {violation.node}")


def _context(violation: Violation) -> Markup | None:
    return element("pre", "\n".join(violation.context)) if violation.context else None


def _promises(outcome: Outcome) -> Markup:
    texts = {str(promise): promise.text for promise in PROMISES}
    broken: dict[str, int] = {}
    for violation in outcome.violations:
        broken[violation.promise] = broken.get(violation.promise, 0) + 1
    rows = []
    for name in dict.fromkeys([*texts, *outcome.checks, *broken]):
        times_broken, times_checked = broken.get(name, 0), outcome.checks.get(name, 0)
        if times_broken:
            state = element("b", f"broken, {of(times_broken, 'time')}", class_="broken")
        else:
            state = element(
                "span", "held" if times_checked else "not checked", class_="held" if times_checked else "dim"
            )
        rows.append((name, texts.get(name, ""), count(times_checked), state))
    return _table(("Promise", "", "Checked", "Verdict"), rows)


def _goals(outcome: Outcome, record: Record) -> Markup:
    wanted = record.schedule.probes
    rows: list[tuple[Part, ...]] = []
    for name in dict.fromkeys([*wanted, *outcome.missed_goals, *outcome.goals]):
        hits = outcome.goals.get(name, 0)
        missed = name in outcome.missed_goals
        state = element("b", "never", class_="inconclusive") if missed else None
        rows.append((name, GOALS.get(name, ""), count(hits), state or ("required" if name in wanted else "")))
    if not rows:
        return element("p", "None was hit, and none was asked for.", class_="empty")
    return _table(("Probe", "", "Hit", ""), rows)


def _table(headings: tuple[str, ...], rows: Sequence[tuple[Part, ...]]) -> Markup:
    classes = ("name", None, "number", "name")
    return element(
        "div",
        element(
            "table",
            element(
                "thead",
                element(
                    "tr",
                    *(
                        element("th", heading, scope="col", class_=class_ if class_ == "number" else None)
                        for heading, class_ in zip(headings, classes, strict=True)
                    ),
                ),
            ),
            element(
                "tbody",
                *(
                    element(
                        "tr",
                        *(
                            element("td", cell, class_=class_)
                            for cell, class_ in zip(row, classes, strict=True)
                        ),
                    )
                    for row in rows
                ),
            ),
        ),
        class_="scroll",
    )


def _legend() -> Markup:
    return element(
        "p",
        "Time runs down and is not to scale. Each arrow is a message; one that ends in ✕ has not arrived. "
        "A thick line is a fault of that node.",
        class_="dim",
    )
