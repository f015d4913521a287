"""MiniCloud: cluster membership for distributed query clusters."""

__version__ = "0.1.0"
