"""The output of a run against a real control plane: progress, a summary at its end, and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TextIO

import msgspec

from minicloud.cli.text import clean
from sim.real.fleet import Moment
from sim.real.outcome import Load, RealOutcome
from sim.report.figures import clock
from sim.report.status_line import StatusLine
from sim.verdict.outcome import Quantiles

_LINES_EVERY_S = 10.0  # where there is no terminal
_SHOWN_VIOLATIONS = 5


class Progress:
    """Shows one line about a run: kept up to date on a terminal, a new line at intervals elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._status = StatusLine(stream)
        self._due_s = 0.0

    def __call__(self, moment: Moment) -> None:
        if self._status.possible:
            self._status.draw(_line(moment))
        elif moment.elapsed_s >= self._due_s:
            self._due_s = moment.elapsed_s + _LINES_EVERY_S
            self._stream.write(f"{_line(moment)}\n")
            self._stream.flush()

    def done(self) -> None:
        self._status.wipe()


def _line(moment: Moment) -> str:
    what = "leaving" if moment.leaving else ", ".join(moment.faults)
    return (
        f"{clock(moment.elapsed_s)}/{clock(moment.end_s)}  "
        f"{moment.registered:,} of {moment.workers:,} registered  "
        f"{moment.heartbeats_per_second:,.0f} heartbeats/s  "
        f"p50 {_ms(moment.p50_s)}  p99 {_ms(moment.p99_s)}  {moment.errors:,} errors"
        + (f"  {moment.violations:,} BROKEN" if moment.violations else "")
        + (f"  [{what}]" if what else "")
    )


def summary(outcome: RealOutcome) -> str:
    """A summary for a person."""
    return "\n".join(_summary(outcome))


def to_json(outcome: RealOutcome) -> bytes:
    """The figures as one JSON object."""
    document = {**asdict(outcome), "held": outcome.held}
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _summary(outcome: RealOutcome) -> Iterator[str]:
    verdict = "held" if outcome.held else "BROKEN"
    if outcome.interrupted:
        verdict += ", interrupted"
    yield (
        f"{outcome.scenario} against {outcome.target}: {verdict}. {outcome.workers:,} workers, "
        f"{outcome.wall_seconds:.0f} s"
    )
    yield (
        f"  registered     {outcome.registered:,} of {outcome.expected:,} at the end; "
        f"{outcome.registrations:,} registrations, at most {outcome.peak_registrations_per_second:,} a second"
    )
    yield (
        f"  heartbeats     {outcome.heartbeats:,} acknowledged, "
        f"{outcome.heartbeats_per_second:,.1f} a second after the ramp"
    )
    yield f"  connections    {outcome.connections:,} made, {outcome.connection_failures:,} failed"
    for method, latency in outcome.latency_seconds.items():
        if latency.count:
            yield f"  {method:<15}{_latency(latency)}"
    yield from _errors(outcome)
    if outcome.control_plane_load is not None:
        yield f"  control plane  {_load(outcome.control_plane_load)}"
    if outcome.own_load is not None:
        yield f"  this process   {_load(outcome.own_load)}"
    if outcome.left_registered:
        yield f"  {outcome.left_registered:,} workers could not be deregistered: they become UNHEALTHY"
    for violation in outcome.violations[:_SHOWN_VIOLATIONS]:
        text = clean(violation.text)
        yield f"  BROKEN at {violation.at_s:.1f} s: {violation.promise}: {violation.node} {text}"
    if (more := outcome.violations_total - _SHOWN_VIOLATIONS) > 0:
        yield f"  and {more:,} more"


def _errors(outcome: RealOutcome) -> Iterator[str]:
    if not outcome.errors:
        yield "  errors         none"
    for method, errors in outcome.errors.items():
        unexpected = outcome.unexpected_errors.get(method, {})
        for status, number in errors.items():
            explained = number - unexpected.get(status, 0)
            tail = f", {explained:,} of them explained by faults" if explained else ""
            yield f"  errors         {number:,} {clean(status)} of {method}{tail}"


def _latency(latency: Quantiles) -> str:
    return (
        f"p50 {_ms(latency.p50)}  p95 {_ms(latency.p95)}  p99 {_ms(latency.p99)}  slowest {_ms(latency.max)}"
    )


def _load(load: Load) -> str:
    return (
        f"{load.cpu_while_starting:.0%} of a processor while workers started, {load.cpu_afterwards:.0%} "
        f"afterwards; {load.peak_rss_mb:,.0f} MiB at most"
    )


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
