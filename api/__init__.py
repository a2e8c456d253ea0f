"""Where people and programs come in: application, command line, workers, and the only place that wires adapters."""
