"""What `minicloud-sim --list` shows: scenarios, faults, probes, mutants."""

from __future__ import annotations

from collections.abc import Mapping

from sim.mutants import MUTANTS
from sim.probes import MESSAGES_ALONE, PROBES
from sim.scenario import swarm
from sim.scenario.expand import KINDS
from sim.scenario.scenario import builtin_names, load


def listing() -> str:
    """The text."""
    scenarios = {name: load(name).summary for name in builtin_names()} | {swarm.NAME: swarm.SUMMARY}
    faults = {kind: ", ".join(sorted(options)) for kind, options in KINDS.items()}
    probes = {
        name: f"{text} (--depth messages alone)" if name in MESSAGES_ALONE else text
        for name, text in PROBES.items()
    }
    mutants = {name: mutant.summary for name, mutant in MUTANTS.items()}
    return "\n\n".join(
        (
            _section("scenarios", scenarios),
            _section("faults, and the options of each", faults),
            _section("probes", probes),
            _section("mutants (--mutate)", mutants),
        )
    )


def _section(title: str, entries: Mapping[str, str]) -> str:
    width = max(map(len, entries))
    return "\n".join([title, *(f"  {name.ljust(width)}  {text}".rstrip() for name, text in entries.items())])
