"""gRPC on Trio: grpclib's service model (generated stubs and service bases, unchanged) carried by HTTP/2.

From the inside out, each module knowing only those before it:

- pure: `status`, `timeouts`, `metadata`, `framing`, `backoff`, `config`, `floods`
- sans-io: `connection` (HTTP/2 over h2: bytes in, events out), `timers`
- Trio: `transport` (one connection's tasks), `call` (one HTTP/2 stream), then the two ends,
  `server` with `server_stream` and `channel` with `client_stream`

Knows no service of ours: what workers are, what an error of the core means in gRPC, is passed in.
"""

from __future__ import annotations
