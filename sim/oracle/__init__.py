"""The oracle: it observes a run from outside the production code and finds the promises that do not hold.

    oracle = Oracle()
    Simulation(schedule, [oracle]).run()
    oracle.violations

It keeps a model of its own, made of the messages that the service took, the clock of the control plane's
machine and the truth that the simulator knows, and compares it with the state of the production code.
"""
