"""The states of streams and the transitions between them, as a table (RFC 9113, section 5.1). Pure.

`Streams` holds the streams of one connection that are open, in whole or by half. A stream that is closed is
forgotten, because a connection sees 2**30 of them.

Always holds: every change of a state is an entry of `TRANSITIONS`; any other event is a fault of ours, on
which `Streams.apply` fails by assertion.
"""

from __future__ import annotations

import enum


class StreamState(enum.IntEnum):
    """The state of a stream as this end sees it."""

    OPEN = 0
    HALF_CLOSED_LOCAL = 1  # this end has sent all it will
    HALF_CLOSED_REMOTE = 2  # the peer has sent all it will
    CLOSED = 3


class StreamEvent(enum.IntEnum):
    """An event that changes the state of a stream."""

    SENT_END = 0
    RECEIVED_END = 1
    RESET = 2  # by either end


_OPEN, _LOCAL, _REMOTE, _CLOSED = StreamState

# A row for each state, a column for each event; None marks an event that cannot happen in the state. Tuples,
# because the hash of an enum's member costs more than the whole transition.
TRANSITIONS: tuple[tuple[StreamState | None, ...], ...] = (
    # SENT_END, RECEIVED_END, RESET
    (_LOCAL, _REMOTE, _CLOSED),  # OPEN
    (None, _CLOSED, _CLOSED),  # HALF_CLOSED_LOCAL
    (_CLOSED, None, _CLOSED),  # HALF_CLOSED_REMOTE
    (None, None, None),  # CLOSED
)


class Streams:
    """The open streams of one connection, by id."""

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: dict[int, StreamState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, stream_id: int) -> bool:
        """Tell if the stream is open, in whole or by half."""
        return stream_id in self._states

    def open(self, stream_id: int) -> None:
        """Add a stream, whose headers were sent or received."""
        assert stream_id not in self._states, f"stream {stream_id} is open already"
        self._states[stream_id] = _OPEN

    def apply(self, stream_id: int, event: StreamEvent) -> bool:
        """Change the state of a stream by `event`; False, and no change, where the stream is not open."""
        state = self._states.get(stream_id)
        if state is None:
            return False
        after = TRANSITIONS[state][event]
        assert after is not None, f"{event.name} on stream {stream_id}, which is {state.name}"
        if after is _CLOSED:
            del self._states[stream_id]
        else:
            self._states[stream_id] = after
        return True

    def clear(self) -> None:
        """Forget all streams: the connection has ended."""
        self._states.clear()
