"""gRPC on Trio: grpclib's service model (generated stubs and service bases, unchanged) carried by HTTP/2.

From the inside out, each module knowing only those before it:

- pure: `status`, `status_details`, `timeouts`, `metadata`, `framing`, `backoff`, `budget`, `answers`,
  `config`, `refusals`, `admission`, `events`, `frames`, `floods`, `retry_buffer`
- sans-io: `engine` (h2, one stream's faults kept from the others), `connection` (bytes in, events out),
  `timers`
- Trio: `transport` (one connection's tasks), `call` (one HTTP/2 stream), then the two ends,
  `server_stream`, `server_connection` and `server`, and `client_connection`, `client_stream` and `channel`

Knows no service of ours: what workers are, what an error of the core means in gRPC, is passed in.
"""

from __future__ import annotations
