"""This module encodes a long answer while it is put together, so that sending it delays no other
call (DESIGN 32)."""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.wire.gen.minicloud.common import StandardResponse, WorkerInfo
from minicloud.wire.gen.minicloud.execution import ListWorkersResponse


class EncodedList(ListWorkersResponse):
    """An `EncodedList` is a list of workers for sending only: it has their bytes, and its fields stay empty.

    It keeps no objects, because 5,000 workers are 25,000 of them, and the garbage collector's pass over them
    takes longer than the encoding.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, workers: Sequence[WorkerInfo], max_bytes: int) -> int:
        """Add as many of `workers` as fit into `max_bytes`, and return their number.

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
        """Add the other fields of the answer."""
        self._parts.append(bytes(ListWorkersResponse(next_page_token=next_page_token, response=response)))

    def SerializeToString(self) -> bytes:  # noqa: N802
        # Encoded messages one behind the other are the encoding of both merged, repeated fields joined
        # (protobuf.dev/programming-guides/encoding, "Last One Wins").
        return b"".join(self._parts)
