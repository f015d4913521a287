"""The command line: what a person types, and what they get to see.

Operator commands speak REST to a running control plane and know nothing of its inside.
"""
