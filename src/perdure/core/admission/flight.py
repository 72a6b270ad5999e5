"""Calls in flight, where output is counted as it is made: what is still to come.

A worker keeps its calls in a ``Hand`` and writes only their totals into a pool's document, so that
the document grows with workers, not with calls. The totals are absolute: writing them twice, or
after an answer that got lost, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, exp, sqrt
from typing import Any

from perdure.core.admission.demand import Admitted, Demand
from perdure.core.admission.limits import Limit
from perdure.core.admission.meter import Meter

# Standard deviations held above what is expected; why: docs/decisions/0019-exact-windows.md
Z = 3.0
FIRST_S = 1.0  # from admission to a first token; large models of 2026 take 0.5 s and more
REFRESH_S = 0.25  # how old a worker's totals may get before its calls are looked at again


class Flight:
    """One call in flight. ``seen``: tokens that came so far, None where nobody looks (a response
    that comes whole); ``booked``: those that are counted already."""

    __slots__ = ("at", "booked", "demand", "remaining", "seen", "variance")

    def __init__(self, demand: Demand, at: float) -> None:
        self.demand, self.at = demand, at
        self.seen: int | None = None
        self.booked = 0
        self.remaining, self.variance = demand.expected, demand.variance

    def look(self, now: float) -> None:
        """Book what was made until ``now`` (unix seconds) and expect the rest."""
        demand = self.demand
        if self.seen is None:
            # It is under way still, so it has been making tokens all the time.
            made = min(demand.ceiling, demand.rate * max(0.0, now - self.at - FIRST_S))
            self.booked = max(self.booked, int(made))
        else:
            self.booked = self.seen
        self.remaining, self.variance = residual(
            demand.expected, demand.variance, self.booked, demand.ceiling
        )


def residual(expected: float, variance: float, made: float, ceiling: float) -> tuple[float, float]:
    """Mean and variance of what a call still makes, having made ``made`` of at most ``ceiling``.

    The mean residual life of a generalized Pareto distribution with that mean and variance (Hall
    and Wellner, "Mean residual life", 1981): m(x) = m + x * xi / (1 - xi), xi = (1 - m²/s²) / 2. It
    is right for exponential lengths and rises for heavy tails. Lengths that vary less count as
    exponential: for those that a bound cuts off it would say too little, since many are as long as
    the bound.
    """
    left = max(0.0, ceiling - made)
    if expected <= 0 or variance <= 0:
        return min(left, max(0.0, expected - made)), 0.0
    square = variance / (expected * expected)  # of the coefficient of variation
    xi = max(0.0, (1.0 - 1.0 / square) / 2.0)
    mean = min(left, max(0.0, expected + made * xi / (1.0 - xi)))
    # Nothing within [0, left] with that mean varies more.
    return mean, min(mean * mean * square, mean * (left - mean))


class Total:
    """What a worker's calls in one pool come to. ``remaining``, ``variance``: expected output in
    tokens; ``rate``: tokens a second; ``made``: tokens booked since the worker began."""

    __slots__ = ("calls", "made", "rate", "remaining", "variance")

    def __init__(self) -> None:
        self.calls = 0
        self.remaining = self.variance = self.rate = 0.0
        self.made = 0


class Hand:
    """All that one worker (incarnation) has under way; it lives in the worker's memory. Not
    thread-safe. Tell it after a swap was done, never before.

    ``looked``: when the totals were brought up to the time (unix seconds).
    ``waiting``: by pool, how many calls wait in this worker; the caller keeps it.
    """

    __slots__ = ("flights", "looked", "totals", "waiting", "worker")

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.flights: dict[str, Flight] = {}
        self.totals: dict[str, Total] = {}
        self.waiting: dict[str, int] = {}
        self.looked = 0.0

    def start(self, demand: Demand, admitted: Admitted) -> None:
        """A call was admitted (and the documents that say so are written)."""
        self.flights[demand.id] = Flight(demand, admitted.at)
        for key in demand.pools:
            total = self.totals.get(key)
            if total is None:
                total = self.totals[key] = Total()
            total.calls += 1
            total.remaining += demand.expected
            total.variance += demand.variance
            total.rate += demand.rate

    def saw(self, call: str, tokens: int) -> None:
        """So much of a stream has come, in all. Cheap: call it for every chunk, or seldom."""
        flight = self.flights.get(call)
        if flight is not None:
            flight.seen = tokens

    def end(self, call: str, output: int | None, *, sent: bool = True) -> None:
        """The call is over and made ``output`` tokens; None: not known, and what was expected
        counts as made. Unknown calls are passed over. ``settle`` comes after."""
        flight = self.flights.pop(call, None)
        if flight is None:
            return
        if not sent:
            output = 0
        elif output is None:
            output = flight.booked + ceil(flight.remaining)
        for key in flight.demand.pools:
            total = self.totals[key]
            total.calls -= 1
            total.remaining = max(0.0, total.remaining - flight.remaining)
            total.variance = max(0.0, total.variance - flight.variance)
            total.rate = max(0.0, total.rate - flight.demand.rate)
            total.made += output - flight.booked

    def look(self, now: float) -> None:
        """Bring the totals up to ``now``, where they are older than REFRESH_S."""
        if now - self.looked < REFRESH_S:
            return
        self.looked = now
        for total in self.totals.values():
            total.remaining = total.variance = total.rate = 0.0
        for flight in self.flights.values():
            before = flight.booked
            flight.look(now)
            for key in flight.demand.pools:
                total = self.totals[key]
                total.remaining += flight.remaining
                total.variance += flight.variance
                total.rate += flight.demand.rate
                total.made += flight.booked - before

    def in_flight(self, pool: str) -> int:
        """Tokens already booked for the calls that are in flight in ``pool``."""
        return sum(f.booked for f in self.flights.values() if pool in f.demand.pools)


class Outlook:
    """What all workers' calls in flight will make of a pool's output.

    ``calls``: how many; ``remaining``, ``variance``: in tokens; ``rate``: tokens a second;
    ``unseen``: tokens that may have been made since the workers last told.
    """

    __slots__ = ("calls", "rate", "remaining", "unseen", "variance")

    def __init__(self, told: Iterable[Sequence[Any]], now: float) -> None:
        """``told``: of each worker when (unix seconds), calls, remaining, variance, rate."""
        self.calls = 0
        self.remaining = self.variance = self.rate = self.unseen = 0.0
        for seen, calls, remaining, variance, rate in told:
            self.calls += calls
            self.remaining += remaining
            self.variance += variance
            self.rate += rate
            self.unseen += rate * max(0.0, now - seen)

    def when(self, meter: Meter, limit: Limit, demand: Demand, ahead: float, now: float) -> float:
        """The first time when ``demand`` may start: ``now`` if for every horizon h the window holds
        what is used and not gone by then, and what calls in flight and this one make by then.

        Calls in flight with E still to come at v a second make E * g(h) by h, and Z * s * g(h)² is
        held above it, s the standard deviation of the rest. g mixes the two extremes by the calls'
        own spread c² (variance by squared mean): all of one length, min(1, vh/E), and exponential
        ones, 1 - exp(-vh/E), of which some end at any time. (Var min(X, h) of those is close to
        g⁴ * Var X.) The sum over calls of min(E, vh) in the reference needs every call's own rest,
        which the document does not have; its deviations do not shrink with h.
        """
        share = meter.believed(now)
        charge = demand.charge(limit)
        free = int(limit.amount * share) - meter.used - ahead - charge
        others = Z * sqrt(self.variance)
        # What this call adds, at most, to what is expected of those in flight.
        most = demand.expected + Z * sqrt(self.variance + demand.variance) - others
        whole = self.remaining + others + most
        fill = None  # what the provider's small bucket still takes
        drain = limit.rate * share
        if limit.capacity is not None:
            fill = limit.capacity - (max(meter.tat, now) - now) * drain - ahead - charge
        if free >= whole and (fill is None or fill >= whole):
            return now
        if not self.calls and not meter.used and not ahead:
            return now  # alone: only the provider can say whether it is too large
        rest = max(self.remaining, 1.0)
        spread = min(1.0, self.calls * self.variance / (rest * rest))
        own, wait = max(demand.rate, 1e-3), 0.0
        h = (meter.k + 1) * limit.grain - now  # until the first part leaves
        still = exp(-(self.rate * h + self.unseen) / rest)
        fewer = exp(-self.rate * limit.grain / rest)
        for leaves in meter.counts:
            room = free if fill is None else min(free, fill + drain * (h - limit.grain))
            if room >= whole:
                break
            even = min(1.0, (self.rate * h + self.unseen) / rest)
            part = even + spread * (1.0 - still - even)
            left = room - (rest + others * part) * part
            if left < most and own * (h - wait) > left:
                # Start so late that what it makes by then fits; where nothing does, after then.
                wait = max(wait, h if left <= 0 else h - left / own)
            free += leaves
            h += limit.grain
            still *= fewer
        return now if wait <= 0 else now + wait + 1e-3
