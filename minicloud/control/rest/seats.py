"""This module has the seats for HTTP connections: their number, who gets one, and which connection gives way
(DESIGN 49).

A connection has a seat while it is open. One address may have half of the ordinary seats. Where none is left
for a new connection, the one that has been idle for the longest time is closed, so that a probe does not fail
because of unused connections. Where none is idle, a reserve is left for probes and operators' requests;
streams, pages and their files are refused there.

Always holds: what a seat has taken is given back when its request ends, and its place when it is left, in
whichever way the connection ends (`tests/unit/control/rest/test_seats.py`). This module does no I/O.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import trio

# A new connection has this long to send its request before it may have to give way.
FAIR_IDLE_S = 1.0
# An answer that is sent in pieces has this long before it may have to give way to another.
FAIR_ANSWER_S = 5.0
# All answers that are sent in pieces hold at most this much together.
MAX_ANSWER_BYTES = 32 * 1024 * 1024

_KEY = "minicloud.seat"


class Lane(Enum):
    ORDINARY = "ordinary"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True)
class SeatLimits:
    """These limits are for connections at a time; each connection is one of the process's open files."""

    ordinary: int = 900
    reserve: int = 64

    @classmethod
    def of(cls, connections: int) -> SeatLimits:
        """Return limits with a fifteenth of `connections` in the reserve, 4 at least; the rest are
        ordinary."""
        reserve = min(64, max(4, connections // 15))
        return cls(connections - reserve, reserve)

    @property
    def per_peer(self) -> int:
        """Return the number of ordinary seats for one address. A proxy counts as one address."""
        return max(1, self.ordinary // 2)

    @property
    def streams(self) -> int:
        """Return the number of event streams, which keep their seats for as long as their clients like."""
        return max(1, self.ordinary // 2)

    @property
    def streams_per_peer(self) -> int:
        return max(1, self.ordinary // 4)

    @property
    def operations(self) -> int:
        """Return the number of requests in the reserve that are not probes. They may wait for the disk;
        probes do not."""
        return max(1, self.reserve // 2)


class Seat:
    """This is one connection's place. `close` closes the connection at once; it neither waits nor raises."""

    def __init__(self, seats: Seats, peer: str, lane: Lane, close: Callable[[], None]) -> None:
        self.peer = peer
        self.lane = lane
        self.half_closed = HalfClose()
        self._seats = seats
        self._close = close
        self._given_back: list[Callable[[], None]] = []

    def busy(self) -> None:
        """Note that a request has arrived."""
        self._seats._idle.pop(self, None)

    def idle(self) -> None:
        """Note that the request is over, and give back what it has taken. Another request may follow."""
        self._give_back()
        if self in self._seats._open:
            self._seats._idle[self] = trio.current_time()

    def linger(self) -> None:
        """Note that the last answer is sent, and that the connection waits for its client to close it."""
        self._give_back()
        self._seats._idle.pop(self, None)
        if self in self._seats._open:
            self._seats._lingering[self] = trio.current_time()

    def leave(self) -> None:
        """Leave the seat, as the connection is over. A second call changes nothing."""
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
        """Leave the seat to another connection, and close this one."""
        self.leave()
        self._close()
        self._seats._on_crowded_out("displaced")

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the present request is over, in whichever way it ends. It must neither wait
        nor raise."""
        self._given_back.append(callback)

    def take_stream(self) -> bool:
        """Count the present request as an event stream; return False where the limit is reached."""
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
        """Count the present request as one that is not a probe; return False where the reserve has reached
        its limit."""
        seats = self._seats
        if self.lane is Lane.RESERVE:
            if seats._operations >= seats.limits.operations:
                return False
            seats._operations += 1
            self.when_over(seats._operation_over)
        return True

    def take_answer_bytes(self, held_bytes: int) -> bool:
        """Have the present request hold `held_bytes` until it is over; return False where there is no room.

        The oldest answer gives way, if it is older than `FAIR_ANSWER_S`.
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
    """These are all seats of one server. `answer_bytes` bounds the answers that are sent in pieces."""

    def __init__(
        self, limits: SeatLimits | None = None, on_crowded_out: Callable[[str], None] = lambda how: None
    ) -> None:
        """Create the seats. `on_crowded_out` is called with "displaced" for a connection that gives way, and
        with "refused" for one without a seat; it must neither wait nor raise."""
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
        """Return the number of taken seats."""
        return len(self._open)

    @property
    def streams(self) -> int:
        """Return the number of seats that have an event stream."""
        return self._streams.total()

    def take(self, peer: str, close: Callable[[], None]) -> Seat | None:
        """Return a seat for a connection of `peer`; None where no connection can give way to it. The caller
        leaves the seat."""
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
        """Close a connection of `lane`, and of `peer` if that is given: one that lingers, else the one that
        has been idle for the longest time, else, in the reserve, the oldest long answer. Return False where
        there is none."""
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
    """The client has half-closed its connection: it sends nothing more, and its last request is still
    answered."""

    def __init__(self) -> None:
        self.happened = False
        self._waiting: trio.CancelScope | None = None

    def happen(self) -> None:
        """Note the half-close, and end a wait that is `ended_by` it."""
        self.happened = True
        if self._waiting is not None:
            self._waiting.cancel()

    def ended_by(self, scope: trio.CancelScope) -> None:
        """Have the half-close cancel `scope`, at once if it has happened. There is one scope at a time."""
        self._waiting = scope
        if self.happened:
            scope.cancel()


def seat_of(scope: Mapping[str, Any]) -> Seat | None:
    """Return the seat of the connection that an ASGI request came on; None where there is no connection."""
    seat: Seat | None = scope.get("state", {}).get(_KEY)
    return seat


def state_with(seat: Seat) -> MutableMapping[str, Any]:
    """Return the `state` of the ASGI requests of `seat`'s connection."""
    return {_KEY: seat}


def peer_key(address: str) -> str:
    """Return the key of one peer: an IPv4 address, or the /64 network that an IPv6 host has to itself."""
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
