"""The places for HTTP connections: how many there are, who gets one, and who gives way.

A connection has a seat while it is open. One address may have half of the ordinary seats. Where none is left
for a connection, the one that has waited longest for its client's next request gives way, for a probe must
not fail because others keep connections that they do not use. Where nobody waits, a reserve is left, for
probes and for what operators ask for; streams, pages and their files are refused there.

Always holds: what a seat has taken is given back when its request ends, and its place when it is left, in
whichever way the connection ends (`tests/unit/control/rest/test_seats.py`). Does no I/O of its own.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import trio

# A client that has connected has this long to send its request before it may have to give way.
FAIR_IDLE_S = 1.0
# An answer that is sent in pieces has this long before it may have to give way to another.
FAIR_ANSWER_S = 5.0
# For all answers that are sent in pieces, for what each of them holds meanwhile.
MAX_ANSWER_BYTES = 32 * 1024 * 1024

_KEY = "minicloud.seat"


class Lane(Enum):
    ORDINARY = "ordinary"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class SeatLimits:
    """How many connections there may be at a time; each is one of the process's open files."""

    ordinary: int = 900
    reserve: int = 64

    @classmethod
    def of(cls, connections: int) -> SeatLimits:
        """A fifteenth of `connections` in the reserve, 4 at least; the rest are ordinary."""
        reserve = min(64, max(4, connections // 15))
        return cls(connections - reserve, reserve)

    @property
    def per_peer(self) -> int:
        """Ordinary seats for one address. A proxy is one address, for however many people."""
        return max(1, self.ordinary // 2)

    @property
    def streams(self) -> int:
        """Event streams. They keep their seats for as long as their clients like."""
        return max(1, self.ordinary // 2)

    @property
    def streams_per_peer(self) -> int:
        return max(1, self.ordinary // 4)

    @property
    def operations(self) -> int:
        """Requests in the reserve that are no probes. They may wait for the disk; probes never do."""
        return max(1, self.reserve // 2)


class Seat:
    """One connection's place. `close` closes the connection at once; it neither waits nor raises."""

    def __init__(self, seats: Seats, peer: str, lane: Lane, close: Callable[[], None]) -> None:
        self.peer = peer
        self.lane = lane
        self.half_closed = HalfClose()
        self._seats = seats
        self._close = close
        self._given_back: list[Callable[[], None]] = []

    def busy(self) -> None:
        """A request has come in."""
        self._seats._idle.pop(self, None)

    def idle(self) -> None:
        """The request is over, and another one may come: give back what it had taken."""
        self._give_back()
        if self in self._seats._open:
            self._seats._idle[self] = trio.current_time()

    def linger(self) -> None:
        """The last answer has been sent, and the connection waits for its client to close it."""
        self._give_back()
        self._seats._idle.pop(self, None)
        if self in self._seats._open:
            self._seats._lingering[self] = trio.current_time()

    def leave(self) -> None:
        """The connection is over. A second time changes nothing."""
        self._give_back()
        seats = self._seats
        seats._idle.pop(self, None)
        seats._lingering.pop(self, None)
        if self in seats._open:
            seats._open.remove(self)
            seats._lanes[self.lane] -= 1
            if self.lane is Lane.ORDINARY:
                _count_down(seats._peers, self.peer)

    def give_way(self) -> None:
        """Leave the seat to somebody else, and close the connection."""
        self.leave()
        self._close()
        self._seats._on_crowded_out("displaced")

    def when_over(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once the present request is over, in whichever way it ends. It neither waits
        nor raises."""
        self._given_back.append(callback)

    def take_stream(self) -> bool:
        """Have the present request be an event stream; False where there are enough."""
        seats = self._seats
        if (
            self.lane is Lane.RESERVE
            or seats.streams >= seats.limits.streams
            or seats._streams[self.peer] >= seats.limits.streams_per_peer
        ):
            return False
        seats._streams[self.peer] += 1
        self.when_over(lambda: _count_down(seats._streams, self.peer))
        return True

    def take_operation(self) -> bool:
        """Have the present request be one that is no probe; False where the reserve has enough of them."""
        seats = self._seats
        if self.lane is Lane.RESERVE:
            if seats._operations >= seats.limits.operations:
                return False
            seats._operations += 1
            self.when_over(seats._operation_over)
        return True

    def take_answer_bytes(self, held_bytes: int) -> bool:
        """Have the present request hold `held_bytes` until it is over; False where there is no room.

        The answer that is on its way for the longest time gives way, if that is longer than `FAIR_ANSWER_S`.
        """
        seats = self._seats
        while seats.answer_bytes + held_bytes > MAX_ANSWER_BYTES:
            oldest = next(iter(seats._answers), None)
            if oldest is None or trio.current_time() - seats._answers[oldest] < FAIR_ANSWER_S:
                return False
            oldest.give_way()
        seats._answers[self] = trio.current_time()
        seats.answer_bytes += held_bytes
        self.when_over(lambda: seats._answer_over(self, held_bytes))
        return True

    def _give_back(self) -> None:
        while self._given_back:
            self._given_back.pop()()


class Seats:
    """All seats of one server. `answer_bytes` is held by answers that are sent in pieces."""

    def __init__(
        self, limits: SeatLimits | None = None, on_crowded_out: Callable[[str], None] = lambda how: None
    ) -> None:
        """`on_crowded_out` gets "displaced" for a connection that gives way, "refused" for one without a
        seat; it neither waits nor raises."""
        self.limits = limits or SeatLimits()
        self._on_crowded_out = on_crowded_out
        self._open: set[Seat] = set()
        self._lanes = dict.fromkeys(Lane, 0)
        self._peers: Counter[str] = Counter()  # ordinary ones
        self._idle: dict[Seat, float] = {}  # the longest idle first
        self._lingering: dict[Seat, float] = {}
        self._streams: Counter[str] = Counter()
        self._operations = 0
        self._answers: dict[Seat, float] = {}  # the oldest first
        self.answer_bytes = 0

    @property
    def open(self) -> int:
        """Seats that are taken."""
        return len(self._open)

    @property
    def streams(self) -> int:
        """The number of seats that have an event stream."""
        return self._streams.total()

    def take(self, peer: str, close: Callable[[], None]) -> Seat | None:
        """A seat for a connection of `peer`; None where nobody can give way to it. The caller leaves it."""
        lane = self._lane_for(peer)
        if lane is None:
            self._on_crowded_out("refused")
            return None
        seat = Seat(self, peer, lane, close)
        self._open.add(seat)
        self._lanes[lane] += 1
        if lane is Lane.ORDINARY:
            self._peers[peer] += 1
        self._idle[seat] = trio.current_time()
        return seat

    def _lane_for(self, peer: str) -> Lane | None:
        limits = self.limits
        if self._peers[peer] >= limits.per_peer:
            if self._displaced(Lane.ORDINARY, peer):
                return Lane.ORDINARY
        elif self._lanes[Lane.ORDINARY] < limits.ordinary or self._displaced(Lane.ORDINARY):
            return Lane.ORDINARY
        if self._lanes[Lane.RESERVE] < limits.reserve or self._displaced(Lane.RESERVE):
            return Lane.RESERVE
        return None

    def _displaced(self, lane: Lane, peer: str | None = None) -> bool:
        """Has a connection of `lane`, and of `peer` if that is given, given way: one that lingers, else the
        one that is idle for the longest time, else, in the reserve, the oldest long answer?"""
        long_ago_s = trio.current_time() - FAIR_IDLE_S
        among = [(self._lingering, trio.current_time()), (self._idle, long_ago_s)]
        if lane is Lane.RESERVE:
            among.append((self._answers, long_ago_s))
        for seats, latest_s in among:
            for seat, since_s in seats.items():
                if since_s > latest_s:
                    break
                if seat.lane is lane and peer in (None, seat.peer):
                    seat.give_way()
                    return True
        return False

    def _operation_over(self) -> None:
        self._operations -= 1

    def _answer_over(self, seat: Seat, held_bytes: int) -> None:
        self._answers.pop(seat, None)  # it may have taken twice
        self.answer_bytes -= held_bytes


class HalfClose:
    """The client has said that it sends nothing more. What it asked for is still answered."""

    def __init__(self) -> None:
        self.happened = False
        self._waiting: trio.CancelScope | None = None

    def happen(self) -> None:
        """Note it, and end a wait that is `ended_by` it."""
        self.happened = True
        if self._waiting is not None:
            self._waiting.cancel()

    def ended_by(self, scope: trio.CancelScope) -> None:
        """Have it cancel `scope`, if need be at once. One scope at a time."""
        self._waiting = scope
        if self.happened:
            scope.cancel()


def seat_of(scope: Mapping[str, Any]) -> Seat | None:
    """The seat of the connection that an ASGI request came on; None where there is no connection."""
    seat: Seat | None = scope.get("state", {}).get(_KEY)
    return seat


def state_with(seat: Seat) -> MutableMapping[str, Any]:
    """The `state` of the ASGI requests of `seat`'s connection."""
    return {_KEY: seat}


def peer_key(address: str) -> str:
    """One peer: an IPv4 address, or the /64 network that an IPv6 host has to itself."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


def _count_down(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
