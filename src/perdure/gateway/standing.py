"""How full the limits are, for people who look: the pools' documents, read and not changed.

A document may be of limits that the settings no longer have, or have in another way: then its
meters are told of without an amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from perdure.config import LimitConfig
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.admission.line import Head, head_of
from perdure.core.admission.meter import Meter
from perdure.core.admission.state import State, decode
from perdure.core.shared import Document, Shared
from perdure.errors import CodecError, PerdureError
from perdure.gateway.meters import PREFIX, Named, declared

MOST = 1000  # pools that are told of


@dataclass(frozen=True, slots=True)
class MeterStanding:
    """``what`` is counted over ``per`` seconds (0: at one time). ``amount``: its limit, None where
    the settings do not say it. ``believed``: the share of it that is held to be true. ``next_at``:
    when there is room for the call that is next, or for any (unix seconds); None: not known."""

    what: str
    per: float
    amount: int | None
    used: int
    believed: float
    next_at: float | None

    def view(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "what": self.what,
            "window_s": self.per,
            "amount": self.amount,
            "used": self.used,
            "believed": round(self.believed, 3),
            "next_admit_at": _time(self.next_at),
        }


@dataclass(frozen=True, slots=True)
class PoolStanding:
    """``in_flight`` and ``waiting`` are calls, over all workers. ``next_at``: when the next call
    may go (unix seconds); None: when another one is over. ``held_until``: the provider said to wait
    so long. ``problem``: why the document cannot be read, and nothing else is known."""

    key: str
    named: Named
    declared: bool
    in_flight: int
    waiting: int
    next_at: float | None
    held_until: float | None
    meters: tuple[MeterStanding, ...]
    problem: str | None = None

    def view(self) -> dict[str, Any]:
        """As JSON values."""
        named = self.named
        return {
            "pool": self.key,
            "provider": named.provider,
            "model": None if named.shared else named.name,
            "shared_by": named.name if named.shared else None,
            "key": None if named.credential == "*" else named.credential,
            "declared": self.declared,
            "in_flight": self.in_flight,
            "waiting": self.waiting,
            "held_until": _time(self.held_until),
            "next_admit_at": _time(self.next_at),
            "problem": self.problem,
            "limits": [meter.view() for meter in self.meters],
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all pools, at ``now``: the keeper's clock, unix seconds."""

    now: float
    pools: tuple[PoolStanding, ...]

    def view(self) -> dict[str, Any]:
        """As JSON values."""
        return {"now": _time(self.now), "pools": [pool.view() for pool in self.pools]}


async def standing(shared: Shared, limits: Sequence[LimitConfig]) -> Standing:
    """What the pools' documents say now. Raises StoreUnavailable."""
    found = await shared.listed(PREFIX, MOST)
    told = [
        pool
        for key, document in sorted(found.documents.items())
        if (pool := _pool(key, document, limits, found.now)) is not None
    ]
    return Standing(found.now, tuple(told))


def _pool(
    key: str, document: Document, limits: Sequence[LimitConfig], now: float
) -> PoolStanding | None:
    named = Named.of(key)
    if named is None or not document.version:
        return None
    known = declared(limits, key)
    try:
        state = decode(orjson.loads(document.body), known or Pool(key, ()))
    except (PerdureError, orjson.JSONDecodeError) as error:
        says = error.message if isinstance(error, CodecError) else str(error)
        return PoolStanding(key, named, known is not None, 0, 0, None, None, (), says)
    now = state.tend(now)
    head = _first(state)
    meters = [_meter(state, i, limit, head, now) for i, limit in enumerate(state.pool.limits)]
    meters += [meter for name, row in state.foreign.items() if (meter := _foreign(name, row, now))]
    held = state.hold if state.hold > now else None
    times = [meter.next_at for meter in meters if meter.amount is not None]
    soonest: float | None = None
    if None not in times:
        soonest = max([now, state.hold, *(at for at in times if at is not None)])
        if head is not None:
            # Its worker asks again then: others may be before it, or hold what it needs.
            soonest = max(soonest, head.at)
    return PoolStanding(
        key, named, known is not None, state.calls(),
        sum(entry.waiting for entry in state.workers.values()), soonest, held, tuple(meters),
    )  # fmt: skip


def _first(state: State) -> Head | None:
    """Of the calls that wait, roughly: fairness between tenants is left out."""
    heads = [head_of(row) for entry in state.workers.values() for row in entry.heads]
    return min(heads, key=lambda head: (-head.priority, head.since), default=None)


def _meter(state: State, i: int, limit: Limit, head: Head | None, now: float) -> MeterStanding:
    meter = state.meters[i]
    if limit.what is What.CONCURRENT:
        used = state.calls()
        return MeterStanding(
            limit.what, 0.0, limit.amount, used, 1.0, now if used < limit.amount else None
        )
    need = max(1, head.need[i]) if head is not None else 1
    return MeterStanding(
        limit.what, limit.per, limit.amount, meter.used, meter.believed(now),
        meter.when(limit, need, 0, now),
    )  # fmt: skip


def _foreign(name: str, row: list[Any], now: float) -> MeterStanding | None:
    """A meter that the settings do not have."""
    what, _, per = name.partition("/")
    if what == What.CONCURRENT:
        return None
    try:
        produced = per.endswith("p")
        limit = Limit(
            What(what), 1, float(per.rstrip("p")), "produced" if produced else "admission"
        )
        meter = Meter(*row)
        meter.tend(limit, now)
    except (ValueError, TypeError, PerdureError):
        return None
    return MeterStanding(what, limit.per, None, meter.used, meter.believed(now), None)


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
