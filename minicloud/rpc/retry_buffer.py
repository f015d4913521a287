"""What a call has sent, kept so that it can be sent again. Pure.

What always holds: either everything that was added is there, or nothing is and nothing will be.
"""

from __future__ import annotations

from collections.abc import Iterator


class RetryBuffer:
    """Holds up to `max_bytes` of messages."""

    __slots__ = ("_complete", "_items", "_room_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._complete = True
        self._items: list[tuple[bytes | None, bool]] = []
        self._room_bytes = max_bytes

    def add(self, message: bytes | None, end: bool) -> None:
        """Keep a message, if there is one, and whether it is the last. Too much of them lets all go."""
        self._room_bytes -= len(message or b"")
        if self._room_bytes < 0:
            self.drop()
        if self._complete:
            self._items.append((message, end))

    def is_complete(self) -> bool:
        """Whether all that was added is there."""
        return self._complete

    def drop(self) -> None:
        """Let all go: it will not be sent again."""
        self._complete = False
        self._items.clear()

    def __iter__(self) -> Iterator[tuple[bytes | None, bool]]:
        """What was added, and what is added meanwhile."""
        return iter(self._items)
