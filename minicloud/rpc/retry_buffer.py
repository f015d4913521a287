"""A buffer of the messages that a call has sent, from which they can be sent again. Pure.

Always holds: the buffer has all that was added, or nothing and it stays empty (asserted).
"""

from __future__ import annotations

from collections.abc import Iterator


class RetryBuffer:
    """A buffer of up to `max_bytes` of messages."""

    __slots__ = ("_complete", "_items", "_room_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._complete = True
        self._items: list[tuple[bytes | None, bool]] = []
        self._room_bytes = max_bytes

    def add(self, message: bytes | None, end: bool) -> None:
        """Keep a message, if there is one, with the mark of the last. One too much drops all of them."""
        self._room_bytes -= len(message or b"")
        if self._room_bytes < 0:
            self.drop()
        if self._complete:
            self._items.append((message, end))
        assert self._complete or not self._items

    def is_complete(self) -> bool:
        """Tell if all that was added is there."""
        return self._complete

    def drop(self) -> None:
        """Drop all messages: they will not be sent again."""
        self._complete = False
        self._items.clear()

    def __iter__(self) -> Iterator[tuple[bytes | None, bool]]:
        """The messages, with those that are added during the iteration."""
        return iter(self._items)
