"""MiniCloud keeps the membership of distributed query clusters: one control plane, and a worker on each
machine.

A cluster to try takes one command:

    $ minicloud dev         # a control plane and three workers on this machine
    $ minicloud workers     # lists them, with status and load

`core` has the rules of membership and is pure. `control` and `worker` are the two programs, over `wire`,
`rpc` and `store`; `app` puts each of them together, `config` reads its settings, and `cli` is the command
line. DESIGN.md has the modules, the path of a heartbeat, and the decisions with their reasons.
"""

__version__ = "0.1.0"
