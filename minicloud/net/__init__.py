"""This package has addresses, listening sockets and retry delays: the parts of networking without a protocol.

    Address("fd00::7", 9090)            # str() is [fd00::7]:9090
    parse_address("[fd00::7]:9090")     # the same, or ValueError
    Backoff(initial_s=0.5, max_s=30)    # delay_s(failures, random) is the wait before the next try

It imports only `core` and `starting`.
"""
