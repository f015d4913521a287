"""Addresses, listening sockets and retry delays: the parts of networking that carry no protocol.

Address("fd00::7", 9090)            # str() is [fd00::7]:9090
parse_address("[fd00::7]:9090")     # the same, or ValueError
"""
