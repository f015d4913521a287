"""This package is the worker's side of membership: it registers, sends heartbeats with the machine's load,
and leaves.

    agent = Agent(config, control_plane, endpoint=endpoint, resources=probe.read, queries=QueryTracker(),
                  clock=clock, random=random)
    reason = await agent.run()      # registers, sends heartbeats, and returns when the worker has left

`agent` imports only the port `control_plane`; `control_plane_client` implements it over gRPC. `resources` and
`cgroup` read the load, `endpoint` and `endpoint_check` find the worker's address and try it, `identity` keeps
its lasting id, and `ticks` has the instants of the heartbeats.
"""
