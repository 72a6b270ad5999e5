"""After a keeper lost a document: what a worker still knows of it.

Invariant: no window holds more than the limit, whatever others took between the time when this
worker last saw the document and its loss. They had no more than the room there was, so all of that
counts as used now.
"""

from __future__ import annotations

from perdure.core.admission.limits import Pool, What
from perdure.core.admission.meter import empty
from perdure.core.admission.state import GHOST, State, entry_at, fresh


def remade(pool: Pool, known: State, now: float) -> State:
    """A document in the place of one that is lost, of which ``known`` is what was seen last."""
    state = fresh(pool, now)
    for limit in pool.limits:
        if limit.what is What.CONCURRENT:
            ghost = state.workers[GHOST] = entry_at(now)
            known.tend(now)
            ghost[1] = max(0, limit.amount - known.calls())
    recall(state, known, now)
    return state


def recall(state: State, known: State, now: float) -> None:
    """Add to ``state``, which somebody else made in the place of a document that was lost, what was
    ``known`` of that; changes both."""
    now = max(state.tend(now), known.tend(now))
    state.tend(now)
    known.tend(now)
    for i, (limit, meter) in enumerate(zip(state.pool.limits, state.meters, strict=True)):
        before = known.meters[i]
        if not meter.counts:
            continue
        meter.counts = [max(pair) for pair in zip(meter.counts, before.counts, strict=True)]
        meter.used = sum(meter.counts)
        meter.tat = max(meter.tat, before.tat)
        if before.believed(now) < meter.believed(now):
            meter.level, meter.cut = before.level, before.cut
        rest = limit.amount - meter.used
        if rest > 0:
            meter.book(limit, rest, now)
        if limit.capacity is not None:
            full = empty(limit, now)
            full.fill(limit, now)
            meter.tat = max(meter.tat, full.tat)
    for name, entry in known.workers.items():
        if name not in state.workers:
            entry[7] = []
            state.workers[name] = entry
    for name, row in known.holds.items():
        state.holds.setdefault(name, row)
    for name, given in known.given.items():
        state.given.setdefault(name, given)
    state.hold = max(state.hold, known.hold)
