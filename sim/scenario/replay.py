"""Reads a schedule from a file, and refuses one that cannot be run.

`--report` and `--shrink` write correct schedules; people edit them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sim.cluster.topology import CONTROL_PLANE, Topology
from sim.faults.kind import Lasts, On
from sim.faults.kinds import KINDS, SIMULATED
from sim.faults.schedule import Fault, Phases, Schedule, ScheduleError
from sim.net.network import Delay
from sim.options.key import Key
from sim.options.values import share, shown, suggestion
from sim.scenario.table import PHASES, TIMERS, TOP, TOPOLOGY


def read_schedule(path: str) -> Schedule:
    """The schedule in the file of that name. Raises `ScheduleError`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        problem = error.strerror or str(error)
        raise ScheduleError(
            f"--replay {path}: {problem}: name a file that --report or --shrink wrote"
        ) from None
    try:
        schedule = Schedule.from_json(data)
        for name in _unknown(msgspec.json.decode(data), msgspec.to_builtins(schedule), "$"):
            raise ScheduleError(f"not a schedule: {name} is no key of one: take it out")
        _check(schedule)
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from None
    return schedule


def _unknown(given: Any, known: Any, where: str) -> Iterator[str]:
    """The keys that decoding has ignored."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            if name not in known:
                yield f"{where}.{name}"
            else:
                yield from _unknown(value, known[name], f"{where}.{name}")
    elif isinstance(given, list) and isinstance(known, list | tuple):
        for number, value in enumerate(given):
            yield from _unknown(value, known[number], f"{where}[{number}]")


def _check(schedule: Schedule) -> None:
    _check_keys(TOP[:1], schedule, "$")
    _check_keys(TOP[2:], schedule, "$")
    if not 0 <= schedule.seed < 2**63:
        _refuse("$.seed", schedule.seed, "is out of range: give 0 to 2^63 - 1")
    _check_topology(schedule.topology)
    _check_keys(PHASES, schedule.phases, "$.phases")
    for number, fault in enumerate(schedule.faults):
        _check_fault(fault, schedule.topology, schedule.phases, f"$.faults[{number}]")


def _check_topology(topology: Topology) -> None:
    where = "$.topology"
    _check_keys([key for key in TOPOLOGY if key.name not in ("delay", "service-time")], topology, where)
    _check_keys(TIMERS, topology.timers, f"{where}.timers")
    for name, delay in (("delay", topology.delay), ("service_time", topology.service_time)):
        _check_delay(delay, f"{where}.{name}")
    if 2 * topology.duplicates > topology.workers:
        _refuse(f"{where}.duplicates", topology.duplicates, "is more than half of the workers: give less")
    if topology.timers.heartbeat_timeout_s < 2 * topology.timers.heartbeat_interval_s:
        timeout_s = topology.timers.heartbeat_timeout_s
        _refuse(f"{where}.timers.heartbeat_timeout_s", timeout_s, "is less than twice the interval: raise it")


def _check_delay(delay: Delay, where: str) -> None:
    if not 0 <= delay.low_s <= delay.high_s <= 3600:
        _refuse(where, [delay.low_s, delay.high_s], "is not a range: give 0 <= low_s <= high_s <= 3600")
    try:
        share().check(delay.tail)
    except ValueError as problem:
        _refuse(f"{where}.tail", delay.tail, str(problem))
    if delay.tail and not delay.high_s <= delay.tail_s <= 3600:
        _refuse(f"{where}.tail_s", delay.tail_s, "is out of range: give high_s <= tail_s <= 3600")


def _check_fault(fault: Fault, topology: Topology, phases: Phases, where: str) -> None:
    if fault.kind not in SIMULATED:
        _refuse(
            f"{where}.kind", fault.kind, f"is no kind of fault: {suggestion(fault.kind, list(SIMULATED))}"
        )
    kind = KINDS[fault.kind]
    for name in ("at_s", "for_s"):
        if not getattr(fault, name) >= 0:
            _refuse(f"{where}.{name}", getattr(fault, name), "is out of range: give at least 0")
    if fault.end_s > phases.heal_s + 1e-6:
        _refuse(f"{where}.for_s", fault.for_s, f"ends after the chaos, at {phases.heal_s:g}: end it sooner")
    if kind.lasts is Lasts.MOMENT and fault.for_s:
        _refuse(f"{where}.for_s", fault.for_s, f"is too long: {fault.kind} happens in a moment: give 0")
    _check_nodes(fault, topology, where)
    for name, value in fault.options.items():
        known = [key.code_name for key in kind.options]
        if name not in known:
            hint = suggestion(name, known) if known else "it has none"
            _refuse(f"{where}.options.{name}", value, f"is no option of {fault.kind}: {hint}")
        _check_value(kind.option(name), value, f"{where}.options.{name}")
    of = fault.options.get("of")
    if any(key.code_name == "of" for key in kind.options) and of not in topology.worker_names:
        _refuse(f"{where}.options.of", of, "is no worker of the topology: give another")


def _check_nodes(fault: Fault, topology: Topology, where: str) -> None:
    on = KINDS[fault.kind].on
    workers = frozenset(() if on is On.CONTROL_PLANE else topology.worker_names)
    for node in fault.nodes:
        if node not in workers and not (node == CONTROL_PLANE and on is not On.WORKERS):
            _refuse(f"{where}.nodes", node, f"cannot have {fault.kind}: it is on {on} of the topology")


def _check_keys(keys: Sequence[Key], of: object, where: str) -> None:
    for key in keys:
        _check_value(key, getattr(of, key.code_name), f"{where}.{key.code_name}")


def _check_value(key: Key, value: object, where: str) -> None:
    try:
        key.kind.check(value)
    except ValueError as problem:
        _refuse(where, value, str(problem))


def _refuse(where: str, value: object, problem: str) -> None:
    raise ScheduleError(f"not a schedule: {where} = {shown(value)} {problem}")
