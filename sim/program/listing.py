"""The output of `minicloud-sim` that needs no run: `--list` and `--show`."""

from __future__ import annotations

from collections.abc import Mapping

from sim.faults.kinds import KINDS
from sim.options.values import suggestion
from sim.scenario import swarm
from sim.scenario.document import document
from sim.scenario.reading import ScenarioError
from sim.scenario.scenario import builtin, builtin_names, load
from sim.verdict.goals import GOALS, MESSAGES_ALONE
from sim.verdict.mutants import MUTANTS

FORMAT = "format"


def listing() -> str:
    """The output of `--list`: every name with its description."""
    scenarios = {name: load(name).summary for name in builtin_names()} | {swarm.NAME: swarm.SUMMARY}
    faults = {
        kind.name: kind.meaning
        + (f" ({', '.join(option.name for option in kind.options)})" if kind.options else "")
        for kind in KINDS.values()
    }
    goals = {
        name: f"{text} (--depth messages alone)" if name in MESSAGES_ALONE else text
        for name, text in GOALS.items()
    }
    mutants = {name: mutant.summary for name, mutant in MUTANTS.items()}
    return "\n\n".join(
        (
            _section("scenarios", scenarios),
            _section("faults (and the options of each)", faults),
            _section("probes", goals),
            _section("mutants (--mutate)", mutants),
            f"--show NAME prints a scenario, --show {FORMAT} describes the keys and options of scenarios.",
        )
    )


def show(name: str) -> str:
    """The built-in scenario of that name, or the format of scenarios. Raises `ScenarioError`."""
    if name == FORMAT:
        return document()
    if name == swarm.NAME:
        raise ScenarioError(
            "swarm has no file, as each seed draws another schedule: --scenario swarm --seed 7 --report DIR "
            "writes the one of a seed"
        )
    if name not in builtin_names():
        raise ScenarioError(f"no built-in scenario {name!r}: {suggestion(name, [*builtin_names(), FORMAT])}")
    return builtin(name)


def _section(title: str, entries: Mapping[str, str]) -> str:
    width = max(map(len, entries))
    return "\n".join([title, *(f"  {name.ljust(width)}  {text}".rstrip() for name, text in entries.items())])
