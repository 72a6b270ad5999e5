"""The meters: how a provider decides that there is room, and an exact log of what was charged.

Pure: time comes as ``now`` (seconds), never backwards. A ``Charge`` is one object that the meter
and its log share, so that a correction changes what was used when it was charged. Windows are open
at their old end: what was charged at t is out of a 60 s window at t + 60.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["LOGGED", "Bucket", "Charge", "Gauge", "Slots", "Window", "largest"]

LOGGED = 1_000_000  # charges that a meter's log remembers
_EPSILON = 1e-6  # of a token: what sums of floats may be off


@dataclass(slots=True)
class Charge:
    """An amount, and when it was charged."""

    at: float
    amount: float


class Gauge(Protocol):
    """One kind of meter."""

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` fits: 0 when it does, infinite when it never will."""

    def add(self, charge: Charge, now: float) -> None:
        """Charges, whether there is room or not."""

    def correct(self, charge: Charge, amount: float, now: float) -> None:
        """Makes a charge another amount."""

    def used(self, now: float) -> float:
        """What counts now."""

    def full_in(self, now: float) -> float:
        """Seconds until all of it is free again, when nothing more comes."""


class Window:
    """At most ``capacity`` in any ``span`` seconds."""

    def __init__(self, capacity: float, span: float) -> None:
        self._capacity = capacity
        self._span = span
        self._recent: deque[Charge] = deque()
        self._sum = 0.0

    def wait(self, amount: float, now: float) -> float:
        if amount > self._capacity + _EPSILON:
            return math.inf
        over = self.used(now) + amount - self._capacity
        if over <= _EPSILON:
            return 0.0
        for charge in self._recent:
            over -= charge.amount
            if over <= _EPSILON:
                return charge.at + self._span - now
        raise AssertionError("an empty window has room")

    def add(self, charge: Charge, now: float) -> None:
        self._recent.append(charge)
        self._sum += charge.amount

    def correct(self, charge: Charge, amount: float, now: float) -> None:
        self._expire(now)
        if charge.at > now - self._span:
            self._sum += amount - charge.amount
        charge.amount = amount

    def used(self, now: float) -> float:
        self._expire(now)
        return self._sum

    def full_in(self, now: float) -> float:
        self._expire(now)
        return self._recent[-1].at + self._span - now if self._recent else 0.0

    def _expire(self, now: float) -> None:
        while self._recent and self._recent[0].at <= now - self._span:
            self._sum -= self._recent.popleft().amount
        if not self._recent:
            self._sum = 0.0


class Bucket:
    """Holds ``capacity`` and is filled at ``rate`` a second; corrections may leave it in debt."""

    def __init__(self, capacity: float, rate: float) -> None:
        self._capacity = capacity
        self._rate = rate
        self._level = capacity
        self._at = -math.inf

    def wait(self, amount: float, now: float) -> float:
        if amount > self._capacity + _EPSILON:
            return math.inf
        short = amount - self._filled(now)
        return short / self._rate if short > _EPSILON else 0.0

    def add(self, charge: Charge, now: float) -> None:
        self._level = self._filled(now) - charge.amount

    def correct(self, charge: Charge, amount: float, now: float) -> None:
        self._level = min(self._capacity, self._filled(now) + charge.amount - amount)
        charge.amount = amount

    def used(self, now: float) -> float:
        return self._capacity - self._filled(now)

    def full_in(self, now: float) -> float:
        return (self._capacity - self._filled(now)) / self._rate

    def _filled(self, now: float) -> float:
        if now > self._at:
            if self._level < self._capacity:
                gained = (now - self._at) * self._rate
                self._level = min(self._capacity, self._level + gained)
            self._at = now
        return self._level


class Slots:
    """At most ``capacity`` at once: a charge counts until it is corrected to 0."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._taken = 0.0
        self.peak, self.peak_at = 0.0, 0.0

    def wait(self, amount: float, now: float) -> float:
        if amount > self._capacity:
            return math.inf
        # Nobody knows when a slot comes free; a second is what a provider would say.
        return 0.0 if self._taken + amount <= self._capacity else 1.0

    def add(self, charge: Charge, now: float) -> None:
        self._taken += charge.amount
        if self._taken > self.peak:
            self.peak, self.peak_at = self._taken, now

    def correct(self, charge: Charge, amount: float, now: float) -> None:
        self._taken += amount - charge.amount
        charge.amount = amount

    def used(self, now: float) -> float:
        return self._taken

    def full_in(self, now: float) -> float:
        return 1.0 if self._taken else 0.0


def largest(log: Iterable[Charge], span: float) -> tuple[float, float]:
    """The most that was charged within any ``span`` seconds, and when that window ended."""
    best, best_at, total = 0.0, 0.0, 0.0
    inside: deque[Charge] = deque()
    for charge in log:
        while inside and inside[0].at <= charge.at - span:
            total -= inside.popleft().amount
        inside.append(charge)
        total += charge.amount
        if total > best:
            best, best_at = total, charge.at
    return best, best_at
