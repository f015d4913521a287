"""A long answer that is bytes from the start: encoded while it is put together, so that its sending holds
nobody up."""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.wire.gen.minicloud.common import StandardResponse, WorkerInfo
from minicloud.wire.gen.minicloud.execution import ListWorkersResponse


class EncodedList(ListWorkersResponse):
    """A list of workers for sending only: its fields stay empty, its bytes are those of what was put in.

    Not kept as objects, too: 5,000 workers are 25,000 of them, and the garbage collector's look at all of
    them takes longer than anything else here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, workers: Sequence[WorkerInfo], max_bytes: int) -> int:
        """Put `workers` behind those that are there, as many as fit into `max_bytes`; returns how many.

        The first one of a list always fits.
        """
        part = bytes(ListWorkersResponse(workers=list(workers)))
        if self._bytes + len(part) <= max_bytes or (not self._parts and len(workers) == 1):
            self._parts.append(part)
            self._bytes += len(part)
            return len(workers)
        half = len(workers) // 2
        added = self.add(workers[:half], max_bytes) if half else 0
        return added + self.add(workers[half:], max_bytes) if half and added == half else added

    def end(self, next_page_token: str, response: StandardResponse) -> None:
        """Set the rest."""
        self._parts.append(bytes(ListWorkersResponse(next_page_token=next_page_token, response=response)))

    def SerializeToString(self) -> bytes:  # noqa: N802
        # Encoded messages one behind the other are the encoding of both merged, repeated fields joined
        # (protobuf.dev/programming-guides/encoding, "Last One Wins").
        return b"".join(self._parts)
