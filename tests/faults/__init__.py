"""Crashes and failing system calls at every step of writing; `nox -s faults` sweeps all, the gate a few."""
