"""Runs against a real control plane: real workers over real sockets, in real time.

    outcome = trio.run(lambda: run_real(schedule, target, ramp_s=10.0, report=print))

A `Fleet` has the workers and applies the faults that can be done to them; `ledger` checks the control plane's
answers.
"""
