"""A simulated cluster: production control planes and workers on machines that can fail.

    cluster = Cluster(Topology(workers=5), timeline, streams, [observer])
    cluster.start(nursery)
    cluster.workers["worker-1"].kill()

A `Node` is a machine, whose clock, disk and address stay; a run is a program on it. Observers receive every
event of the cluster.
"""
