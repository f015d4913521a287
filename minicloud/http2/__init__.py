"""HTTP/2 connections on Trio, for either end, with bounds on all that a peer can cost.

`Connection` is sans-io: bytes and the time go in, events and bytes come out. `Transport` carries one over a
Trio stream with its tasks and timers. Nothing here depends on gRPC, and no type of h2 or hpack leaves it.

    connection = Connection(client=True, limits=Http2Limits(), now_s=now_s)
    stream_id = connection.open_stream(request_headers)
    connection.send_data(stream_id, b"ping", end_stream=True)
    socket.sendall(connection.data_to_send())
    events = connection.receive(socket.recv(65_536), now_s)  # [HeadersReceived(...), DataReceived(...)]
"""

from __future__ import annotations
