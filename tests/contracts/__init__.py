"""Contract suites: one per port, run by every adapter of it."""
