"""Lets calls in while all meters they need have room, and refuses them as a provider does.

Pure but for its meters; time comes as ``now``. A call is charged in all its meters or in none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perdure.testing.simulator.quota.limit import Limit, Quota
from perdure.testing.simulator.quota.meter import LOGGED, Charge, Slots, largest

__all__ = ["Caller", "Level", "Limited", "Meter", "Need", "Ticket", "Turnstile"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls what. ``format``: that of the API (anthropic, chat, responses, google)."""

    target: str
    key: str
    model: str
    format: str


@dataclass(frozen=True, slots=True)
class Need:
    """What a call is charged for. ``input`` holds what was ``cached``; ``ceiling`` is the most
    output the request allows, if it says so."""

    input: int
    cached: int = 0
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """Where a limit stands, as headers tell it. ``full_in``: seconds."""

    amount: float
    remaining: float
    full_in: float


@dataclass(frozen=True, slots=True)
class Limited:
    """A refusal. ``wait``: seconds until the call fits; infinite when it is too large for ever."""

    limit: Limit
    used: float
    requested: float
    wait: float


class Meter:
    """One limit, for one scope: its gauge, its log of charges and how often it refused.

    The log forgets its older half when it holds ``LOGGED`` charges, but for those that still
    share a window with what comes; the largest use is never forgotten.
    """

    def __init__(self, quota: Quota, limit: Limit, scope: dict[str, str]) -> None:
        self.quota = quota
        self.limit = limit
        self.scope = scope
        self.gauge = limit.gauge()
        self.log: list[Charge] = []
        self.limited = 0
        self._largest = (0.0, 0.0)
        self._bound = LOGGED

    def charge(self, amount: float, now: float) -> Charge:
        """Charges, and remembers it."""
        charge = Charge(now, amount)
        self.gauge.add(charge, now)
        if len(self.log) >= self._bound:
            self._largest = self.largest()
            past = bisect_right(self.log, now - self.limit.per, key=lambda charge: charge.at)
            del self.log[: min(past, len(self.log) // 2)]
            self._bound = max(LOGGED, 2 * len(self.log))
        self.log.append(charge)
        return charge

    def largest(self) -> tuple[float, float]:
        """The most that was charged within any ``per`` seconds, and when they ended; of
        concurrent calls the most at once."""
        if isinstance(self.gauge, Slots):
            return self.gauge.peak, self.gauge.peak_at
        return max(self._largest, largest(self.log, self.limit.per), key=lambda found: found[0])

    def level(self, now: float) -> Level:
        """Where it stands."""
        used = self.gauge.used(now)
        left = max(0.0, self.limit.amount - used)
        return Level(self.limit.amount, left, self.gauge.full_in(now))


@dataclass(slots=True)
class Ticket:
    """What one call was charged, by meter; empty where nothing limits it."""

    charges: list[tuple[Meter, Charge]]


class Turnstile:
    """The meters of some quotas, made as callers come."""

    def __init__(self, quotas: Iterable[Quota] = ()) -> None:
        self.quotas: tuple[Quota, ...] = tuple(quotas)
        self.meters: dict[tuple[int, int, tuple[str, ...]], Meter] = {}
        self._known: dict[Caller, tuple[Meter, ...]] = {}
        self._now = 0.0

    def enter(self, caller: Caller, need: Need, now: float) -> Ticket | Limited:
        """A ticket with everything charged, or the refusal that lasts longest."""
        meters = self._of(caller)
        if not meters:
            return Ticket([])
        now = self._clocked(now)
        worst: Limited | None = None
        for meter in meters:
            amount = _room(meter.limit, need)
            wait = meter.gauge.wait(amount, now)
            if wait > 0 and (worst is None or wait > worst.wait):
                worst = Limited(meter.limit, meter.gauge.used(now), amount, wait)
                refuser = meter
        if worst is not None:
            refuser.limited += 1
            self._count_failed(meters, caller, now)
            return worst
        ticket = Ticket([])
        for meter in meters:
            cost = _charge(meter.limit, need)
            if cost is not None:
                ticket.charges.append((meter, meter.charge(cost, now)))
        return ticket

    def fail_early(self, caller: Caller, now: float) -> None:
        """A call that failed before it was let in."""
        self._count_failed(self._of(caller), caller, self._clocked(now))

    def fail(self, ticket: Ticket, caller: Caller, now: float) -> None:
        """A call that was let in and failed: takes back what a failed call does not cost."""
        now = self._clocked(now)
        for meter, charge in ticket.charges:
            if meter.limit.what == "concurrent" or not _fails_count(meter.quota, caller):
                meter.gauge.correct(charge, 0, now)

    def correct(self, ticket: Ticket, need: Need, now: float) -> None:
        """The input is known now."""
        now = self._clocked(now)
        for meter, charge in ticket.charges:
            limit = meter.limit
            if limit.what == "input" or (limit.what == "tokens" and limit.charge == "produced"):
                amount = _charge(limit, need)
                if amount is not None and amount != charge.amount:
                    meter.gauge.correct(charge, amount, now)

    def produce(self, caller: Caller, tokens: int, now: float) -> None:
        """Output came to be."""
        meters = self._of(caller)
        if meters and tokens:
            now = self._clocked(now)
            for meter in meters:
                if meter.limit.what in ("output", "tokens") and meter.limit.charge == "produced":
                    meter.charge(tokens, now)

    def leave(self, ticket: Ticket, produced: int, now: float) -> None:
        """The call is over: its slots are free, and what it reserved of output is corrected."""
        now = self._clocked(now)
        for meter, charge in ticket.charges:
            if meter.limit.what == "concurrent":
                meter.gauge.correct(charge, 0, now)
            elif meter.limit.what == "output" and charge.amount > produced:
                meter.gauge.correct(charge, produced, now)

    def levels(self, caller: Caller, now: float) -> dict[str, Level]:
        """By what is counted: of several limits the one that has the least left, in proportion."""
        meters = self._of(caller)
        if not meters:
            return {}
        now = self._clocked(now)
        found: dict[str, Level] = {}
        for meter in meters:
            what, level = meter.limit.what, meter.level(now)
            other = found.get(what)
            if other is None or level.remaining / level.amount < other.remaining / other.amount:
                found[what] = level
        return found

    def _of(self, caller: Caller) -> tuple[Meter, ...]:
        known = self._known.get(caller)
        if known is None:
            known = self._known[caller] = tuple(self._made(caller))
        return known

    def _made(self, caller: Caller) -> Iterable[Meter]:
        for at, quota in enumerate(self.quotas):
            if not quota.fits(target=caller.target, key=caller.key, model=caller.model):
                continue
            scope = {word: str(getattr(caller, word)) for word in quota.by}
            for place, limit in enumerate(quota.limits):
                ident = (at, place, tuple(scope.values()))
                if ident not in self.meters:
                    self.meters[ident] = Meter(quota, limit, scope)
                yield self.meters[ident]

    def _count_failed(self, meters: Sequence[Meter], caller: Caller, now: float) -> None:
        for meter in meters:
            if meter.limit.what == "requests" and _fails_count(meter.quota, caller):
                meter.charge(1, now)

    def _clocked(self, now: float) -> float:
        """The time, which a clock that is set back does not turn back."""
        self._now = max(self._now, now)
        return self._now


def _fails_count(quota: Quota, caller: Caller) -> bool:
    if quota.failed is not None:
        return quota.failed
    # "Unsuccessful requests contribute to your per-minute limit": platform.openai.com, "Rate
    # limits". Others do not say.
    return caller.format in ("chat", "responses")


def _charge(limit: Limit, need: Need) -> float | None:
    """What a call is charged when it is let in; None: nothing."""
    match limit.what:
        case "requests" | "concurrent":
            return 1
        case "input":
            return need.input if limit.cached else need.input - need.cached
        case "tokens" if limit.charge == "produced":
            return need.input
        case "tokens":
            # "The maximum of max_tokens and the estimated number of tokens": platform.openai.com.
            return max(need.input, need.ceiling or 0)
        case _:
            return None if limit.charge == "produced" else need.ceiling or 0


def _room(limit: Limit, need: Need) -> float:
    """What must be free. Output as produced is refused when all of it is used up."""
    charge = _charge(limit, need)
    return 1 if charge is None else charge
