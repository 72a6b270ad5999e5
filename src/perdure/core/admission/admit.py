"""Which of a worker's waiting calls may go on the wire now, and when the others ask again.

Invariants: a call takes room in all of its pools or in none; nobody takes room that those ahead in
line need, unless they did not collect it in time; what is written is safe only when the documents
are swapped against the versions that were read (the fence).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from perdure.core.admission.demand import Admitted, Demand, Later, mark
from perdure.core.admission.flight import Hand, Outlook
from perdure.core.admission.limits import What
from perdure.core.admission.line import (
    HEADS,
    PATIENCE_S,
    TURN,
    Head,
    Place,
    faded,
    head_of,
    order,
    row,
)
from perdure.core.admission.state import State

SLOW_LEAST_S, SLOW_MOST_S = 0.05, 30.0  # when to look for a free place again

Who = tuple[str, str]  # worker, mark of the call
_Times = Mapping[str, float]  # by pool, when it has room


class _Ahead:
    """What those ahead in line need of one pool."""

    __slots__ = ("later", "need")

    def __init__(self, size: int) -> None:
        self.need = [0] * size
        self.later: list[tuple[float, tuple[int, ...]]] = []  # from when, when not now

    def add(self, need: Sequence[int]) -> None:
        self.need = [a + b for a, b in zip(self.need, need, strict=True)]


def admit(
    states: Mapping[str, State], hand: Hand, demands: Sequence[Demand], now: float
) -> list[Admitted | Later]:
    """Answer ``demands`` in their order, changing ``states`` (the pools' documents, by key).

    ``demands``: all calls of this worker that wait for any of these pools (or the first of them; 16
    are enough): the worker's heads in the documents become those that have to wait. None is fine:
    that is a beat. ``now``: unix seconds by this worker's estimate of the keeper's clock.

    Swap the documents against the versions they were read at; only when that is done,
    ``hand.start`` each call that was admitted. Raises KeyError for a pool without a document.
    """
    for state in states.values():
        now = state.tend(now)
    for state in states.values():
        if state.t < now:
            state.tend(now)
        state.enter(hand)
    answers: list[Admitted | Later] = [None] * len(demands)  # type: ignore[list-item]
    others = _others(states, hand.worker)
    ahead = {key: _Ahead(len(state.meters)) for key, state in states.items()}
    line = _line(states, hand.worker, demands, others, now)
    # Output in flight, by pool: once for all demands, since admitting changes it rarely.
    outlooks: dict[str, Outlook] = {}
    waiting: list[tuple[Demand, _Times, Later]] = []
    oldest = min(line, key=lambda place: (place.since, place.who)) if len(line) > 1 else None
    for place in line:
        if place.number < 0:
            for key, head in others[place.who].items():
                if head.at + PATIENCE_S < now:
                    continue  # it does not collect: it keeps its place, not the room
                if head.elsewhere > now:
                    ahead[key].later.append((head.elsewhere, head.need))
                else:
                    ahead[key].add(head.need)
            continue
        demand = demands[place.number]
        times, bound = _when(states, demand, ahead, outlooks, now)
        at = max(times.values(), default=now)
        if at <= now:
            answers[place.number] = _take(states, hand, demand, place, now)
            for key in demand.pools:
                outlooks.pop(key, None)
                if oldest is place:
                    states[key].passed = 0
                elif oldest is not None and oldest.since < place.since:
                    states[key].passed += 1
        else:
            later = Later(at, place.since, bound)
            answers[place.number] = later
            waiting.append((demand, times, later))
            for key in demand.pools:
                ahead[key].add(states[key].need(demand))
    _write_heads(states, hand, waiting)
    return answers


def _others(states: Mapping[str, State], worker: str) -> dict[Who, dict[str, Head]]:
    """Other workers' heads in each pool."""
    others: dict[Who, dict[str, Head]] = {}
    for key, state in states.items():
        for name, entry in state.workers.items():
            if entry[7] and name != worker:
                for waiting in entry[7]:
                    head = head_of(waiting)
                    others.setdefault((name, head.id), {})[key] = head
    return others


def _line(
    states: Mapping[str, State],
    worker: str,
    demands: Sequence[Demand],
    others: Mapping[Who, Mapping[str, Head]],
    now: float,
) -> list[Place]:
    if not others and len(demands) == 1:
        d = demands[0]
        return [Place(d.priority, mark(d.tenant), d.since or now, (worker, d.id), 0.0, 0)]
    places = []
    for who, heads in others.items():
        key, head = next(iter(heads.items()))
        share = states[key].share(head.need)
        places.append(Place(head.priority, head.tenant, head.since, who, share, -1))
    for i, d in enumerate(demands):
        share = max(states[key].share(states[key].need(d)) for key in d.pools) if d.pools else 0.0
        places.append(Place(d.priority, mark(d.tenant), d.since or now, (worker, d.id), share, i))
    given: dict[str, float] = {}
    for tenant in {place.tenant for place in places}:
        for state in states.values():
            if tenant in state.given:
                share, at = state.given[tenant]
                given[tenant] = max(given.get(tenant, 0.0), faded(share, now - at))
    turn = any(state.passed >= TURN for state in states.values())
    return order(places, given, turn=turn)


def _when(
    states: Mapping[str, State],
    demand: Demand,
    ahead: Mapping[str, _Ahead],
    outlooks: dict[str, Outlook],
    now: float,
) -> tuple[dict[str, float], tuple[str, str]]:
    """When each pool has room for ``demand`` after those ahead, and which limit is the last."""
    times: dict[str, float] = {}
    bound, last = ("", ""), now
    for key in demand.pools:
        state, before = states[key], ahead[key]
        at, charge = max(now, state.hold), state.charge(demand)
        if at > last:
            bound, last = (key, "hold"), at
        for i, limit in enumerate(state.pool.limits):
            meter, need = state.meters[i], before.need[i]
            if limit.what is What.CONCURRENT:
                over = state.calls() + need + 1 - limit.amount
                free = now
                if over > 0:
                    wait = state.slow * over / limit.amount
                    free = now + min(SLOW_MOST_S, max(SLOW_LEAST_S, wait))
            elif limit.produced:
                outlook = outlooks.get(key)
                if outlook is None:
                    outlook = outlooks[key] = state.outlook()
                free = outlook.when(meter, limit, demand, need, now)
            else:
                amount = charge[i]
                free = meter.when(limit, amount, need, now)
                # Those ahead that wait for another pool first: would they still find room then?
                for when, needed in before.later if free <= now else ():
                    need += needed[i]
                    if meter.room(limit, when, now) < need + amount:
                        free = meter.when(limit, amount, need, now)
                        break
            at = max(at, free)
            if free > last:
                bound, last = (key, limit.name), free
        times[key] = at
    return times, bound


def _take(
    states: Mapping[str, State], hand: Hand, demand: Demand, place: Place, now: float
) -> Admitted:
    charges: dict[str, tuple[int, ...]] = {}
    valid = 1.0
    for key in demand.pools:
        state = states[key]
        charge = state.charge(demand)
        for i, limit in enumerate(state.pool.limits):
            state.meters[i].book(limit, charge[i], now)
        charges[key] = charge
        valid = min(valid, state.pool.slack / 2)
        entry = state.workers[hand.worker]
        entry[1] += 1
        entry[2] += ceil(demand.expected)
        entry[3] += ceil(demand.variance)
        entry[4] += ceil(demand.rate)
        state.give(demand.tenant, place.share or state.share(charge))
    return Admitted(now, valid, charges)


def _write_heads(
    states: Mapping[str, State], hand: Hand, waiting: Sequence[tuple[Demand, _Times, Later]]
) -> None:
    """The first of those that wait stand in each of their pools' documents, in their order."""
    for key, state in states.items():
        entry = state.workers[hand.worker]
        mine = [(demand, times, later) for demand, times, later in waiting if key in times]
        entry[6:] = max(len(mine), hand.waiting.get(key, 0)), []
        if not mine:
            continue
        lining = sum([1 for other in state.workers.values() if other[7] or other is entry])
        for demand, times, later in mine[: max(1, HEADS // lining)]:
            elsewhere = max((at for other, at in times.items() if other != key), default=0.0)
            head = Head(
                mark(demand.id),
                demand.priority,
                mark(demand.tenant),
                round(later.since, 3),
                round(later.at, 3),
                0.0 if elsewhere <= state.t else round(elsewhere, 3),
                state.need(demand),
            )
            entry[7].append(row(head))
