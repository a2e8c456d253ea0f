"""Recorded files: what devices upload, read into datasets, and datasets as they are stored."""
