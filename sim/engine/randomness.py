"""Random streams from one seed: each user of chance has a stream of its own.

Removing one fault, or one worker, therefore does not change the draws of any other; shrinking depends on it.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random


class Streams:
    """Random streams of one seed, keyed by any names, such as a node and a purpose."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, *names: str) -> Random:
        """A generator that depends on the seed and the names alone."""
        key = "\0".join((str(self.seed), *names)).encode()
        return Random(int.from_bytes(blake2b(key, digest_size=8).digest()))
