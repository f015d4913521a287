"""The feed holds the newest entries of membership's history in a ring, and readers follow it from any id.

Always holds: entries lie in the order of ids, `HISTORY_ENTRIES` of them at most; a follower gets every entry
once, in order, or a gap where it fell too far behind. `tests/unit/control/test_feed.py` keeps these.

A follower keeps no buffer, only the id of the last entry it got, and reads from the one ring. So slow or many
followers cost no memory, and none delays a change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import trio
from trio.lowlevel import ParkingLot

from minicloud.store.port import HISTORY_ENTRIES, MembershipEvent

BATCH_ENTRIES = 256  # what a follower gets at a time: about 80 KB of JSON


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap stands for entries that a follower has lost: those behind `seen_id`, the last one it had, that
    are no longer kept. The follower goes on behind `resumed_id`."""

    seen_id: int
    resumed_id: int


@dataclass(frozen=True, slots=True)
class Span:
    """A span is the entries behind `after_id`, up to `last_id` inclusive."""

    after_id: int
    last_id: int


class EntriesLostError(Exception):
    """Entries were dropped from the ring before a slow reader got them."""


class EventFeed:
    """The feed has the newest entries, oldest first. It begins with the entries that the store kept."""

    def __init__(
        self, entries: Iterable[MembershipEvent] = (), last_event_id: int = 0, capacity: int = HISTORY_ENTRIES
    ) -> None:
        self._entries: deque[MembershipEvent] = deque(entries, maxlen=capacity)
        self._last_event_id = self._entries[-1].event_id if self._entries else last_event_id
        self._waiting = ParkingLot()
        self._closed = False

    @property
    def last_event_id(self) -> int:
        """Return the id of the newest entry so far; 0 if there was none."""
        return self._last_event_id

    def publish(self, entry: MembershipEvent) -> None:
        """Add the next entry. This is a subscriber of membership and never waits."""
        self._entries.append(entry)
        self._last_event_id = entry.event_id
        self._waiting.unpark_all()

    def close(self) -> None:
        """End every follower, later ones included."""
        self._closed = True
        self._waiting.unpark_all()

    def newest(self, limit: int) -> tuple[MembershipEvent, ...]:
        """Return the newest `limit` entries, oldest first."""
        return tuple(islice(self._entries, max(0, len(self._entries) - limit), None))

    def after(self, event_id: int, limit: int) -> tuple[MembershipEvent, ...]:
        """Return the oldest `limit` entries kept behind `event_id`, oldest first."""
        start = bisect_right(self._entries, event_id, key=lambda entry: entry.event_id)
        return tuple(islice(self._entries, start, start + limit))

    def span(self, after: int | None, limit: int) -> Span:
        """Return the span of the oldest `limit` entries kept behind `after`; of the newest `limit` where it
        is None."""
        if after is None:
            start = max(0, len(self._entries) - limit)
        else:
            start = bisect_right(self._entries, after, key=lambda entry: entry.event_id)
        end = min(len(self._entries), start + limit)
        if start >= end:
            return Span(self._last_event_id, self._last_event_id)
        return Span(self._entries[start].event_id - 1, self._entries[end - 1].event_id)

    def slices(self, span: Span) -> Iterator[tuple[MembershipEvent, ...]]:
        """Yield the entries of `span` in slices, each read from the ring when it is asked for.

        Raise `EntriesLostError` where entries of the span are dropped after the first slice.
        """
        seen_id = span.after_id
        while seen_id < span.last_id:
            if seen_id != span.after_id and self.resume_point(seen_id) != seen_id:
                raise EntriesLostError
            entries = self.after(seen_id, BATCH_ENTRIES)
            if not entries:
                return
            if entries[-1].event_id > span.last_id:
                entries = tuple(entry for entry in entries if entry.event_id <= span.last_id)
            yield entries
            seen_id = entries[-1].event_id if entries else span.last_id

    def follow(self, after: int | None = None) -> Follower:
        """Return a follower of every entry behind `after`; of later entries only where `after` is None."""
        return Follower(self, self._last_event_id if after is None else after)

    def resume_point(self, seen_id: int) -> int:
        """Return the id behind which a follower that has seen `seen_id` goes on: `seen_id` itself if no entry
        was lost.

        An id that this history has not reached yet comes from another history (a control plane that keeps
        nothing was started again). The follower then gets every entry that is kept.
        """
        oldest_seen = self._entries[0].event_id - 1 if self._entries else self._last_event_id
        return seen_id if oldest_seen <= seen_id <= self._last_event_id else oldest_seen

    async def _changed(self) -> None:
        await self._waiting.park()


class Follower:
    """A follower is one reader's place in the feed. It needs no closing."""

    def __init__(self, feed: EventFeed, seen_id: int) -> None:
        self._feed = feed
        self.seen_id = seen_id

    async def receive(self) -> Gap | tuple[MembershipEvent, ...]:
        """Return the next entries or gap, once there is one; raise `trio.EndOfChannel` when the feed is
        closed.

        A cancellation loses nothing, as `seen_id` only moves with what is returned.
        """
        feed = self._feed
        # There is no checkpoint between the last look and the wait, so no wake-up is lost.
        while not feed._closed:
            resumed_id = feed.resume_point(self.seen_id)
            if resumed_id != self.seen_id:
                gap = Gap(self.seen_id, resumed_id)
                self.seen_id = resumed_id
                return gap
            if entries := feed.after(self.seen_id, BATCH_ENTRIES):
                self.seen_id = entries[-1].event_id
                return entries
            await feed._changed()
        raise trio.EndOfChannel
