"""This module suggests corrections of a typo: the nearest of the known ids, or of the allowed words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from minicloud.cli.exits import OperationError
from minicloud.cli.rest import RefusedError, Rest

_PAGE = 1000
_MOST_WORKERS = 5000  # comparing more takes longer than a person waits for a hint
_MOST_SHOWN = 3


@contextmanager
def suggesting_ids(rest: Rest, worker_id: str) -> Iterator[None]:
    """Run the block; where it fails because no worker has that id, add similar ids to the error."""
    try:
        yield
    except RefusedError as error:
        if error.status != 404 or not error.detailed:
            raise
        near = nearest_ids(worker_id, _ids(rest))
        hint = f"did you mean {' or '.join(near)}?" if near else "minicloud workers lists those there are"
        raise RefusedError(error.status, f"{error}: {hint}", detailed=True) from None


def nearest_ids(wanted: str, ids: Iterable[str]) -> list[str]:
    """Return up to three of `ids` that resemble `wanted`, the nearest first, or that begin or end with it."""
    by_word = {each.lower(): each for each in ids}
    word = wanted.lower()
    close = difflib.get_close_matches(word, by_word, n=_MOST_SHOWN, cutoff=0.7)
    around = [each for each in by_word if len(word) > 1 and (each.startswith(word) or each.endswith(word))]
    return [by_word[each] for each in dict.fromkeys([*close, *sorted(around)])][:_MOST_SHOWN]


def nearest_word(wanted: str, words: Sequence[str]) -> str:
    """Return the one of `words` that `wanted` is a slip of; empty if none is near."""
    close = difflib.get_close_matches(wanted.lower(), words, n=1)
    return close[0] if close else ""


def _ids(rest: Rest) -> list[str]:
    try:
        found = rest.pages("/api/workers", {"limit": str(_PAGE)}, most=_MOST_WORKERS)
    except OperationError:  # a failed look-up costs the hint, not the command
        return []
    return [str(worker.get("workerId", "")) for worker in found]
