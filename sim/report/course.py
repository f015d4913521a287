"""The course of a run in one drawing: faults, how workers fared, calls a second, over one axis of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.record.record import Record, Sample
from sim.report.axes import Scale, round_up, time_axis, value_axis
from sim.report.figures import clock, count, exactly
from sim.report.lanes import lanes
from sim.report.markup import Markup, element, joined, number

_WIDTH = 1100.0
_LEFT, _RIGHT = 128.0, 1084.0
_COUNTS, _RATE = 180.0, 90.0
_TOOLTIPS = 120  # columns that tell their figures

_STATUSES: tuple[tuple[str, Callable[[Sample], int]], ...] = (
    ("unhealthy", lambda sample: sample.unhealthy),
    ("draining", lambda sample: sample.draining),
    ("healthy", lambda sample: sample.healthy),
)


def course(record: Record) -> Markup:
    """The drawing."""
    phases = record.schedule.phases
    x = Scale(0.0, phases.end_s, _LEFT, _RIGHT)
    swim, top = lanes(record.schedule.faults, x, 28.0 if record.moment is None else 44.0)
    counts_top = top + 38
    counts, counts_bottom = _counts(record, x, counts_top)
    heartbeats, bottom = _rate(record, x, counts_bottom + 52, "heartbeats", lambda sample: sample.heartbeats)
    registrations, bottom = _rate(
        record, x, bottom + 52, "registrations", lambda sample: sample.registrations
    )
    height = bottom + 26
    return element(
        "svg",
        element("title", "Faults, and what became of the workers meanwhile"),
        _phases(record, x, bottom),
        swim,
        _violation(record, x, bottom),
        _outages(record, x, counts_top, bottom),
        counts,
        heartbeats,
        registrations,
        _tooltips(record, x, counts_top, bottom),
        class_="course",
        viewBox=f"0 0 {number(_WIDTH)} {number(height)}",
        role="img",
        aria_label=_describe(record),
    )


def _describe(record: Record) -> str:
    """A description of the drawing for readers who cannot see it."""
    most = max((sample.unhealthy for sample in record.samples), default=0)
    last = record.samples[-1] if record.samples else None
    ends = f"; at the end {last.healthy} are healthy, {last.unhealthy} unhealthy" if last else ""
    return f"{len(record.schedule.faults)} faults; up to {most} workers unhealthy at once{ends}"


def _phases(record: Record, x: Scale, bottom: float) -> Markup:
    phases = record.schedule.phases
    spans = (
        ("setup", 0.0, phases.setup_s),
        ("chaos", phases.setup_s, phases.heal_s),
        ("check", phases.heal_s, phases.end_s),
    )
    parts: list[Markup] = []
    for name, begin_s, end_s in spans:
        if name == "chaos":
            width = x(end_s) - x(begin_s)
            parts.append(element("rect", class_="chaos", x=x(begin_s), y=0, width=width, height=bottom))
        if x(end_s) - x(begin_s) > 40:
            parts.append(element("text", name, class_="phase", x=x(begin_s) + 4, y=14))
    return joined(*parts)


def _outages(record: Record, x: Scale, top: float, bottom: float) -> Markup:
    parts: list[Markup] = []
    for begin_s, end_s in record.outages:
        width = max(1.5, x(end_s) - x(begin_s))
        title = element("title", f"no control plane from {exactly(begin_s)} to {exactly(end_s)}")
        parts.append(
            element("rect", title, class_="outage", x=x(begin_s), y=top, width=width, height=bottom - top)
        )
        if width > 110:
            middle = x(begin_s) + width / 2
            parts.append(
                element("text", "no control plane", class_="tick middle", x=middle, y=top + _COUNTS / 2)
            )
    return joined(*parts)


def _violation(record: Record, x: Scale, bottom: float) -> Markup:
    if record.moment is None:
        return Markup()
    at = x(record.moment.violation.at_s)
    title = element("title", f"first violation at {exactly(record.moment.violation.at_s)}")
    near_end = at > (_LEFT + _RIGHT) / 2
    return joined(
        element("line", title, class_="violated", x1=at, x2=at, y1=4, y2=bottom),
        element(
            "text",
            "first violation",
            class_="violated-name end" if near_end else "violated-name",
            x=at - 5 if near_end else at + 5,
            y=30,  # below the phases' names
        ),
    )


def _counts(record: Record, x: Scale, top: float) -> tuple[Markup, float]:
    """Draw the counts of workers, stacked: together they are all registered workers."""
    bottom = top + _COUNTS
    most = max((s.healthy + s.unhealthy + s.draining for s in record.samples), default=0)
    y = Scale(
        0.0,
        max(1.0, round_up(most)) if most != record.schedule.topology.workers else float(most),
        bottom,
        top,
    )
    floor = [0] * len(record.samples)
    areas: list[Markup] = []
    for name, figure in _STATUSES:
        ceiling = [low + figure(sample) for low, sample in zip(floor, record.samples, strict=True)]
        areas += [_area(name, run, x, y) for run in _runs(record.samples, floor, ceiling)]
        floor = ceiling
    legend = [
        joined(
            element("rect", class_=name, x=_RIGHT - 250 + 84 * index, y=top - 18, width=10, height=10),
            element("text", name, class_="tick", x=_RIGHT - 236 + 84 * index, y=top - 9),
        )
        for index, (name, _) in enumerate(reversed(_STATUSES))
    ]
    return joined(
        *areas, time_axis(x, top, bottom), value_axis(x, y, "workers, as the control plane has them"), *legend
    ), bottom


_Step = tuple[float, int, int]


def _runs(samples: Sequence[Sample], floor: Sequence[int], ceiling: Sequence[int]) -> list[list[_Step]]:
    """The stretches over which there is something, as (time, from, to)."""
    runs: list[list[_Step]] = []
    open_run: list[_Step] | None = None
    for sample, low, high in zip(samples, floor, ceiling, strict=True):
        if high > low:
            if open_run is None:
                open_run = []
                runs.append(open_run)
            open_run.append((sample.at_s, low, high))
        elif open_run is not None:
            open_run.append((sample.at_s, open_run[-1][1], open_run[-1][2]))
            open_run = None
    return runs


def _area(name: str, run: Sequence[_Step], x: Scale, y: Scale) -> Markup:
    upper = _steps([(at_s, high) for at_s, _, high in run], x, y)
    lower = _steps([(at_s, low) for at_s, low, _ in run], x, y)
    back = [f"{number(px)} {number(py)}" for px, py in reversed(lower)]
    line = [f"{number(px)} {number(py)}" for px, py in upper]
    return element("path", class_=name, d=f"M{'L'.join([*line, *back])}Z")


def _steps(points: Sequence[tuple[float, int]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """The corners of a line that keeps its height until it changes; level points are left out."""
    corners: list[tuple[float, float]] = []
    last: int | None = None
    for index, (at_s, value) in enumerate(points):
        ends = index == len(points) - 1
        if value == last and not ends:
            continue
        if last is not None and value != last:
            corners.append((x(at_s), y(last)))
        corners.append((x(at_s), y(value)))
        last = value
    return corners


def _rate(
    record: Record, x: Scale, top: float, what: str, figure: Callable[[Sample], int]
) -> tuple[Markup, float]:
    bottom = top + _RATE
    rates: list[tuple[float, float]] = []
    before_s = 0.0
    for sample in record.samples:
        if sample.at_s > before_s:
            rates.append((sample.at_s, figure(sample) / (sample.at_s - before_s)))
        before_s = sample.at_s
    most = max((rate for _, rate in rates), default=0.0)
    y = Scale(0.0, round_up(most), bottom, top)
    path = [f"M{number(x.start)} {number(y(0))}"]
    last_y = ""
    for at_s, rate in rates:
        this_y = number(y(rate))
        if this_y != last_y:
            path.append(f"V{this_y}")
        path.append(f"H{number(x(at_s))}")
        last_y = this_y
    axis = value_axis(x, y, f"{what} a second, at most {most:,.1f}")
    body = element("path", class_="rate", d="".join(_merged(path)) + f"V{number(bottom)}Z")
    return joined(body, time_axis(x, top, bottom), axis), bottom


def _merged(path: Sequence[str]) -> list[str]:
    """The path without horizontal steps that another one continues."""
    return [
        step
        for index, step in enumerate(path)
        if not (step.startswith("H") and index + 1 < len(path) and path[index + 1].startswith("H"))
    ]


def _tooltips(record: Record, x: Scale, top: float, bottom: float) -> Markup:
    every = max(1, len(record.samples) // _TOOLTIPS)
    parts: list[Markup] = []
    before_s = 0.0
    for sample in record.samples[every - 1 :: every]:
        left = x(before_s)
        state = (
            f"{count(sample.healthy)} healthy, {count(sample.unhealthy)} unhealthy, "
            f"{count(sample.draining)} draining"
            if sample.up
            else "no control plane"
        )
        parts.append(
            element(
                "rect",
                element("title", f"{clock(sample.at_s)}: {state}"),
                x=left,
                y=top,
                width=x(sample.at_s) - left,
                height=bottom - top,
            )
        )
        before_s = sample.at_s
    return element("g", *parts, class_="tips")
