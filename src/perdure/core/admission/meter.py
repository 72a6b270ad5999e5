"""One limit's meter: a window of 61 or 121 parts, a pacing bucket, and how far it is believed.

Invariant: what was booked at any time t is counted until t + per + slack at least, so that no
``per`` seconds at the provider hold more than the limit when every call arrives within the slack
after it was booked. The pacing bucket is a GCRA (ITU-T I.371) with the provider's own rate. Why
this is enough: docs/decisions/0019-exact-windows.md.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import ceil

from perdure.core.admission.limits import Limit, What

# A time at a part's very border may round into the part before.
BORDER_S = 0.001
# After an unpredicted 429 a limit is believed again by this share of it a minute: the six minutes
# from 0.7 to 1 are six windows, each a chance to be refused again (additive increase).
RECOVERY_PER_S = 0.05 / 60


class Meter:
    """``k``: the number of the part that is being filled. ``tat``: when the pacing bucket is empty
    again (unix seconds; in the past: since when it is). ``level``: share of the limit that was
    believed at ``cut`` (unix seconds). ``counts``: its parts, oldest first; none for CONCURRENT.
    ``used``: their sum."""

    __slots__ = ("counts", "cut", "k", "level", "tat", "used")

    def __init__(self, k: int, tat: float, level: float, cut: float, counts: list[int]) -> None:
        self.k, self.tat, self.level, self.cut, self.counts = k, tat, level, cut, counts
        self.used = sum(counts)

    def row(self) -> list[object]:
        """As JSON values; ``Meter(*row)`` reads it back."""
        return [self.k, self.tat, self.level, self.cut, self.counts]

    def believed(self, now: float) -> float:
        """The share of the limit that is believed, 0.1 to 1."""
        if self.level >= 1.0:
            return 1.0
        return min(1.0, self.level + RECOVERY_PER_S * max(0.0, now - self.cut))

    def tend(self, limit: Limit, now: float) -> None:
        """Let go of what left the window."""
        k = int(now // limit.grain)
        past = k - self.k
        if past <= 0 or not self.counts:
            return
        self.k = k
        if past > limit.parts:
            self.counts, self.used = [0] * (limit.parts + 1), 0
            return
        self.used -= sum(self.counts[:past])
        self.counts = self.counts[past:] + [0] * past

    def room(self, limit: Limit, at: float, now: float) -> float:
        """What is free in the window at ``at``, when nothing else is booked until then."""
        left = int(limit.amount * self.believed(now)) - self.used
        past = int(at // limit.grain) - self.k
        return left + sum(self.counts[:past]) if past > 0 else left

    def when(self, limit: Limit, amount: float, ahead: float, now: float) -> float:
        """The first time when ``amount`` fits after the ``ahead`` of others; ``now`` if it does.

        More than the whole limit is let through alone: only the provider can say whether it is too
        large, an estimate cannot.
        """
        share = self.believed(now)
        most = int(limit.amount * share)
        missing = self.used + ahead + min(amount, most) - most
        at = now
        if missing > 0:
            if missing <= self.used:
                leaves = bisect_left(list(accumulate(self.counts)), missing) + 1
                at = (self.k + leaves) * limit.grain + BORDER_S
            else:  # those ahead fill windows that are still to come
                at = (self.k + limit.parts + 1) * limit.grain + BORDER_S
                at += (missing - self.used) / (limit.rate * share)
        if limit.capacity is not None and limit.burst is not None:
            load = ahead + min(amount, limit.burst) - limit.capacity
            paced = self.tat + load / (limit.rate * share)
            at = max(at, paced)
        return max(at, now)

    def book(self, limit: Limit, amount: float, now: float) -> None:
        """Count ``amount`` now. Below zero: what was booked too much goes from the oldest parts, so
        that the rest is counted for rather too long than too short."""
        if not amount or not self.counts:
            return
        if amount > 0:
            whole = ceil(amount)
            self.counts[-1] += whole
            self.used += whole
            if limit.burst is not None:
                once = whole if limit.produced else min(whole, limit.burst)
                self.tat = _ms(max(self.tat, now) + once / self._rate(limit, now))
            return
        back = min(int(-amount), self.used)
        self.used -= back
        for i, count in enumerate(self.counts):
            if count:
                part = min(count, back)
                self.counts[i] = count - part
                back -= part
                if not back:
                    break

    def correct(self, limit: Limit, amount: int, at: float, now: float, *, unsent: bool) -> None:
        """Change by ``amount`` what was booked at ``at``, where it was booked."""
        if not amount or not self.counts:
            return
        if limit.burst is not None:
            rate = self._rate(limit, now)
            if amount > 0:
                self.tat = _ms(max(self.tat, now) + min(amount, limit.burst) / rate)
            elif not unsent:
                # What the provider gives back now cannot make its bucket emptier than empty.
                least = self.tat + max(amount, -limit.burst) / rate
                self.tat = _ms(max(least, min(self.tat, now)))
        i = int(at // limit.grain) - self.k + limit.parts
        if i < 0:
            return  # it has left the window, with all it was
        i = min(i, limit.parts)
        change = max(amount, -self.counts[i])
        self.counts[i] += change
        self.used += change
        if change != amount:
            self.book(limit, amount - change, now)
        if unsent and limit.burst is not None:
            self._pace(limit, now)

    def _pace(self, limit: Limit, now: float) -> None:
        """Fill the pacing bucket anew from the parts of the window, after something that the
        provider never saw was taken out of them: without that it may have been empty for a while,
        which ``tat`` alone does not tell. Each part counts as filled at its very end, and before
        the first one the bucket was full: it holds rather too much than too little."""
        assert limit.burst is not None
        rate, level = self._rate(limit, now), limit.burst
        for count in self.counts[:-1]:
            level = max(0.0, level - rate * limit.grain) + count
        level = max(0.0, level - rate * max(0.0, now - self.k * limit.grain)) + self.counts[-1]
        self.tat = min(self.tat, _ms(now + level / rate))

    def fill(self, limit: Limit, now: float, *, strict: bool = False) -> None:
        """Count the window as used in full: evenly, so that work goes on at the steady rate without
        a burst, or, ``strict``, just now, so that it goes on when a window is over."""
        if limit.what is What.CONCURRENT:
            return
        if strict:
            self.counts = [0] * limit.parts + [limit.amount]
        else:
            share, rest = divmod(limit.amount, limit.parts + 1)
            self.counts = [share + (i < rest) for i in range(limit.parts + 1)]
        self.used = limit.amount
        if limit.capacity is not None:
            self.tat = _ms(now + max(0.0, limit.capacity) / limit.rate)

    def _rate(self, limit: Limit, now: float) -> float:
        return limit.rate * self.believed(now)


def empty(limit: Limit, now: float) -> Meter:
    """A meter of which nothing is used."""
    if limit.what is What.CONCURRENT:
        return Meter(0, 0.0, 1.0, 0.0, [])
    # A bucket that was never used has been empty for longer than any call can need.
    tat = now - (limit.burst or 0.0) / limit.rate - limit.slack
    return Meter(int(now // limit.grain), _ms(tat), 1.0, 0.0, [0] * (limit.parts + 1))


def _ms(at: float) -> float:
    """``at`` as it stands in documents: rounded up, towards waiting."""
    return ceil(at * 1000) / 1000
