"""The REST face of the control plane: workers, events, probes, metrics, and the documentation of these."""
