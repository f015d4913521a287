"""The two programs, each put together in a module that imports nothing of the other: what a worker never runs
costs it no start."""
