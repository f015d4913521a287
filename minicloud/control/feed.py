"""The feed of membership's history: the newest entries in a ring, and readers who follow it from any id.

Always holds: entries lie in the order of ids, `HISTORY_ENTRIES` of them at most; a follower is told of
every entry once, in order, or of the gap where it fell too far behind. Knows nothing of HTTP.

A follower keeps no buffer, only the id it has seen up to, and reads from the one ring: however slow or many
they are, they cost no memory, and none can hold up the change that is being told.
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

BATCH_ENTRIES = 256  # what a follower is handed at a time: about 80 KB of JSON


@dataclass(frozen=True, slots=True)
class Gap:
    """Entries between `seen_id` (the last one this follower had) and those still kept are lost to it; it
    goes on behind `resumed_id`."""

    seen_id: int
    resumed_id: int


@dataclass(frozen=True, slots=True)
class Span:
    """The entries behind `after_id`, up to `last_id` inclusive."""

    after_id: int
    last_id: int


class EntriesLostError(Exception):
    """Entries were dropped from the ring before a slow reader came to them."""


class EventFeed:
    """The newest entries, oldest first; seeded with what the store kept."""

    def __init__(
        self, entries: Iterable[MembershipEvent] = (), last_event_id: int = 0, capacity: int = HISTORY_ENTRIES
    ) -> None:
        self._entries: deque[MembershipEvent] = deque(entries, maxlen=capacity)
        self._last_event_id = self._entries[-1].event_id if self._entries else last_event_id
        self._waiting = ParkingLot()
        self._closed = False

    @property
    def last_event_id(self) -> int:
        """The id of the newest entry there has been; 0 if none."""
        return self._last_event_id

    def publish(self, entry: MembershipEvent) -> None:
        """Take the next entry in, as a subscriber of membership. Never waits."""
        self._entries.append(entry)
        self._last_event_id = entry.event_id
        self._waiting.unpark_all()

    def close(self) -> None:
        """End every follower, those to come included."""
        self._closed = True
        self._waiting.unpark_all()

    def newest(self, limit: int) -> tuple[MembershipEvent, ...]:
        """The newest `limit` entries, oldest first."""
        return tuple(islice(self._entries, max(0, len(self._entries) - limit), None))

    def after(self, event_id: int, limit: int) -> tuple[MembershipEvent, ...]:
        """The oldest `limit` entries kept behind `event_id`, oldest first."""
        start = bisect_right(self._entries, event_id, key=lambda entry: entry.event_id)
        return tuple(islice(self._entries, start, start + limit))

    def span(self, after: int | None, limit: int) -> Span:
        """The oldest `limit` entries kept behind `after`; None: the newest `limit`."""
        if after is None:
            start = max(0, len(self._entries) - limit)
        else:
            start = bisect_right(self._entries, after, key=lambda entry: entry.event_id)
        end = min(len(self._entries), start + limit)
        if start >= end:
            return Span(self._last_event_id, self._last_event_id)
        return Span(self._entries[start].event_id - 1, self._entries[end - 1].event_id)

    def slices(self, span: Span) -> Iterator[tuple[MembershipEvent, ...]]:
        """The entries of `span`, some at a time, read from the ring as each slice is asked for.

        Raises `EntriesLostError` where a part of them is no longer kept after an earlier part was handed out.
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
        """A follower of everything behind `after`; None: of what happens from now on."""
        return Follower(self, self._last_event_id if after is None else after)

    def resume_point(self, seen_id: int) -> int:
        """Where one who has seen up to `seen_id` can go on: there, if nothing behind it is lost.

        An id that this history has not reached yet is of another one (a control plane that keeps nothing
        was started anew); then everything kept is news.
        """
        oldest_seen = self._entries[0].event_id - 1 if self._entries else self._last_event_id
        return seen_id if oldest_seen <= seen_id <= self._last_event_id else oldest_seen

    async def _changed(self) -> None:
        await self._waiting.park()


class Follower:
    """One reader's place in the feed. Needs no closing."""

    def __init__(self, feed: EventFeed, seen_id: int) -> None:
        self._feed = feed
        self.seen_id = seen_id

    async def receive(self) -> Gap | tuple[MembershipEvent, ...]:
        """What comes next, once there is something; raises `trio.EndOfChannel` when the feed is closed.

        Cancelling it loses nothing: `seen_id` only moves with what is returned.
        """
        feed = self._feed
        # Nothing is awaited between finding nothing and waiting, so that no wake-up can be lost.
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
