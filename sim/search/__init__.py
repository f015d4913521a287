"""Searches over several runs of a schedule: the smallest one that fails, and runs that are not repeatable.

Shrinker(schedule, fails).run()                 # the smallest schedule that still fails
compare_processes(schedule, command, os.environ)  # None where two processes give one trace
"""
