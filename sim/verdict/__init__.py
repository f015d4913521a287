"""The terms of a verdict: promises, coverage goals, the outcome of a run, and mutants that test the oracle.

outcome.verdict  # Verdict.BROKEN where a promise did not hold, INCONCLUSIVE where a coverage goal was missed
"""
