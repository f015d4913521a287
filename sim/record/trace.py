"""Every event of a run as a line of text: hashed as they come, and written to a file where one is given.

Always holds: two runs with the same digest had the same lines; no more than a batch of them is in memory.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

_BATCH_LINES = 1024  # hashing line by line would cost more than making them


class Trace:
    """A rolling hash over lines. `file`, where given, gets each of them; raises `OSError` where it cannot."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file.open("w", encoding="utf-8", errors="backslashreplace") if file is not None else None
        self._hash = blake2b(digest_size=16)
        self._batch: list[str] = []

    def add(self, line: str) -> None:
        """Append one line, given without its end."""
        batch = self._batch
        batch.append(line)
        if len(batch) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hash and write what has been added. Raises `OSError` where it cannot be written."""
        if not self._batch:
            return
        text = "\n".join(self._batch) + "\n"
        self._batch.clear()
        self._hash.update(text.encode("utf-8", "backslashreplace"))
        if self._file is not None:
            self._file.write(text)

    def digest(self) -> str:
        """The hash of all lines so far, in hexadecimal."""
        self.flush()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Write what is left, and nothing after it."""
        file = self._file
        try:
            self.flush()
        finally:
            self._file = None
            if file is not None:
                file.close()
