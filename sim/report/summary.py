"""The summary at the end, for a person."""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.cli.text import Paint, clean, table
from sim.report.figures import clock, count, exactly, of, seconds, times
from sim.verdict.outcome import Outcome, Quantiles, Verdict, Violation

_STYLES = {Verdict.HELD: "green", Verdict.BROKEN: "red", Verdict.INCONCLUSIVE: "yellow"}
_SHOWN_VIOLATIONS = 3
_SHOWN_CONTEXT = 5
_SHOWN_RUNS = 20  # one line each; beyond that, those that held are only counted
_IN_FULL = 3


def summary(outcomes: Sequence[Outcome], paint: Paint) -> list[str]:
    """Lines about these runs, the verdict on all of them last."""
    lines: list[str] = []
    if len(outcomes) <= _IN_FULL:
        for outcome in outcomes:
            lines += [*_figures(outcome, paint), *_troubles(outcome, paint), ""]
    else:
        lines += [*_overview(outcomes, paint), ""]
        troubled = [outcome for outcome in outcomes if outcome.verdict is not Verdict.HELD]
        for outcome in troubled[:_IN_FULL]:
            lines += [_headline(outcome, paint), *_troubles(outcome, paint), ""]
        if len(troubled) > _IN_FULL:
            lines += [f"and {of(len(troubled) - _IN_FULL, 'more run')} like these", ""]
    return [*lines, _conclusion(outcomes, paint)]


def _headline(outcome: Outcome, paint: Paint) -> str:
    verdict = paint(outcome.verdict.value.upper(), _STYLES[outcome.verdict])
    depth = "" if outcome.depth == "messages" else f", depth {outcome.depth}"
    workers = of(outcome.workers, "worker")
    return f"{paint(clean(outcome.scenario), 'bold')}  seed {outcome.seed}, {workers}{depth}  {verdict}"


def _figures(outcome: Outcome, paint: Paint) -> list[str]:
    messages = outcome.messages
    speed = f" in {seconds(outcome.wall_seconds)}, {times(outcome.speed)} real time" if outcome.speed else ""
    checks = sum(outcome.checks.values())
    rows = [
        ("time", f"{clock(outcome.virtual_seconds)} virtual{speed}"),
        (
            "calls",
            f"{of(outcome.heartbeats, 'heartbeat')}, {of(outcome.registrations, 'registration')}, "
            f"at most {count(outcome.peak_registrations_per_second)} a second",
        ),
        (
            "messages",
            f"{count(messages.sent)} sent, {count(messages.dropped)} lost, "
            f"{count(messages.duplicated)} doubled",
        ),
        ("detection", _quantiles(outcome.detection_seconds)),
        ("recovery", _quantiles(outcome.recovery_seconds)),
        (
            "oracle",
            f"{of(checks, 'check')} of {of(len(outcome.checks), 'promise')}, "
            f"{of(outcome.false_positives, 'false positive')}",
        ),
    ]
    return [_headline(outcome, paint), *(f"  {paint(name.ljust(9), 'dim')}  {text}" for name, text in rows)]


def _quantiles(quantiles: Quantiles) -> str:
    if not quantiles.count:
        return "none"
    return (
        f"p50 {seconds(quantiles.p50)}, p99 {seconds(quantiles.p99)}, worst {seconds(quantiles.max)}, "
        f"{of(quantiles.count, 'time')}"
    )


def _troubles(outcome: Outcome, paint: Paint) -> list[str]:
    """The violations, the coverage goals that were missed, and the command that repeats the run."""
    lines: list[str] = []
    for violation in outcome.violations[:_SHOWN_VIOLATIONS]:
        lines += _violation(violation, paint)
    total = max(outcome.violations_total, len(outcome.violations))
    if total > _SHOWN_VIOLATIONS:
        lines.append(f"  and {of(total - _SHOWN_VIOLATIONS, 'more violation')}")
    if outcome.missed_goals:
        missed = ", ".join(outcome.missed_goals)
        lines.append(f"  {paint('never happened', 'yellow')}, so this run shows little: {missed}")
    if outcome.command:
        lines.append(f"  {paint('again with', 'dim')}  {outcome.command}")
    return lines


def _violation(violation: Violation, paint: Paint) -> list[str]:
    at = exactly(violation.at_s)
    promise = paint(f"broken: {clean(violation.promise)}", "red")
    return [
        f"  {promise}  at {at}, {clean(violation.node)}",
        f"    {clean(violation.text)}",
        *(paint(f"      {clean(line)}", "dim") for line in violation.context[-_SHOWN_CONTEXT:]),
    ]


def _overview(outcomes: Sequence[Outcome], paint: Paint) -> list[str]:
    shown = outcomes
    left = 0
    if len(outcomes) > _SHOWN_RUNS:
        shown = [outcome for outcome in outcomes if outcome.verdict is not Verdict.HELD][:_SHOWN_RUNS]
        left = len(outcomes) - len(shown)
    headings = (
        "SCENARIO",
        "SEED",
        "WORKERS",
        "VIRTUAL",
        "HEARTBEATS",
        "DETECTION P99",
        "RECOVERY P99",
        "VERDICT",
    )
    rows = [
        (
            clean(outcome.scenario),
            str(outcome.seed),
            count(outcome.workers),
            clock(outcome.virtual_seconds),
            count(outcome.heartbeats),
            seconds(outcome.detection_seconds.p99) if outcome.detection_seconds.count else "-",
            seconds(outcome.recovery_seconds.p99) if outcome.recovery_seconds.count else "-",
            outcome.verdict.value,
        )
        for outcome in shown
    ]
    styles = [("",) * 7 + (_STYLES[outcome.verdict],) for outcome in shown]
    lines = table(headings, rows, paint, right=headings[1:7], styles=styles) if rows else []
    return [*lines, f"{of(left, 'run')} not listed"] if left else lines


def _conclusion(outcomes: Sequence[Outcome], paint: Paint) -> str:
    by_verdict = {verdict: sum(outcome.verdict is verdict for outcome in outcomes) for verdict in Verdict}
    worst = next((one for one in (Verdict.BROKEN, Verdict.INCONCLUSIVE) if by_verdict[one]), Verdict.HELD)
    virtual_s = sum(outcome.virtual_seconds for outcome in outcomes)
    heartbeats = sum(outcome.heartbeats for outcome in outcomes)
    numbers = ", ".join(f"{number} {verdict}" for verdict, number in by_verdict.items() if number)
    text = f"{of(len(outcomes), 'run')}: {numbers}"
    return f"{paint(text, _STYLES[worst])}  ({clock(virtual_s)} virtual, {of(heartbeats, 'heartbeat')})"
