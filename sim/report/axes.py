"""Scales of charts: they map values to coordinates and choose the values to name."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.report.figures import clock
from sim.report.markup import Markup, element, joined

_TIME_STEPS_S = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14_400,
    21_600,
    43_200,
    86_400,
)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` onto coordinates from `start` to `end`, which may run backwards."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def round_up(value: float) -> float:
    """The end of an axis for values up to `value`: 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def time_ticks(end_s: float, most: int = 12) -> list[float]:
    """The moments to name on an axis, from 0."""
    step_s = next((step for step in _TIME_STEPS_S if end_s / step <= most), _TIME_STEPS_S[-1])
    return [float(at_s) for at_s in range(0, math.floor(end_s) + 1, step_s)]


def time_axis(x: Scale, top: float, bottom: float, *, named: bool = True) -> Markup:
    """Lines through a chart of virtual time, with their times under it."""
    parts = []
    for at_s in time_ticks(x.high):
        parts.append(element("line", class_="grid", x1=x(at_s), x2=x(at_s), y1=top, y2=bottom))
        if named:
            parts.append(element("text", clock(at_s), class_="tick middle", x=x(at_s), y=bottom + 15))
    return joined(*parts)


def value_axis(x: Scale, y: Scale, label: str) -> Markup:
    """Lines at 0, half and the end of `y`, named at their left, with what they count."""
    left, right = x.start, x.end
    parts = []
    middle = (y.low + y.high) / 2
    for value in (y.low, middle, y.high) if y.high > 1 else (y.low, y.high):
        parts.append(element("line", class_="grid", x1=left, x2=right, y1=y(value), y2=y(value)))
        shown = f"{value:,.0f}" if value == int(value) else f"{value:g}"
        parts.append(element("text", shown, class_="tick end", x=left - 6, y=y(value) + 4))
    parts.append(element("text", label, class_="label halo", x=left, y=y(y.high) - 8))
    return joined(*parts)
