"""A histogram of durations, as a drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sim.report.axes import Scale, round_up, value_axis
from sim.report.figures import count, of, seconds
from sim.report.markup import Markup, element, joined, number
from sim.verdict.outcome import Quantiles

_WIDTH, _HEIGHT = 530.0, 236.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 512.0, 64.0, 196.0
_BINS = 32


def histogram(
    name: str, durations_s: Sequence[float], quantiles: Quantiles, bound: tuple[str, float]
) -> Markup:
    """Draw `durations_s`, with their quantiles and a line at `bound`, a name and seconds."""
    if not durations_s:
        return element("p", f"No {name} was to be measured.", class_="empty")
    low = min(*durations_s, bound[1])
    high = max(*durations_s, bound[1])
    pad = max((high - low) * 0.05, high * 0.002, 0.001)
    x = Scale(max(0.0, low - pad), high + pad, _LEFT, _RIGHT)
    width_s = (x.high - x.low) / _BINS
    bins = [0] * _BINS
    for duration_s in durations_s:
        bins[min(_BINS - 1, int((duration_s - x.low) / width_s))] += 1
    y = Scale(0.0, round_up(max(bins)), _BOTTOM, _TOP)
    bars = [_bar(x, y, x.low + index * width_s, width_s, times) for index, times in enumerate(bins) if times]
    step_s = round_up((x.high - x.low) / 6)
    first = math.ceil(x.low / step_s)
    ticks = [
        element("text", f"{index * step_s:g} s", class_="tick middle", x=x(index * step_s), y=_BOTTOM + 15)
        for index in range(first, math.floor(x.high / step_s) + 1)
    ]
    figures = f"p50 {seconds(quantiles.p50)}, p95 {seconds(quantiles.p95)}, p99 {seconds(quantiles.p99)}, "
    figures += f"worst {seconds(quantiles.max)}"
    return element(
        "svg",
        element("title", f"{name.capitalize()}: {of(len(durations_s), 'time')}, {figures}"),
        element("text", f"{name}, {count(len(durations_s))} of them", class_="label", x=_LEFT, y=16),
        value_axis(x, y, ""),
        *bars,
        _line(x, quantiles.p50, "p50", "quantile", 24),
        _line(x, quantiles.p99, "p99", "quantile", 36),
        _line(x, bound[1], bound[0], "bound", 48),
        *ticks,
        element("text", figures, class_="tick", x=_LEFT, y=_BOTTOM + 32),
        class_="histogram",
        viewBox=f"0 0 {number(_WIDTH)} {number(_HEIGHT)}",
        role="img",
        aria_label=f"{name}: {figures}",
    )


def _bar(x: Scale, y: Scale, from_s: float, width_s: float, times: int) -> Markup:
    title = element("title", f"{seconds(from_s)} to {seconds(from_s + width_s)}: {of(times, 'time')}")
    top = min(y(times), _BOTTOM - 1.5)  # what happened once is to be seen beside what happened often
    left = x(from_s)
    return element(
        "rect",
        title,
        class_="bar",
        x=left + 0.5,
        y=top,
        width=x(from_s + width_s) - left - 1,
        height=_BOTTOM - top,
    )


def _line(x: Scale, at_s: float, name: str, class_: str, top: float) -> Markup:
    near_end = x(at_s) > _RIGHT - 60
    return joined(
        element("line", class_=class_, x1=x(at_s), x2=x(at_s), y1=top, y2=_BOTTOM),
        element(
            "text",
            name,
            class_=f"tick halo{' end' if near_end else ''}",
            x=x(at_s) + (-4 if near_end else 4),
            y=top + 8,
        ),
    )
