"""The control plane: membership behind gRPC, REST, metrics and an event feed."""
