"""The simulated network: links that carry whole messages, or the bytes of the gRPC stack.

    network = Network(timeline, streams, LAN)
    network.link("worker-1", "control-plane").to_server.cut += 1  # its calls are lost

`depths` makes the channels and servers of either depth; `messages` and `wire` have them.
"""
