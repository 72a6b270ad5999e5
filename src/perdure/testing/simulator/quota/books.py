"""A provider's own books: what it was asked, answered and bills, and how full its meters were.

What is billed: the input once production begins (a stream's first event; a whole answer's first
token), the output as it is produced, up to where the call broke or its client left. A whole answer
that breaks was produced in full. Refused calls cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from perdure.testing.simulator.quota.meter import Slots
from perdure.testing.simulator.quota.turnstile import Caller, Meter

__all__ = ["Accounting", "Books", "MeterUse", "Minute", "Tally"]


@dataclass(slots=True)
class Tally:
    """Sums. ``limited``: calls refused with 429; ``refused``: with any other status. ``input``
    holds ``cache_read`` and ``cache_write``. Tokens are those billed."""

    requests: int = 0
    answered: int = 0
    limited: int = 0
    refused: int = 0
    broken: int = 0
    aborted: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0

    def add(self, other: Tally) -> None:
        """Adds the other's sums."""
        for one in fields(Tally):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True, slots=True)
class Minute:
    """What one key did with one model of one target in the minute from ``start`` (epoch)."""

    start: int
    target: str
    key: str
    model: str
    tally: Tally


@dataclass(frozen=True, slots=True)
class MeterUse:
    """One meter: ``used`` from ``since`` to ``until`` and its ``utilisation`` (of the amount that
    fits into that time); the ``largest`` use within any ``per`` seconds since start or reset, and
    when that ended; how many calls it ``limited``. For concurrent calls: those there are, and the
    most at once. ``used`` knows the last half million charges at least; ``largest`` all."""

    quota: str
    limit: str
    scope: dict[str, str]
    what: str
    kind: str
    amount: float
    per: float
    used: float
    utilisation: float
    largest: float
    largest_at: float
    limited: int

    @property
    def largest_share(self) -> float:
        """``largest`` as a share of the limit: above 1 was over the limit."""
        return self.largest / self.amount

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with ``largest_share``."""
        return {**asdict(self), "largest_share": self.largest_share}


@dataclass(frozen=True, slots=True)
class Accounting:
    """The books at one time. ``since`` and ``until`` (epoch seconds) concern the meters alone; the
    sums are those of all calls since start or reset."""

    since: float
    until: float
    total: Tally
    by_key: dict[str, Tally] = field(default_factory=dict)
    by_model: dict[str, Tally] = field(default_factory=dict)
    by_target: dict[str, Tally] = field(default_factory=dict)
    minutes: tuple[Minute, ...] = ()
    meters: tuple[MeterUse, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "meters": [meter.to_dict() for meter in self.meters]}


class Books:
    """Tallies by target, key, model and minute. Not locked: its owner does that."""

    def __init__(self, now: float) -> None:
        self.opened = now
        self._minutes: dict[tuple[int, Caller], Tally] = {}

    def of(self, caller: Caller, now: float) -> Tally:
        """Where to count what happens now."""
        place = (int(now // 60) * 60, caller)
        tally = self._minutes.get(place)
        if tally is None:
            tally = self._minutes[place] = Tally()
        return tally

    def accounting(self, meters: Iterable[Meter], since: float, until: float) -> Accounting:
        """The books as a value of its own."""
        minutes: dict[tuple[int, str, str, str], Tally] = {}
        for (start, caller), tally in self._minutes.items():
            place = (start, caller.target, caller.key, caller.model)
            minutes.setdefault(place, Tally()).add(tally)
        rows = tuple(Minute(*place, minutes[place]) for place in sorted(minutes))
        return Accounting(
            since, until, _sum(rows, lambda row: "").get("", Tally()),
            by_key=_sum(rows, lambda row: row.key), by_model=_sum(rows, lambda row: row.model),
            by_target=_sum(rows, lambda row: row.target), minutes=rows,
            meters=tuple(_use(meter, since, until) for meter in meters),
        )  # fmt: skip


def _sum(rows: Iterable[Minute], by: Callable[[Minute], str]) -> dict[str, Tally]:
    sums: dict[str, Tally] = {}
    for row in rows:
        sums.setdefault(by(row), Tally()).add(row.tally)
    return sums


def _use(meter: Meter, since: float, until: float) -> MeterUse:
    limit = meter.limit
    if isinstance(meter.gauge, Slots):
        used = meter.gauge.used(until)
        share = used / limit.amount
    else:
        used = sum(charge.amount for charge in meter.log if since <= charge.at <= until)
        time = until - since
        share = used / (limit.amount * time / limit.per) if time > 0 else 0.0
    most, at = meter.largest()
    return MeterUse(
        meter.quota.name, limit.name, dict(meter.scope), limit.what, limit.kind, limit.amount,
        limit.per, used, share, most, at, meter.limited,
    )  # fmt: skip
