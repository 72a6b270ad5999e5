"""What all workers know about one pool: meters, workers, who waits. One small JSON document.

The functions of this package change a State in place. After a refused swap throw it away and
decode the document that is there.

Invariant: nothing in it is kept for a single call but for the first few that wait, so it grows with
workers and limits only: below 4 KB with 8 workers and 4 limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from operator import itemgetter, truediv
from typing import Any

from perdure.core.admission.demand import Demand, mark
from perdure.core.admission.flight import Hand, Outlook, Total, Z
from perdure.core.admission.limits import Limit, Pool, What, grain_of
from perdure.core.admission.line import HEAD_TTL_S, TENANTS, check, faded
from perdure.core.admission.meter import Meter, empty
from perdure.errors import CodecError

FORMAT = 1
TTL_S = 5.0  # a worker that was silent for longer is gone
BACK_S = 60.0  # a keeper's clock that went back by more is another clock
HOUR_S = 3600.0
GHOST = "?"  # stands for workers that a lost document knew
SLOW_S = 2.0  # how long a call takes, before any was seen to end
NOTHING = Total()  # of a worker that has no calls
CALLS = 1 / 16  # weight of one more call in the mean of how long calls take


class Entry(list[Any]):
    """One worker in a document, as the JSON array that it is there: most entries are read and
    written again as they are. ``seen``: the time it told (unix seconds); ``calls``,
    ``remaining``, ``variance``, ``rate``, ``made``: as in Total; ``waiting``: calls that wait in
    it; ``heads``: the first of them, as rows."""

    __slots__ = ()
    seen = property(itemgetter(0))
    calls = property(itemgetter(1))
    remaining = property(itemgetter(2))
    variance = property(itemgetter(3))
    rate = property(itemgetter(4))
    made = property(itemgetter(5))
    waiting = property(itemgetter(6))
    heads = property(itemgetter(7))

    def tell(self, seen: float, total: Total) -> None:
        """Take over what a worker has in flight."""
        self[:6] = (
            seen, total.calls, ceil(total.remaining), ceil(total.variance), ceil(total.rate),
            total.made,
        )  # fmt: skip


def entry_at(seen: float) -> Entry:
    """Of a worker that has nothing."""
    return Entry((seen, 0, 0, 0, 0, 0, 0, []))


class State:
    """A pool's document, decoded. ``t``: the latest time it was told (unix seconds); ``hold``: no
    admission before (Retry-After). ``given``: by tenant, what it was given lately as a share of the
    tightest limit, and when that was so. ``passed``: calls admitted before an older one since
    the oldest had its turn. ``slow``: mean seconds a call takes. ``holds``: of whole runs, by
    worker."""

    __slots__ = (
        "foreign", "given", "hold", "holds", "meters", "passed", "pool", "slow", "t", "workers",
    )  # fmt: skip

    def __init__(self, pool: Pool, meters: list[Meter], t: float) -> None:
        self.pool, self.meters, self.t = pool, meters, t
        self.hold, self.passed, self.slow = 0.0, 0, SLOW_S
        self.workers: dict[str, Entry] = {}
        self.given: dict[str, list[float]] = {}
        self.holds: dict[str, list[float]] = {}
        self.foreign: dict[
            str, list[Any]
        ] = {}  # meters of limits that another worker's settings have

    def tend(self, now: float) -> float:
        """Bring everything to ``now`` and return it, or the document's own time where that is
        later: workers estimate the keeper's clock from below. Those that are silent are forgotten:
        what they had in flight counts as made."""
        if now < self.t - BACK_S:
            self._rebase(now)
        now = self.t = max(round(now, 3), self.t)
        for limit, meter in zip(self.pool.limits, self.meters, strict=True):
            meter.tend(limit, now)
        gone = None
        for name, entry in self.workers.items():
            if entry[0] < now - HEAD_TTL_S:
                entry[7] = []
                if entry[0] < now - TTL_S:
                    gone = [*gone, name] if gone else [name]
        for name in gone or ():
            self.remove(name)
        return now

    def remove(self, worker: str) -> None:
        """Forget a worker; what it had in flight counts as made now."""
        self.holds.pop(worker, None)
        entry = self.workers.pop(worker, None)
        if entry is not None and entry.calls and self.pool.produced:
            self.make(entry.remaining + Z * sqrt(entry.variance))

    def make(self, tokens: float) -> None:
        """Book output that was made."""
        if tokens:
            for limit, meter in zip(self.pool.limits, self.meters, strict=True):
                if limit.produced:
                    meter.book(limit, tokens, self.t)

    def enter(self, hand: Hand) -> Entry:
        """Write what the worker has in flight, and book what it made since it last did."""
        hand.look(self.t)
        key = self.pool.key
        total = hand.totals.get(key) or NOTHING
        entry = self.workers.get(hand.worker)
        if entry is None:
            entry = self.workers[hand.worker] = entry_at(self.t)
            # New here, or taken for dead: what it made of the calls it still has counts again.
            made = hand.in_flight(key) if total.calls else 0
        else:
            made = total.made - entry.made
        self.make(made)
        entry.tell(min(self.t, round(hand.looked, 3)), total)
        return entry

    def outlook(self) -> Outlook:
        """Of output that is still to come."""
        return Outlook([entry[:5] for entry in self.workers.values() if entry[1]], self.t)

    def awaited(self, worker: str) -> bool:
        """Whether calls of others than ``worker`` wait for it."""
        return any(entry[6] for name, entry in self.workers.items() if name != worker)

    def calls(self) -> int:
        """Calls in flight, of all workers."""
        return sum([entry[1] for entry in self.workers.values()])

    def give(self, tenant: str, share: float) -> None:
        """Remember what a tenant was given."""
        name = mark(tenant)
        was = self.given.get(name)
        now = self.t
        if was is None:
            if len(self.given) >= TENANTS:
                least = min(
                    self.given, key=lambda n: faded(self.given[n][0], now - self.given[n][1])
                )
                del self.given[least]
            self.given[name] = [round(share, 4), round(now)]
        else:
            was[:] = round(faded(was[0], now - was[1]) + share, 4), round(now)

    def share(self, need: Sequence[int]) -> float:
        """The part of its tightest limit that a need takes."""
        return max(map(truediv, need, self.pool.amounts), default=0.0)

    def charge(self, demand: Demand) -> tuple[int, ...]:
        """What is booked for a call, in the order of the limits."""
        return tuple([demand.charge(limit) for limit in self.pool.limits])

    def need(self, demand: Demand) -> tuple[int, ...]:
        """The charge, and what the call is expected to make where that is counted as it is made."""
        need = self.charge(demand)
        if not self.pool.produced:
            return need
        expected = ceil(demand.expected)
        limits = self.pool.limits
        return tuple([n + expected * limit.produced for n, limit in zip(need, limits, strict=True)])

    def encode(self) -> dict[str, Any]:
        """As JSON values."""
        meters = {
            limit.name: meter.row()
            for limit, meter in zip(self.pool.limits, self.meters, strict=True)
        }
        document: dict[str, Any] = {
            "v": FORMAT, "t": self.t, "hold": self.hold, "passed": self.passed,
            "slow": round(self.slow, 2), "m": meters, "w": self.workers, "f": self.given,
        }  # fmt: skip
        if self.foreign:
            meters.update(self.foreign)
        if self.holds:
            document["h"] = self.holds
        return document

    def _rebase(self, now: float) -> None:
        """The keeper's clock went far back: what is in the windows is not known any more."""
        self.t = now
        for limit, meter in zip(self.pool.limits, self.meters, strict=True):
            if limit.what is not What.CONCURRENT:
                level = meter.level
                meter.__init__(int(now // limit.grain), now, level, now, [0])  # type: ignore[misc]
                meter.fill(limit, now)
        self.hold = min(self.hold, now + TTL_S)
        self.given = {}
        for entry in self.workers.values():
            entry[0], entry[7] = now, []


def fresh(pool: Pool, now: float, *, full: bool = False, strict: bool = False) -> State:
    """A pool of which nothing is known. ``full``: something was, and is lost (a keeper that failed
    over without its data): windows count as evenly used at the full rate, and for TTL_S every
    place as taken, until the workers that live have told what they have in flight.

    Even use is a guess: a burst just before the loss is not in it, and the provider may see up to
    twice its limit in that window. ``strict`` makes no guess: windows of up to an hour count as
    used in full just now, and nothing is admitted until one is over."""
    state = State(pool, [empty(limit, now) for limit in pool.limits], now)
    if full or strict:
        ghost = entry_at(now)
        for limit, meter in zip(pool.limits, state.meters, strict=True):
            meter.fill(limit, now, strict=strict and limit.per <= HOUR_S)
            if limit.what is What.CONCURRENT:
                ghost[1] = limit.amount
            elif limit.produced:
                ghost[1:5] = max(1, ghost.calls), ceil(limit.rate * TTL_S), 0, ceil(limit.rate)
        if ghost.calls:
            state.workers[GHOST] = ghost
    return state


def decode(value: object, pool: Pool) -> State:
    """Read back what ``encode`` made, for ``pool`` as this worker's settings have it.

    A limit that the document does not know counts as evenly used; a meter that the settings do not
    know is kept as long as its window. Raises CodecError for anything else than such a document."""
    try:
        if not isinstance(value, dict):
            raise TypeError("it is no object")
        if value["v"] != FORMAT:
            raise ValueError(f"its format is {value['v']!r}, this version reads {FORMAT}")
        return _decode(value, pool)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        why = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise CodecError(
            f"The shared document of the pool {pool.key!r} cannot be read: {why}.",
            hint="Delete it: admission then starts as if the windows were full.",
        ) from error


def _decode(value: dict[str, Any], pool: Pool) -> State:
    t = float(value["t"])
    rows: dict[str, list[Any]] = dict(value["m"])
    meters = [_meter(rows.pop(limit.name, None), limit, t) for limit in pool.limits]
    state = State(pool, meters, t)
    state.hold, state.passed, state.slow = (
        value["hold"] + 0.0,
        value["passed"] + 0,
        value["slow"] + 0.0,
    )
    for name, row in value["w"].items():
        entry = state.workers[name] = Entry(row)
        sum(entry[:7])  # of what is no number there is no sum
        if entry[7]:
            for waiting in entry[7]:
                check(waiting)
            entry[7] = [waiting for waiting in entry[7] if len(waiting) == 6 + len(meters)]
    state.given = value["f"]
    for given, at in state.given.values():
        given + at
    for name, row in value.get("h", {}).items():
        if len(row) == 1 + len(meters):
            sum(row)
            state.holds[name] = row
    for name, row in rows.items():
        grain = grain_of(name)
        if row[0] * grain > t - 2 * len(row[4]) * grain:
            state.foreign[name] = row
    return state


def _meter(row: list[Any] | None, limit: Limit, t: float) -> Meter:
    if row is None:
        meter = empty(limit, t)
        meter.fill(limit, t)
        return meter
    meter = Meter(*row)
    if limit.what is not What.CONCURRENT and len(meter.counts) != limit.parts + 1:
        raise ValueError(f"the meter {limit.name} has {len(meter.counts)} parts")
    # A sum of what is no number is none.
    if meter.used < 0 or not isinstance(meter.k + meter.tat + meter.level + meter.cut, float):
        raise ValueError(f"the meter {limit.name} holds less than nothing")
    return meter
