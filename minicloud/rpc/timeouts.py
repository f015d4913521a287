"""The time a call may take: the `grpc-timeout` header, and a deadline on Trio's clock."""

from __future__ import annotations

import math
import re

import grpclib.metadata
import trio

_UNIT_S = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1.0, "M": 60.0, "H": 3600.0}
# The specification allows eight digits. More would make an int that is dear to parse.
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_MAX_DIGITS = 99_999_999


def encode_timeout(timeout_s: float) -> str:
    """`timeout_s` as a header value, in the finest unit that eight digits hold, rounded up.

    It is rounded up because the client enforces the deadline itself: a server that gave up before it would
    turn a call that was in time into a failure. 0 and less becomes `0n`; the longest is 11,415 years.
    """
    if timeout_s <= 0:
        return "0n"
    for unit, unit_s in _UNIT_S.items():
        count = timeout_s / unit_s
        if count <= _MAX_DIGITS:
            return f"{math.ceil(count)}{unit}"
    return f"{_MAX_DIGITS}H"


def decode_timeout(value: str) -> float:
    """The seconds of a header value. Raises ValueError unless it is 1 to 8 digits and one of HMSmun."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError(f"grpc-timeout {value[:20]!r} is not 1 to 8 digits and one of H, M, S, m, u, n")
    return int(match[1]) * _UNIT_S[match[2]]


class Deadline(grpclib.metadata.Deadline):
    """grpclib's deadline on Trio's clock, which may be a virtual one."""

    def __init__(self, at_s: float) -> None:
        super().__init__(_timestamp=at_s)

    @classmethod
    def from_timeout(cls, timeout: float) -> Deadline:
        """The deadline `timeout` seconds from now."""
        return cls(trio.current_time() + timeout)

    def time_remaining(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._timestamp - trio.current_time())
