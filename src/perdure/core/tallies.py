"""What a process counts of its own work, for whoever asks: numbers by name and labels."""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

# Upper bounds in seconds: from a round trip to a database to a run that parks.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


class Spread:
    """How often which duration was seen. ``counts``: those up to each of BOUNDS and above the last;
    ``total``: the sum, in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Counts(Protocol):
    """Where counts go."""

    def count(self, metric: str, **labels: str) -> None:
        """Add one."""

    def took(self, metric: str, seconds: float, **labels: str) -> None:
        """Add a duration."""
