"""The ledger's sums as people read them: what was asked of providers, apart from what was spared.

Pure. A row of a report is one group; calls that a journal or the response cache answered are
counted beside the others, and their tokens and money only as saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from perdure.core.charge import NANO, Source
from perdure.errors import UsageError
from perdure.store.costs import COLUMNS, FILTERS, TIMES, CostFilter, CostRow

EVERYTHING = 100_000  # groups that are summed before the dearest are chosen
RUN = "run"  # what people call the column run_id
NAMES = tuple(RUN if name == "run_id" else name for name in (*COLUMNS, *TIMES))
FILTER_NAMES = tuple(RUN if name == "run_id" else name for name in FILTERS)


@dataclass(slots=True)
class Spent:
    """The sums of one group; all but ``cached``, ``replayed`` and ``saved`` are of calls that went
    out. ``failed`` and ``void`` of the ``calls`` were of no use. Tokens are counts, ``cost`` and
    ``saved`` nano-dollars; ``estimated`` and ``unknown`` count calls whose price is so."""

    group: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    failed: int = 0
    void: int = 0
    cached: int = 0
    replayed: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: int = 0
    saved: int = 0
    estimated: int = 0
    unknown: int = 0
    took_ms: int = 0

    @property
    def hit_rate(self) -> float:
        """The part of the input that was read from the provider's cache."""
        return self.cache_read / self.input if self.input else 0.0

    def add(self, row: CostRow, source: str) -> None:
        """One more sum, all of whose calls have this ``source``."""
        self.saved += row.saved
        if source in (Source.CACHED, Source.REPLAYED):
            name = "cached" if source == Source.CACHED else "replayed"
            setattr(self, name, getattr(self, name) + row.calls)
            return
        if source in (Source.FAILED, Source.VOID):
            name = "failed" if source == Source.FAILED else "void"
            setattr(self, name, getattr(self, name) + row.calls)
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(row, name))

    def document(self) -> dict[str, Any]:
        """As JSON: money in dollars, and exactly in nano-dollars."""
        return {
            "group": self.group,
            **{name: getattr(self, name) for name in COUNTS},
            "hit_rate": round(self.hit_rate, 4),
            "cost_usd": self.cost / NANO,
            "cost_nano": self.cost,
            "saved_usd": self.saved / NANO,
            "saved_nano": self.saved,
        }


_SUMMED = (
    "calls", "input", "output", "cache_read", "cache_write", "reasoning", "cost", "estimated",
    "unknown", "took_ms",
)  # fmt: skip
COUNTS = (
    "calls", "failed", "void", "cached", "replayed", "input", "output", "cache_read",
    "cache_write", "reasoning", "estimated", "unknown", "took_ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """``rows``: newest first where they are by time, then the dearest. ``more``: how many others
    there are, which are in ``total`` as well."""

    rows: list[Spent]
    total: Spent
    more: int = 0


def question(by: Sequence[str], wanted: CostFilter) -> CostFilter:
    """What to ask the store for a report by these ``NAMES``. Raises UsageError."""
    unknown = [name for name in by if name not in NAMES]
    if unknown:
        raise UsageError(
            f"Costs are not kept by {unknown[0]!r}.", hint=f"One of: {', '.join(NAMES)}."
        )
    columns = ["run_id" if name == RUN else name for name in by]
    return replace(
        wanted, by=(*columns, *(() if "source" in columns else ("source",))), limit=EVERYTHING
    )


def report(by: Sequence[str], rows: Iterable[CostRow], limit: int) -> Report:
    """The answer to ``question(by, …)``, its ``limit`` first groups."""
    groups: dict[tuple[str, ...], Spent] = {}
    total = Spent()
    for row in rows:
        key = tuple(row.group["run_id" if name == RUN else name] for name in by)
        if key not in groups:
            groups[key] = Spent(dict(zip(by, key, strict=True)))
        for sums in (groups[key], total):
            sums.add(row, row.group["source"])
    times = [name for name in by if name in TIMES]
    found = sorted(groups.values(), key=lambda spent: (-spent.cost, -spent.saved, -spent.calls))
    for name in reversed(times):
        found.sort(key=lambda spent, name=name: spent.group[name], reverse=True)  # type: ignore[misc]
    return Report(found[:limit], total, max(0, len(found) - limit))


def moment(text: str) -> datetime:
    """A day or a time, in UTC where it says no zone: ``2026-11-01``, ``2026-11-01T12:00Z``. Raises
    ValueError."""
    at = datetime.fromisoformat(text.strip().upper())
    return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
