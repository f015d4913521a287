"""The oracle: watches a run from outside the production code and says which promise did not hold, and when.

It keeps a model of its own, made of the messages the service took, the clock of the control plane's node and
what the simulator knows to be true, and compares it with what the production code says.
"""
