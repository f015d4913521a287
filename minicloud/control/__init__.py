"""This package is the control plane: membership behind gRPC, REST, metrics and an event feed.

    plane = ControlPlane(policy, store, metrics, clock, random)     # the parts, joined; see plane.py
    plane.membership.execute(Cordon("worker-1", "repair"))          # every change goes through this
    await plane.membership.durable()                                # before the change is answered

`membership` carries out commands and publishes each change, `service` has the four gRPC calls, `rest/` the
HTTP interface. `sweeper` expires leases, and `event_log`, `feed` and `metrics` subscribe to the changes.
"""
