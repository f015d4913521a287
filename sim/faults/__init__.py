"""Faults: their kinds, in one table, and the effect of each on a simulated cluster or on real workers.

kind = KINDS["partition"]
undo = kind.effect(cluster, kind.complete(fault))  # cut the links of fault.nodes
undo()                                             # and join them again
"""
