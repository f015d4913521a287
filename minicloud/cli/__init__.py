"""This package is the command line: `minicloud COMMAND`, and the options of the two programs.

    from minicloud.cli.commands import command_named
    exit_code = command_named("workers")(["--status", "unhealthy"])

Each command is a module with a parser and a function that returns an exit code. Operator commands use the
REST interface of a running control plane (`rest`) and import nothing of its inside. `output` makes standard
output and error safe for every command, `interruption` ends one on Ctrl-C, and `text` lays out tables and
figures.
"""
