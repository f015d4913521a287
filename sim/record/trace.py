"""The trace of a run: every event as a line of text, hashed, and written to a file where one is given.

Always holds: two runs with the same digest had the same lines; no more than a batch of them is in memory
(tests/sim/test_record.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

_BATCH_LINES = 1024  # hashing line by line would cost more than making them


class Trace:
    """A rolling hash over lines. `file`, where given, gets each of them.

    Raises `OSError` if the file cannot be opened. If it cannot be written later, `failed` is called by the
    method that adds a line, and `error` is the reason.
    """

    def __init__(self, file: Path | None = None, failed: Callable[[], None] = lambda: None) -> None:
        self._file = file.open("w", encoding="utf-8", errors="backslashreplace") if file is not None else None
        self._failed = failed
        self.error: OSError | None = None
        self._hash = blake2b(digest_size=16)
        self._batch: list[str] = []

    def add(self, line: str) -> None:
        """Append one line, given without its end."""
        batch = self._batch
        batch.append(line)
        if len(batch) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hash and write the lines that were added."""
        if not self._batch:
            return
        text = "\n".join(self._batch) + "\n"
        self._batch.clear()
        self._hash.update(text.encode("utf-8", "backslashreplace"))
        if self._file is not None:
            try:
                self._file.write(text)
                self._file.flush()
            except OSError as error:
                self._give_up(error)

    def digest(self) -> str:
        """The hash of all lines so far, in hexadecimal."""
        self.flush()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Write the remaining lines; no line may follow."""
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        assert file is not None
        with suppress(OSError):  # closing it tries once more to write what could not be written
            file.close()
        self.error = error
        self._failed()
