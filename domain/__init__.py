"""The words, events, states and decisions of Tallystick, as pure values and functions.

Nothing in this room reads a file, a clock, a random source or the environment: whatever a decision needs
enters as an argument and is recorded, so that replaying the events reproduces every result byte for byte.
"""
