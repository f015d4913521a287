"""Compares two runs of one seed, in two processes that hash differently, event by event.

Sets of strings iterate in an order that depends on PYTHONHASHSEED, and objects hash by their addresses: a run
that depends on either shows as two traces that differ. The executable ignores PYTHONHASHSEED, as it ignores
every variable of Python's, and draws a seed in each process. So each run reports how it hashes, and two runs
that hash alike are no comparison.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import msgspec

from minicloud.core.errors import MiniCloudError
from minicloud.process.child import die_with_parent
from sim.faults.schedule import Schedule

_HASH_SEEDS = ("1", "4242")
_CONTEXT_LINES = 8
_GRACE_S = 0.3


class CannotCompareError(MiniCloudError):
    """One of the two runs did not end in order, or both hashed alike."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The place where two traces part: the line's number, from 1, the lines before it, and the lines after
    it in each."""

    line: int
    before: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]


def compare_processes(schedule: Schedule, command: Sequence[str], env: dict[str, str]) -> Difference | None:
    """Run `schedule` twice by `command`, with different hash seeds; return None if the traces are the same.

    Raises `CannotCompareError`.
    """
    with tempfile.TemporaryDirectory(prefix="minicloud-sim-") as folder:
        plan = Path(folder) / "schedule.json"
        plan.write_bytes(schedule.to_json())
        traces = [Path(folder) / f"trace-{number}" for number in range(2)]
        results = [Path(folder) / f"result-{number}.json" for number in range(2)]
        with ExitStack() as stack:
            runs = [
                stack.enter_context(
                    subprocess.Popen(
                        [*command, "--replay", str(plan), "--trace", str(trace), "--json", str(result)],
                        env={**env, "PYTHONHASHSEED": hash_seed},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                        # A terminal's Ctrl-C reaches this process alone, which ends them.
                        process_group=0,
                        preexec_fn=die_with_parent(),
                    )
                )
                for trace, result, hash_seed in zip(traces, results, _HASH_SEEDS, strict=True)
            ]
            try:
                for run in runs:
                    _, problem = run.communicate()
                    if run.returncode not in (0, 1, 2):  # that a promise broke is not the question here
                        text = problem.decode("utf-8", "replace").strip().splitlines()
                        raise CannotCompareError(f"a run failed: {text[-1] if text else run.returncode}")
            finally:
                _end(runs)
        if len({msgspec.json.decode(result.read_bytes())["hashed"] for result in results}) == 1:
            raise CannotCompareError("both runs hashed alike: what depends on it would not show")
        return first_difference(*traces)


def _end(runs: Sequence[subprocess.Popen[bytes]]) -> None:
    for run in runs:
        run.terminate()
    for run in runs:
        with suppress(subprocess.TimeoutExpired):
            run.wait(_GRACE_S)
        run.kill()


def first_difference(first: Path, second: Path) -> Difference | None:
    """The first difference of two traces, if there is one. Reads them line by line, so that their length
    does not matter."""
    before: deque[str] = deque(maxlen=_CONTEXT_LINES)
    with first.open(encoding="utf-8") as one, second.open(encoding="utf-8") as other:
        pairs = enumerate(zip_longest(one, other), start=1)
        for number, (left, right) in pairs:
            if left == right:
                before.append((left or "").rstrip("\n"))
                continue
            rest = [
                (left, right),
                *(pair for _, pair in zip(range(_CONTEXT_LINES - 1), _only(pairs), strict=False)),
            ]
            return Difference(
                number,
                tuple(before),
                tuple(line.rstrip("\n") for line, _ in rest if line is not None),
                tuple(line.rstrip("\n") for _, line in rest if line is not None),
            )
    return None


def _only(pairs: Iterator[tuple[int, tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    return (pair for _, pair in pairs)
