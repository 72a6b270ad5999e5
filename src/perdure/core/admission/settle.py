"""After a call: what was booked becomes what was used. And a worker's goodbye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.core.admission.demand import Outcome
from perdure.core.admission.flight import Hand
from perdure.core.admission.limits import What
from perdure.core.admission.state import CALLS, State


def settle(
    states: Mapping[str, State], hand: Hand, outcomes: Sequence[Outcome], now: float
) -> None:
    """Correct the charges of calls that ended, changing ``states``; ``hand.end`` them first.

    A correction is booked at the second of its charge, so that any window of real use stays within
    the limit. A call that was not sent gives everything back; one of which nothing is known keeps
    its charge; less than was charged is given back where the provider does (``Limit.refund``).
    Pools without a document here are passed over. ``now``: as for ``admit``; heads stay.
    """
    beat(states, hand, now)
    for outcome in outcomes:
        for key, charges in outcome.admitted.charges.items():
            state = states.get(key)
            if state is None or len(charges) != len(state.pool.limits):
                continue  # other settings by now: what was booked leaves by itself
            if outcome.took_s is not None and outcome.sent:
                state.slow += CALLS * (outcome.took_s - state.slow)
            for limit, meter, charged in zip(state.pool.limits, state.meters, charges, strict=True):
                if limit.what is What.CONCURRENT:
                    continue
                if not outcome.sent:
                    change = -charged
                elif outcome.usage is None:
                    continue
                else:
                    change = outcome.usage.charge(limit) - charged
                    if change < 0 and not limit.refund:
                        continue
                meter.correct(limit, change, outcome.admitted.at, state.t, unsent=not outcome.sent)


def beat(states: Mapping[str, State], hand: Hand, now: float) -> None:
    """Refresh what this worker has in flight, changing ``states``. Once a second for every pool in
    which it has calls in flight or waiting; any write of this worker's is one too."""
    for state in states.values():
        state.tend(now)
        state.enter(hand)[6] = hand.waiting.get(state.pool.key, 0)


def leave(states: Mapping[str, State], worker: str, now: float) -> None:
    """Take a worker out that ends in order, changing ``states``: its places are free at once, what
    it had in flight counts as made, its waiting calls do not wait any more."""
    for state in states.values():
        state.tend(now)
        state.remove(worker)
