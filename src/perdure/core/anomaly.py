"""Whether far more than usual was spent in an hour: by the median of the hours before and how far
they lie from it (MAD), which a few odd hours do not move (Hampel's rule).

Pure. Money is nano-dollars; hours are named as the ledger names them, ``2026-11-21T14`` in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

HOUR = timedelta(hours=1)
FORM = "%Y-%m-%dT%H"
SPREAD = 1.4826  # the MAD of a normal distribution is its standard deviation divided by this
FLOOR = 0.25  # of the median: a spend that never varies may vary so much


class Rule(NamedTuple):
    """An hour is unusual whose spend is over the median by more than ``factor`` of its usual
    deviations, and over ``least`` (nano-dollars). Judged is who has spent anything since at least
    ``hours`` hours."""

    factor: float = 6.0
    least: int = 1_000_000_000
    hours: int = 24


class Judgement(NamedTuple):
    """``usual`` is the median; over ``bound`` it is ``unusual``."""

    unusual: bool
    usual: int
    bound: int


def name(at: datetime) -> str:
    """The hour that a time (in UTC) is in."""
    return at.strftime(FORM)


def judge(history: Mapping[str, int], hour: str, spent: int, rule: Rule) -> Judgement | None:
    """What ``spent`` in ``hour`` so far is beside the hours before it in ``history``; those that
    are missing since the first one had none. None: too little is known."""
    before = sorted(known for known in history if known < hour)
    if not before:
        return None
    first, end = (datetime.strptime(text, FORM) for text in (before[0], hour))
    span = int((end - first) / HOUR)
    if span < rule.hours:
        return None
    spends = [history.get(name(first + n * HOUR), 0) for n in range(span)]
    middle = median(spends)
    deviation = SPREAD * median(abs(each - middle) for each in spends)
    bound = max(middle + rule.factor * max(deviation, FLOOR * middle), rule.least)
    return Judgement(spent > bound, round(middle), round(bound))
