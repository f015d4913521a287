"""A space-time diagram: nodes as lines that run down, calls as arrows between them, around a violation.

Time is not to scale, so that calls within a millisecond and silences of half a minute both are visible. Rows
keep their order, and long gaps are labelled.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from grpclib.const import Status

from sim.net.exchanges import Exchange
from sim.record.record import Mark, Record
from sim.report.axes import Scale
from sim.report.figures import exactly, seconds
from sim.report.markup import Markup, element, joined, number

_WIDTH = 1100.0
_SERVER, _FIRST, _LAST = 360.0, 660.0, 1020.0  # columns: the control plane's, and those of workers
_TOP = 56.0
_ROW, _LONGEST_GAP = 13.0, 44.0
_LINE = 13.0  # between texts of one moment

_Interval = tuple[float, float, str]


def spacetime(record: Record) -> Markup:
    """The diagram of the record's moment, or a line with the reason why there is none."""
    moment = record.moment
    if moment is None:
        return element("p", "No promise was broken.", class_="empty")
    servers = list(dict.fromkeys(exchange.server for exchange in moment.exchanges)) or ["control-plane"]
    clients = list(dict.fromkeys(exchange.client for exchange in moment.exchanges))
    columns = {name: _SERVER - 90 * index for index, name in enumerate(servers)}
    for index, name in enumerate(clients):
        columns[name] = _FIRST + (_LAST - _FIRST) / max(1, len(clients) - 1) * index
    marks = [mark for mark in moment.marks if mark.node in columns]
    rows = _Rows(moment.exchanges, marks, moment.violation.at_s)
    bottom = rows.bottom + 24
    violated_y = rows(moment.violation.at_s)
    return element(
        "svg",
        element("title", "Messages around the first violation"),
        *(_lifeline(record, name, at, rows, bottom) for name, at in columns.items()),
        rows.labels(),
        element("line", class_="violated", x1=84, x2=_WIDTH, y1=violated_y, y2=violated_y),
        element(
            "text",
            f"violated: {moment.violation.promise}",
            class_="violated-name halo",
            x=_FIRST + 12,
            y=violated_y - 4,
        ),
        *(_exchange(exchange, columns, rows) for exchange in moment.exchanges),
        *_marks(marks, columns, rows, frozenset(servers)),
        class_="spacetime",
        viewBox=f"0 0 {number(_WIDTH)} {number(bottom + 8)}",
        role="img",
        aria_label=f"{len(moment.exchanges)} calls between {', '.join(columns)}",
    )


class _Rows:
    """Maps moments to heights."""

    def __init__(self, exchanges: Sequence[Exchange], marks: Sequence[Mark], violated_s: float) -> None:
        moments = {violated_s, *(mark.at_s for mark in marks), *(exchange.sent_s for exchange in exchanges)}
        for exchange in exchanges:
            moments.update(at_s for _, at_s in exchange.steps)
        crowd: dict[tuple[float, str], int] = {}
        for mark in marks:
            crowd[mark.at_s, mark.node] = crowd.get((mark.at_s, mark.node), 0) + 1
        self._moments = sorted(moments)
        self._heights: list[float] = []
        y = _TOP
        for index, at_s in enumerate(self._moments):
            if index:
                gap_ms = (at_s - self._moments[index - 1]) * 1000
                y += min(_LONGEST_GAP, _ROW + 5 * math.log10(1 + gap_ms / 5))
            self._heights.append(y)
            texts = max((times for (when_s, _), times in crowd.items() if when_s == at_s), default=0)
            y += max(0, texts - 1) * _LINE
        self.bottom = y

    def __call__(self, at_s: float) -> float:
        """The height of any moment; between two that have one, in proportion."""
        index = bisect_left(self._moments, at_s)
        if index == len(self._moments):
            return self.bottom + 16
        if self._moments[index] == at_s or index == 0:
            return self._heights[index] if self._moments[index] == at_s else _TOP - 16
        between = Scale(
            self._moments[index - 1], self._moments[index], self._heights[index - 1], self._heights[index]
        )
        return between(at_s)

    def labels(self) -> Markup:
        """The times of rows at the left, and how long the gaps are."""
        parts: list[Markup] = []
        last_y = -math.inf
        for index, (at_s, y) in enumerate(zip(self._moments, self._heights, strict=True)):
            if index:
                gap_s = at_s - self._moments[index - 1]
                if gap_s >= 1.0:
                    middle = (y + self._heights[index - 1]) / 2 + 3
                    parts.append(element("text", f"⋮ {seconds(gap_s)}", class_="gap end", x=74, y=middle))
            if y - last_y >= 12:
                parts.append(element("text", exactly(at_s), class_="tick end", x=74, y=y + 4))
                last_y = y
        return joined(*parts)


def _lifeline(record: Record, name: str, at: float, rows: _Rows, bottom: float) -> Markup:
    parts = [
        element("text", name, class_="node middle", x=at, y=22),
        element("line", class_="life", x1=at, x2=at, y1=32, y2=bottom),
    ]
    for fault in record.schedule.faults:
        begin_y, end_y = max(36.0, rows(fault.at_s)), min(bottom, rows(fault.end_s))
        if name in fault.nodes and fault.for_s and end_y - begin_y > 1 and begin_y < bottom:
            title = element("title", f"{fault.kind}, {exactly(fault.at_s)} to {exactly(fault.end_s)}")
            parts.append(
                element(
                    "rect", title, class_="trouble", x=at - 5, y=begin_y, width=10, height=end_y - begin_y
                )
            )
    return joined(*parts)


def _exchange(exchange: Exchange, columns: dict[str, float], rows: _Rows) -> Markup:
    client, server = columns[exchange.client], columns[exchange.server]
    _, _, name = exchange.route.rpartition("/")  # of its service
    steps = exchange.steps
    arrived = [at_s for step, at_s in steps if step == "arrived"]
    answered = [at_s for step, at_s in steps if step == "answered"]
    returned = [at_s for step, at_s in steps if step == "returned"]
    parts = [_arrow(client, server, rows(exchange.sent_s), [rows(at_s) for at_s in arrived], name)]
    status = "" if exchange.status in (None, Status.OK) else exchange.status.name
    for index, at_s in enumerate(answered):
        back = [rows(returned[index])] if index < len(returned) else []
        parts.append(_arrow(server, client, rows(at_s), back, status, answer=True))
    again = [rows(at_s) for at_s in returned[len(answered) :]]  # doubled on their way back
    if again:
        parts.append(_arrow(server, client, rows(answered[-1]), again, "again", answer=True))
    title = f"{name} of {exchange.client}, sent {exactly(exchange.sent_s)}" + "".join(
        f", {step} {exactly(at_s)}" for step, at_s in steps
    )
    return element("g", element("title", title), *parts)


def _arrow(
    from_x: float, to_x: float, from_y: float, to_ys: Sequence[float], text: str, *, answer: bool = False
) -> Markup:
    """Draw an arrow to each place where a message arrived; half the way if it never did."""
    class_ = "answer" if answer else "call"
    parts = [_line(from_x, to_x, from_y, to_y, class_) for to_y in to_ys]
    if not to_ys:
        half = (from_x + to_x) / 2
        parts.append(element("line", class_="lost", x1=from_x, x2=half, y1=from_y, y2=from_y + 4))
        parts.append(element("text", "✕", class_="lost-end middle", x=half, y=from_y + 8))
    if text:
        share = 0.3 if not to_ys else 0.5
        y = from_y + ((to_ys[0] - from_y) * share if to_ys else 0) - 3
        parts.append(
            element("text", text, class_="tick middle halo", x=from_x + (to_x - from_x) * share, y=y)
        )
    return joined(*parts)


def _line(from_x: float, to_x: float, from_y: float, to_y: float, class_: str) -> Markup:
    """Draw a line with a head at its end."""
    length = math.hypot(to_x - from_x, to_y - from_y)
    along_x, along_y = (to_x - from_x) / length * 8, (to_y - from_y) / length * 8
    corners = (
        (to_x, to_y),
        (to_x - along_x - along_y * 0.4, to_y - along_y + along_x * 0.4),
        (to_x - along_x + along_y * 0.4, to_y - along_y - along_x * 0.4),
    )
    head = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
    return joined(
        element("line", class_=class_, x1=from_x, x2=to_x, y1=from_y, y2=to_y),
        element("polygon", class_=f"{class_}-head", points=head),
    )


def _marks(
    marks: Sequence[Mark], columns: dict[str, float], rows: _Rows, servers: frozenset[str]
) -> list[Markup]:
    parts: list[Markup] = []
    placed: dict[tuple[float, str], int] = {}
    for mark in marks:
        nth = placed[mark.at_s, mark.node] = placed.get((mark.at_s, mark.node), -1) + 1
        at, y = columns[mark.node], rows(mark.at_s)
        left = mark.node in servers
        if not nth:
            parts.append(element("circle", class_="mark", cx=at, cy=y, r=3.5))
        parts.append(
            element(
                "text",
                mark.text,
                class_="mark-text halo end" if left else "mark-text halo",
                x=at - 9 if left else at + 9,
                y=y + 4 + nth * _LINE,
            )
        )
    return parts
