"""The keeper's clock, as a worker knows it: between two bounds.

Each answer says that the keeper's clock showed ``told`` at some time between the question and the
answer, by the worker's own monotonic clock. All such intervals hold together, so the tightest
bounds of several are kept (K. Marzullo, "Maintaining the time in a distributed system", 1983); a
slow answer, or one that a busy worker read late, then does no harm.
"""

from __future__ import annotations

from collections.abc import Callable

DRIFT = 2e-4  # by which two clocks may differ in speed; crystals differ by 1e-4 at most


class Clock:
    """``mine`` is monotonic, in seconds."""

    __slots__ = ("_at", "_high", "_low", "_mine")

    def __init__(self, mine: Callable[[], float]) -> None:
        self._mine = mine
        self._low: float | None = None  # the keeper's clock less mine, at least
        self._high = 0.0  # and at most
        self._at = 0.0

    def heard(self, told: float, asked: float, answered: float) -> None:
        """The keeper's clock showed ``told`` between ``asked`` and ``answered``, times of mine."""
        low, high = told - answered, told - asked
        if self._low is not None:
            drift = DRIFT * max(0.0, answered - self._at)
            low_before, high_before = self._low - drift, self._high + drift
            # Where they contradict each other the keeper is another by now, or its clock was set.
            if low <= high_before and low_before <= high:
                low, high = max(low, low_before), min(high, high_before)
        self._low, self._high, self._at = low, high, answered

    def earliest(self) -> float | None:
        """The keeper's clock, never ahead of it; None before it was heard of."""
        if self._low is None:
            return None
        mine = self._mine()
        return mine + self._low - DRIFT * (mine - self._at)

    def latest(self) -> float | None:
        """The keeper's clock, never behind it."""
        if self._low is None:
            return None
        mine = self._mine()
        return mine + self._high + DRIFT * (mine - self._at)
