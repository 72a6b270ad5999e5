"""Pure rules: no I/O, no event loop, no clock, no randomness. ``now`` is an argument."""
