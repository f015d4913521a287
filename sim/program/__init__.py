"""The command `minicloud-sim`: its options, its actions, its processes and its output files.

    sys.exit(main(["--scenario", "swarm", "--seeds", "1..200"]))

`main` imports the rest only once signals are handled, so that a Ctrl-C during the imports ends in one line.
"""
