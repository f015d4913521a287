"""Figures as people read them, in every report alike."""

from __future__ import annotations


def count(number: float) -> str:
    """`12,345`."""
    return f"{number:,.0f}"


def seconds(duration_s: float) -> str:
    """A measured duration: `0.25 s`, `120.0 s`."""
    return f"{duration_s:.2f} s" if duration_s < 10 else f"{duration_s:,.1f} s"


def clock(at_s: float) -> str:
    """A moment or a stretch of virtual time: `1:23`, `27:00`, `1:02:03`."""
    minutes, rest = divmod(round(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def exactly(at_s: float) -> str:
    """A moment to the millisecond: `2:03.250`."""
    milliseconds = round(at_s * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes}:{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"


def times(speed: float) -> str:
    """A speed over real time: `512x`, `3.2x`."""
    return f"{speed:,.0f}x" if speed >= 10 else f"{speed:.1f}x"


def of(number: int, noun: str) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def nodes(names: tuple[str, ...], most: int = 1) -> str:
    """Some nodes in few words: `worker-3`, or `17 nodes`."""
    if len(names) <= most:
        return ", ".join(names) or "nobody"
    noun = "worker" if all(name.startswith("worker-") for name in names) else "node"
    return of(len(names), noun)
