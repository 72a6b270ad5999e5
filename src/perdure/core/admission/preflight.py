"""Preflight: whether a whole run has room before it starts, so that it does not fail at step 27.

A run holds what it will probably take of the day's limits and of money, in full, and a share of
the minute's that fades: after a minute its calls are in the windows themselves. Holds gate other
runs, never calls. As with calls in flight a worker writes only their totals, refreshed by its
beats; those of a worker that is gone are forgotten (whoever takes its runs over holds again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from typing import Any

from perdure.core.admission.estimate import ENOUGH, FORMAT, Digest, digest_of
from perdure.core.admission.limits import Limit, What
from perdure.core.admission.state import TTL_S, State
from perdure.errors import CodecError

LONG_S = 3600.0  # limits over more seconds are held in full
FADE_S = 30.0  # time constant of a run's share of shorter ones
QUANTILE = 0.95  # of that agent's past runs


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is expected to take: ``calls``; ``input`` and ``output`` in tokens; ``cost`` in
    nano-USD; ``seconds``: how long it takes."""

    calls: int
    input: int
    output: int
    cost: int
    seconds: float

    def needs(self, limit: Limit) -> int:
        """What it takes of ``limit`` in all."""
        if limit.what is What.CONCURRENT:
            return 0
        if limit.what is What.REQUESTS:
            return self.calls
        if limit.what is What.INPUT:
            return self.input
        return self.output if limit.what is What.OUTPUT else self.input + self.output


class Past:
    """What an agent's runs took; workers share it as they share Estimates. Not thread-safe."""

    __slots__ = ("calls", "cost", "input", "output", "seconds")

    def __init__(self) -> None:
        self.calls, self.input, self.output = Digest(), Digest(), Digest()
        self.cost, self.seconds = Digest(), Digest()

    def learn(self, plan: Plan) -> None:
        """A run ended that took this."""
        for name in self.__slots__:
            getattr(self, name).add(getattr(plan, name))

    def plan(self, ceiling: Plan) -> Plan:
        """The 95th percentile of each, at most ``ceiling`` (what the agent declares, or may spend);
        while fewer than 20 runs are known, the ceiling itself. The time is the median."""
        if self.calls.n < ENOUGH:
            return ceiling
        return Plan(
            min(ceiling.calls, round(self.calls.quantile(QUANTILE))),
            min(ceiling.input, round(self.input.quantile(QUANTILE))),
            min(ceiling.output, round(self.output.quantile(QUANTILE))),
            min(ceiling.cost, round(self.cost.quantile(QUANTILE))),
            min(ceiling.seconds, self.seconds.quantile(0.5)),
        )

    def merge(self, other: Past) -> None:
        """Add what ``other`` learned."""
        for name in self.__slots__:
            getattr(self, name).merge(getattr(other, name))

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        return {"v": FORMAT, **{name: getattr(self, name).encode() for name in self.__slots__}}


def decode_past(value: object) -> Past:
    """Read back what ``Past.encode`` made. Raises CodecError for anything else."""
    past = Past()
    try:
        if not isinstance(value, dict) or value["v"] != FORMAT:
            raise ValueError("it is no such document, or of another version")
        for name in Past.__slots__:
            setattr(past, name, digest_of(value[name]))
    except (TypeError, ValueError, KeyError) as error:
        raise CodecError(f"A shared document of past runs cannot be read: {error!r}.") from error
    return past


@dataclass(frozen=True, slots=True)
class Purse:
    """Money that a run may spend: ``left`` in nano-USD, less what other runs hold; ``renews``: when
    there is more (unix seconds), None: never by itself."""

    left: int
    renews: float | None = None


class Holds:
    """What one worker's runs hold in one pool, in its memory. Not thread-safe.

    Of long limits the rest of each run's plan; of short ones a rate per second, fading."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.runs: dict[str, tuple[Plan, float]] = {}
        self._spent: dict[str, Plan] = {}

    def start(self, run: str, plan: Plan, now: float) -> None:
        """A run that had room starts."""
        self.runs[run] = plan, now

    def spent(self, run: str, plan: Plan) -> None:
        """What a run took so far, in all: that is in the windows, and is held no more."""
        self._spent[run] = plan

    def end(self, run: str) -> None:
        """The run is over, or parked."""
        self.runs.pop(run, None)
        self._spent.pop(run, None)

    def totals(self, limits: tuple[Limit, ...], now: float) -> list[float]:
        """In the order of ``limits``: tokens or calls of long ones, a rate per second of others."""
        totals = [0.0] * len(limits)
        for run, (plan, since) in self.runs.items():
            spent = self._spent.get(run)
            for i, limit in enumerate(limits):
                if limit.per > LONG_S:
                    totals[i] += max(0, plan.needs(limit) - (spent.needs(limit) if spent else 0))
                else:
                    totals[i] += _rate(plan, limit) * exp(-max(0.0, now - since) / FADE_S)
        return [round(total, 3) for total in totals]


@dataclass(frozen=True, slots=True)
class Go:
    """There is room, and it is held: ``Holds.start`` the run when the documents are swapped."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """``at``: when to try again (unix seconds); None: not by waiting. ``bound``: the pool and the
    limit's name that have no room, or ("", "money")."""

    at: float | None
    bound: tuple[str, str]


def hold(states: Mapping[str, State], holds: Holds, now: float) -> None:
    """Write what this worker's runs hold, changing ``states``; each second, with the beat, and when
    a run ends. Holds that were not written for TTL_S are forgotten."""
    for state in states.values():
        now = state.tend(now)
        for worker in [name for name, row in state.holds.items() if row[0] < now - TTL_S]:
            del state.holds[worker]
        if holds.runs:
            state.holds[holds.worker] = [now, *holds.totals(state.pool.limits, now)]
        else:
            state.holds.pop(holds.worker, None)


def preflight(
    states: Mapping[str, State], holds: Holds, plan: Plan, purse: Purse | None, now: float
) -> Go | NoRoom:
    """Whether a run with ``plan`` may start now in all of these pools, changing ``states``.

    A plan that is more than a whole limit has room when nothing of it is used or held.
    ``now``: unix seconds by this worker's estimate of the keeper's clock."""
    if purse is not None and plan.cost > purse.left:
        return NoRoom(purse.renews, ("", "money"))
    hold(states, holds, now)
    last, bound = now, ("", "")
    for key, state in states.items():
        for i, limit in enumerate(state.pool.limits):
            if limit.what is What.CONCURRENT:
                continue
            at = _when(state, i, limit, plan, state.t)
            if at > max(last, state.t):
                last, bound = at, (key, limit.name)
    if bound[0]:
        return NoRoom(last, bound)
    for state in states.values():
        row = state.holds.setdefault(holds.worker, [state.t] + [0.0] * len(state.pool.limits))
        for i, limit in enumerate(state.pool.limits, 1):
            row[i] += plan.needs(limit) if limit.per > LONG_S else _rate(plan, limit)
    return Go()


def _when(state: State, i: int, limit: Limit, plan: Plan, now: float) -> float:
    meter, held = state.meters[i], [(row[0], row[i + 1]) for row in state.holds.values()]
    if limit.per > LONG_S:
        others = sum(amount for _, amount in held)
        return meter.when(limit, plan.needs(limit), others, now)
    others = sum(rate * exp(-(now - seen) / FADE_S) for seen, rate in held)
    rate = min(_rate(plan, limit), limit.rate)
    if others + rate <= limit.rate * meter.believed(now):
        # What is used already says how much of the rate is taken.
        return meter.when(limit, rate * limit.per, others * limit.per, now)
    left = limit.rate * meter.believed(now) - rate
    fades = FADE_S * log(others / left) if left > 0.01 * limit.rate else FADE_S
    return now + max(0.1, fades)


def _rate(plan: Plan, limit: Limit) -> float:
    return plan.needs(limit) / max(plan.seconds, limit.per)
