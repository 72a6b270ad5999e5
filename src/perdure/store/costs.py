"""Questions to the ledger: of which calls, grouped by what, and the sums that come back.

Pure. Money is a whole number of nano-dollars; days and hours are UTC's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from perdure.core.charge import Charge
from perdure.errors import UsageError

TIMES = ("day", "hour")  # 2026-11-21 and 2026-11-21T14
COLUMNS = (
    "run_id", "session", "agent", "step", "feature", "tenant", "provider", "model", "credential",
    "target", "route", "why", "source", "priced",
)  # fmt: skip
FILTERS = (
    "run_id", "session", "agent", "step", "feature", "tenant", "provider", "model", "credential",
    "target", "route", "source",
)  # fmt: skip
# A column of the answer and how it is summed, the same in both dialects.
SUMS = {
    "calls": "sum(calls)",
    "input": "sum(input)",
    "output": "sum(output)",
    "cache_read": "sum(cache_read)",
    "cache_write": "sum(cache_write)",
    "reasoning": "sum(reasoning)",
    "cost": "sum(cost)",
    "saved": "sum(saved)",
    "estimated": "sum(case when priced = 'estimate' then calls else 0 end)",
    "unknown": "sum(case when priced = 'unknown' then calls else 0 end)",
    "took_ms": "sum(took_ms)",
}


@dataclass(frozen=True, slots=True)
class CostFilter:
    """Which calls to sum: from ``since`` on and before ``until``, by the store's clock; None is
    any, "" is those that have none. ``by``: what to group by, of ``TIMES`` and ``COLUMNS``; without
    it there is one row, or none where there are no calls. At most ``limit`` groups: the newest
    first where a time is among ``by``, then the dearest. Raises UsageError."""

    since: datetime | None = None
    until: datetime | None = None
    run_id: str | None = None
    session: str | None = None
    agent: str | None = None
    step: str | None = None
    feature: str | None = None
    tenant: str | None = None
    provider: str | None = None
    model: str | None = None
    credential: str | None = None
    target: str | None = None
    route: str | None = None
    source: str | None = None
    by: tuple[str, ...] = ()
    limit: int = 1000

    def __post_init__(self) -> None:
        for name in self.by:
            if name not in TIMES and name not in COLUMNS:
                raise UsageError(
                    f"Costs are not kept by {name!r}.",
                    hint=f"One of: {', '.join((*TIMES, *COLUMNS))}.",
                )
        if len(set(self.by)) < len(self.by):
            raise UsageError(f"Costs are to be grouped twice by one thing: {', '.join(self.by)}.")

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """(column, value) of what is to be equal."""
        pairs = ((name, getattr(self, name)) for name in FILTERS)
        return [(name, value) for name, value in pairs if value is not None]

    @property
    def order(self) -> str:
        """For both dialects: groups are named g0, g1, ... in the order of ``by``."""
        times = [f"g{i} desc" for i, name in enumerate(self.by) if name in TIMES]
        others = [f"g{i}" for i, name in enumerate(self.by) if name not in TIMES]
        return ", ".join([*times, "cost desc", *others])


@dataclass(frozen=True, slots=True)
class CostRow:
    """The sums of one group. ``group``: what each of the filter's ``by`` is here. Tokens of every
    kind are counts; ``cost`` and ``saved`` nano-dollars; ``took_ms`` the sum of all calls' times.
    ``estimated``: how many of the ``calls`` have an estimated price; ``unknown``: have none, so
    that ``cost`` lacks them."""

    group: dict[str, str]
    calls: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    cost: int
    saved: int
    estimated: int
    unknown: int
    took_ms: int


class Entered(NamedTuple):
    """One row of the ledger, and when it was written, by the store's clock."""

    at: datetime
    charge: Charge

    def to_dict(self) -> dict[str, Any]:
        """For programs; money in nano-dollars."""
        fields = self.charge._asdict()
        del fields["id"]
        key = fields.pop("key")
        return {"at": self.at.isoformat(), "key": key.hex() if key else None, **fields}
