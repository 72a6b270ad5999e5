"""Retry verdicts: whether a failure is worth trying again, and when.

Exponential back-off with full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015): the n-th delay is uniform in [0, min(cap, base * factor**n)]. A delay
that the other side asked for (Retry-After) is a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Severity(StrEnum):
    """What an error says about trying again."""

    RETRYABLE = "retryable"
    FATAL = "fatal"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``attempts`` is how often in all; 1 means never again."""

    attempts: int = 5
    base: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    cap: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if self.base < timedelta(0) or self.cap < self.base or self.factor < 1:
            raise ValueError("back-off needs 0 <= base <= cap and factor >= 1")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``again_in`` is None when there is no further try."""

    again_in: timedelta | None

    @property
    def final(self) -> bool:
        return self.again_in is None


def decide(
    policy: RetryPolicy,
    failures: int,
    severity: Severity,
    random: float,
    retry_after: timedelta | None = None,
) -> Verdict:
    """What follows the ``failures``-th failure (counted from 1); ``random`` is in [0, 1)."""
    if severity is Severity.FATAL or failures >= policy.attempts:
        return Verdict(None)
    cap = policy.cap.total_seconds()
    # Past 2**64 the cap holds anyway; the bound keeps the power from overflowing.
    limit = min(cap, policy.base.total_seconds() * policy.factor ** min(failures - 1, 64))
    delay = limit * random
    if retry_after is not None:
        # Jitter is added on top, so that those who were told the same time do not come together.
        delay = retry_after.total_seconds() + min(delay, policy.base.total_seconds())
    return Verdict(timedelta(seconds=delay))
