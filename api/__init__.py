"""Where people and programs come in: application, command line, workers; here alone adapters are wired."""
