"""Poison runs: which run is to blame when a worker dies (rule L6).

A run is struck when its worker process died under it, but only if it journaled nothing since its
last strike: a run that goes forward is not what kills. After two strikes it is executed alone;
only a death while alone makes it ``dead``. Bystanders are never blamed.
"""

from __future__ import annotations

from typing import NamedTuple

STRIKES_BEFORE_ALONE = 2


class Strikes(NamedTuple):
    """``at_seq`` is the run's last entry's seq at the last strike; ``alone``: execute it with
    nothing beside it."""

    strikes: int = 0
    at_seq: int = 0
    alone: bool = False


class Blame(NamedTuple):
    strikes: Strikes
    dead: bool


def worker_died(strikes: Strikes, last_entry_seq: int) -> Blame:
    """What the death of its worker's process means for a run with these strikes."""
    if last_entry_seq > strikes.at_seq:
        return Blame(Strikes(1, last_entry_seq, False), False)
    if strikes.alone:
        return Blame(strikes, True)
    count = strikes.strikes + 1
    return Blame(Strikes(count, last_entry_seq, count >= STRIKES_BEFORE_ALONE), False)
