"""Mirrors the tree. Every folder here is a package, or `tests/domain` would shadow `domain`."""
