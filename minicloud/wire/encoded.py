"""A long answer that is encoded while it is put together, so that sending it takes no time at once."""

from __future__ import annotations

from collections.abc import Sequence

from minicloud.wire.gen.minicloud.common import StandardResponse, WorkerInfo
from minicloud.wire.gen.minicloud.execution import ListWorkersResponse


class EncodedList(ListWorkersResponse):
    """A list of workers made by `add` and `end`, and by nothing else: its bytes are made as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def add(self, workers: Sequence[WorkerInfo]) -> None:
        """Put `workers` behind those that are there."""
        self.workers += workers
        self._parts.append(bytes(ListWorkersResponse(workers=list(workers))))

    def end(self, next_page_token: str, response: StandardResponse) -> None:
        """Set the rest."""
        self.next_page_token, self.response = next_page_token, response
        self._parts.append(bytes(ListWorkersResponse(next_page_token=next_page_token, response=response)))

    def __bytes__(self) -> bytes:
        # Encoded messages one behind the other are the encoding of both merged, repeated fields joined
        # (protobuf.dev/programming-guides/encoding, "Last One Wins").
        return b"".join(self._parts)
