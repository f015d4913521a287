"""gRPC on Trio: generated stubs and service bases of grpclib, unchanged, over `minicloud.http2` (DESIGN 2).

`server` and `channel` are the two ends; `context` has the facts of a call, `interceptors` wrap services.
`call` has the messages of one call, `framing`, `metadata`, `status` and `timeouts` the formats of gRPC,
`admission`, `budget` and `answers` the limits. Nothing here depends on a service of MiniCloud.

    server = Server([Greeter()], random=random)
    nursery.start_soon(server.serve, await trio.open_tcp_listeners(9090))
    async with open_channel([("127.0.0.1", 9090)], random=random) as channel:
        reply = await channel.stub(GreeterStub).greet(Hello(name="you"), timeout=5)
"""

from __future__ import annotations
