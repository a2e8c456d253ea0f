"""Versioned procedures: signal algorithms and payload mappers."""
