"""What a provider's own words teach about its limits: refusals and headers. They only ever lower
what is believed; believing more again takes time (Meter.believed).

Source: additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does with loss.
"""

from __future__ import annotations

from perdure.core.admission.limits import Limit, What
from perdure.core.admission.meter import Meter
from perdure.core.admission.state import State

DECREASE = 0.7  # of what was believed, after a 429 that was not foreseen
LEAST = 0.1  # of the declared limit is always believed: something must be tried
LONG_S = 3600.0  # limits over longer windows are not lowered by a 429 that does not name them


def refused(
    state: State,
    now: float,
    *,
    admitted: float,
    retry_after_s: float = 0.0,
    what: What | None = None,
) -> bool:
    """A call that was admitted at ``admitted`` got a 429 that its meters did not foresee: nobody is
    admitted for ``retry_after_s``, and the limit on ``what`` (None: the fullest one) is believed to
    be 0.7 of what it was. Whether anything was lowered: calls that were under way when a limit was
    lowered do not lower it again. Not for a 429 that says that credit is used up."""
    now = state.tend(now)
    if retry_after_s > 0:
        state.hold = max(state.hold, round(now + retry_after_s, 3))
    lowered = False
    for _, meter in _meant(state, what):
        if admitted >= meter.cut:
            meter.level = round(max(LEAST, meter.believed(now) * DECREASE), 4)
            meter.cut = now
            lowered = True
    return lowered


def heard(
    state: State,
    what: What,
    remaining: int,
    now: float,
    *,
    per: float = 60.0,
    rounded: int = 1,
    admitted: float | None = None,
) -> bool:
    """A header said that ``remaining`` is left of the limit on ``what`` in ``per`` seconds, in
    multiples of ``rounded`` (Anthropic: thousands). Where that is less than what is believed to be
    left, others use the limit too: the difference counts as used now. Whether it did.

    ``admitted``: when the call was (None: now). The header may be as old as that, and what has come
    free since, at the steady rate, is not in it."""
    now = state.tend(now)
    age = 0.0 if admitted is None else max(0.0, now - admitted)
    for limit, meter in zip(state.pool.limits, state.meters, strict=True):
        if limit.what is not what or limit.per != per or not meter.counts:
            continue
        left = remaining + rounded - 1 + limit.rate * age
        if limit.burst is not None:
            tat = now + max(0.0, limit.burst - left) / limit.rate
            if tat > meter.tat:
                meter.tat = round(tat, 3)
                return True
            return False
        unseen = int(meter.room(limit, now, now) - left)
        if unseen > 0:
            meter.book(limit, unseen, now)
            return True
    return False


def _meant(state: State, what: What | None) -> list[tuple[Limit, Meter]]:
    pairs = list(zip(state.pool.limits, state.meters, strict=True))
    if what is not None:
        return [pair for pair in pairs if pair[0].what is what]
    timed = [pair for pair in pairs if pair[1].counts and pair[0].per <= LONG_S]
    return [max(timed, key=lambda pair: pair[1].used / pair[0].amount)] if timed else []
