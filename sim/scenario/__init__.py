"""Scenarios: the faults that may happen in a run, as people write them, and schedules made of them.

    scenario = load("partition")  # a built-in scenario, or a TOML file
    schedule = expand(scenario, seed=7, workers=20)

`table` and `sim.faults.kinds` have every key and option; the readers and docs/scenarios.md are made from
them.
"""
