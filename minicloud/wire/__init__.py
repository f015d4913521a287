"""The wire contract: generated messages and stubs (`gen`), and what ties them to the core's types."""
