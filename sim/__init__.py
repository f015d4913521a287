"""MiniCloud's simulator: the production code on virtual clocks, with faults, observed by an oracle.

    minicloud-sim --scenario partition --seed 7

A `scenario` and a seed become a schedule of `faults`. A `simulation` runs it on a `cluster` of production
control planes and workers, joined by `net`, in the virtual time of `engine`. The `oracle` checks every
promise meanwhile, `record` keeps what `report` shows, and `verdict` has the outcome. `real` runs a schedule
against a real control plane, `search` finds the smallest schedule that fails, and `program` is the command.
tests/test_layers.py keeps the imports between these packages in one direction.
"""
