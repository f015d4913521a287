"""The connections and calls that a server takes on (DESIGN 68). Pure.

Always holds:
- One address leaves room for others (test_address_leaves_half_of_the_calls_to_others).
- Calls that may stay open, and calls whose message has not come, leave room for those that are answered at
  once, such as heartbeats (test_streams_leave_room_for_calls_that_end,
  test_call_that_waits_longest_makes_room).
- All that is counted is returned at its end (test_everything_that_is_given_back_can_be_had_again; asserted).
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

from minicloud.rpc.config import ServerLimits
from minicloud.rpc.refusals import Cause

# The parts of all connections and calls that one address may have. A whole site may come through one NAT box,
# or be one machine.
_PEER_CONNECTIONS = 0.75
_PEER_CALLS = 0.5
# The part of all calls that may stay open by their nature (health's Watch, reflection), and that of one
# address.
_STREAMS = 0.5
_PEER_STREAMS = 0.1
# The part of all calls whose first message has not come, and that of one address. The next one takes the
# place of the oldest, which had its time: a message comes a round trip after its headers at most.
_WAITING = 0.2
_PEER_WAITING = 0.05

CallT = TypeVar("CallT", bound=Hashable)


class PeerShare(Generic[CallT]):
    """The connections and calls that one address has open."""

    __slots__ = ("calls", "connections", "key", "streams", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.connections = 0
        self.calls = 0
        self.streams = 0
        self.waiting: dict[CallT, None] = {}  # a set with an order


class Admission(Generic[CallT]):
    """The counts of one server's open connections and calls, against `limits`."""

    def __init__(self, limits: ServerLimits) -> None:
        self.open_connections = 0
        self.active_calls = 0
        self._streams = 0
        self._waiting: dict[CallT, PeerShare[CallT]] = {}
        self._peers: dict[Hashable, PeerShare[CallT]] = {}
        self._max_connections = limits.max_connections
        self._max_peer_connections = _part(limits.max_connections, _PEER_CONNECTIONS)
        calls = limits.max_calls
        self._max_calls = calls
        self._max_peer_calls = _part(calls, _PEER_CALLS)
        self._max_streams = _part(calls, _STREAMS)
        self._max_peer_streams = _part(calls, _PEER_STREAMS)
        self._max_waiting = _part(calls, _WAITING)
        self._max_peer_waiting = _part(calls, _PEER_WAITING)

    def connect(self, key: Hashable) -> PeerShare[CallT] | Cause:
        """Count a connection from the address of `key`; returns the cause where that is one too many."""
        if self.open_connections >= self._max_connections:
            return Cause.CONNECTIONS
        share = self._peers.get(key)
        if share is None:
            share = self._peers[key] = PeerShare(key)
        elif share.connections >= self._max_peer_connections:
            return Cause.PEER_CONNECTIONS
        share.connections += 1
        self.open_connections += 1
        return share

    def disconnect(self, share: PeerShare[CallT]) -> None:
        """Return a connection."""
        assert share.connections > 0
        self.open_connections -= 1
        share.connections -= 1
        if not share.connections:
            del self._peers[share.key]

    def obstacle(self, share: PeerShare[CallT], *, stream: bool) -> Cause | None:
        """The cause to refuse one more call, if any; `stream` is one that may stay open by its nature."""
        if self.active_calls >= self._max_calls:
            return Cause.CALLS
        if share.calls >= self._max_peer_calls:
            return Cause.PEER_CALLS
        if stream and self._streams >= self._max_streams:
            return Cause.STREAMS
        if stream and share.streams >= self._max_peer_streams:
            return Cause.PEER_STREAMS
        return None

    def begin(self, share: PeerShare[CallT], *, stream: bool) -> None:
        """Count a call."""
        self.active_calls += 1
        share.calls += 1
        if stream:
            self._streams += 1
            share.streams += 1

    def end(self, share: PeerShare[CallT], call: CallT, *, stream: bool) -> None:
        """Return a call."""
        assert share.calls > 0
        self.arrived(share, call)
        self.active_calls -= 1
        share.calls -= 1
        if stream:
            self._streams -= 1
            share.streams -= 1

    def wait(self, share: PeerShare[CallT], call: CallT) -> CallT | None:
        """Count a call whose first message is to come. Returns the call that makes room for it, if any."""
        oldest = None
        if len(share.waiting) >= self._max_peer_waiting:
            oldest = next(iter(share.waiting))
        elif len(self._waiting) >= self._max_waiting:
            oldest = next(iter(self._waiting))
        if oldest is not None:
            self.arrived(self._waiting.pop(oldest), oldest)
        self._waiting[call] = share
        share.waiting[call] = None
        return oldest

    def arrived(self, share: PeerShare[CallT], call: CallT) -> None:
        """Count the call no more: its first message has come, or will not. Can be repeated."""
        self._waiting.pop(call, None)
        share.waiting.pop(call, None)


def peer_key(host: str) -> Hashable:
    """The key of an address: an IPv4 address itself, and the /64 of an IPv6 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or int(address) >> 64
    return address


def _part(whole: float, fraction: float) -> int:
    """The `fraction` of a limit, at least one."""
    return max(1, int(whole * fraction))
