"""Swim lanes: the times and nodes of the faults of a run, a lane for each kind."""

from __future__ import annotations

from collections.abc import Sequence

from sim.faults.schedule import Fault
from sim.report.axes import Scale
from sim.report.figures import clock, count, exactly, nodes, of, seconds
from sim.report.markup import Markup, element, joined, number

_ROW = 20.0
_GAP = 6.0
_MOST_ROWS, _MOST_BARS = 4, 60
_NAMED_NODES = 6


def lanes(faults: Sequence[Fault], x: Scale, top: float) -> tuple[Markup, float]:
    """Draw the lanes from `top` on; return the drawing and where it ends."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault)
    parts: list[Markup] = []
    y = top
    for kind, those in kinds.items():
        rows = _rows(those)
        crowded = len(rows) > _MOST_ROWS or len(those) > _MOST_BARS
        height = 1.6 * _ROW if crowded else len(rows) * _ROW
        parts.append(element("rect", class_="lane", x=x.start, y=y, width=x.end - x.start, height=height))
        parts.append(element("text", kind, class_="lane-name end", x=x.start - 6, y=y + 14))
        if crowded:
            parts.append(_crowd(kind, those, x, y, height))
        else:
            parts += [_bar(fault, x, y + row * _ROW) for row, bars in enumerate(rows) for fault in bars]
        y += height + _GAP
    return joined(*parts), y


def _rows(faults: Sequence[Fault]) -> list[list[Fault]]:
    """Put each fault into the first row that is free when it begins."""
    rows: list[list[Fault]] = []
    for fault in sorted(faults, key=lambda fault: fault.at_s):
        free = next((row for row in rows if row[-1].end_s < fault.at_s), None)
        if free is None:
            rows.append([fault])
        else:
            free.append(fault)
    return rows


def _bar(fault: Fault, x: Scale, y: float) -> Markup:
    left = x(fault.at_s)
    title = element("title", _describe(fault))
    if not fault.for_s:
        points = [(left, y + 3), (left + 6, y + 10), (left, y + 17), (left - 6, y + 10)]
        shape = " ".join(f"{number(px)},{number(py)}" for px, py in points)
        return element("polygon", title, class_="moment", points=shape)
    width = max(2.0, x(min(fault.end_s, x.high)) - left)
    bar = element("rect", title, class_="fault", x=left, y=y + 2, width=width, height=_ROW - 4, rx=2)
    text = nodes(fault.nodes)
    if width < 7 * len(text) + 8:
        return bar
    return joined(bar, element("text", text, class_="on-fault", x=left + 5, y=y + 14))


def _crowd(kind: str, faults: Sequence[Fault], x: Scale, y: float, height: float) -> Markup:
    """Draw the number of nodes that a kind is on, where single bars could not be told apart."""
    least_s = (x.high - x.low) / (x.end - x.start)  # what is over at once is a column wide
    changes = sorted(
        [(fault.at_s, len(fault.nodes)) for fault in faults]
        + [(max(fault.end_s, fault.at_s + least_s), -len(fault.nodes)) for fault in faults]
    )
    columns: dict[int, int] = {}  # the most in each column in which something changes
    level = most = 0
    for at_s, by in changes:
        column = int(x(min(at_s, x.high)))
        columns[column] = max(columns.get(column, level), level + by)
        level += by
        columns[column + 1] = level
        most = max(most, level)
    bottom = y + height
    path = [f"M{number(x.start)} {number(bottom)}"]
    path += [
        f"H{column}V{number(bottom - columns[column] / most * (height - 4))}" for column in sorted(columns)
    ]
    first_s, last_s = faults[0].at_s, max(fault.end_s for fault in faults)
    text = f"{of(len(faults), 'time')}, up to {count(most)} at once"
    title = f"{kind}, {clock(first_s)} to {clock(last_s)}: {text}"
    return joined(
        element("path", element("title", title), class_="fault", d="".join(path) + "Z"),
        element("text", text, class_="tick end halo", x=x.end - 4, y=y + 13),
    )


def _describe(fault: Fault) -> str:
    named = ", ".join(fault.nodes[:_NAMED_NODES])
    more = f" and {len(fault.nodes) - _NAMED_NODES} more" if len(fault.nodes) > _NAMED_NODES else ""
    options = "".join(f", {name} {value}" for name, value in fault.options.items())
    until = f" to {exactly(fault.end_s)} ({seconds(fault.for_s)})" if fault.for_s else ""
    return f"{fault.kind} on {named}{more}, {exactly(fault.at_s)}{until}{options}"
