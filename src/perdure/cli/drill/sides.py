"""A fallback beside its primary: what each did, and whether that is good enough. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perdure.core.charge import NANO, Charge, Priced, Source


class Bars(NamedTuple):
    """What a fallback has to reach. ``success``: the share of its calls that are answered, at
    least. The others are beside the primary: the ratio of the 95th percentiles of latency and of
    the costs of an answered call, at most; of quality, at least."""

    success: float = 0.99
    latency: float = 3.0
    cost: float = 2.0
    quality: float = 0.9


class Check(NamedTuple):
    """One bar. ``value`` is None where there is nothing to compare: then it is not held against the
    fallback. ``says`` is for people."""

    name: str
    value: float | None
    bar: float
    passed: bool
    says: str

    def to_dict(self) -> dict[str, Any]:
        value = None if self.value is None else round(self.value, 4)
        return {**self._asdict(), "value": value}


@dataclass(slots=True)
class Side:
    """What was asked of a target. ``took``: milliseconds of each answered call. ``cost`` is in
    nano-dollars, of all calls; ``unpriced`` of them have no known price. ``scores``: 0 to 1, one
    for each answer of an eval set."""

    target: str
    calls: int = 0
    answered: int = 0
    cost: int = 0
    unpriced: int = 0
    took: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, charge: Charge) -> None:
        """A row of the ledger that was asked of it."""
        self.calls += 1
        self.cost += charge.cost
        self.unpriced += charge.priced == Priced.UNKNOWN
        if charge.source == Source.SENT:
            self.answered += 1
            self.took.append(charge.took_ms)

    @property
    def success(self) -> float | None:
        return self.answered / self.calls if self.calls else None

    def percentile(self, share: float) -> int | None:
        """Milliseconds within which this ``share`` of the answers came (nearest rank)."""
        if not self.took:
            return None
        return sorted(self.took)[max(math.ceil(share * len(self.took)) - 1, 0)]

    @property
    def cost_per_answer(self) -> float | None:
        """Nano-dollars; None where it is not known."""
        return self.cost / self.answered if self.answered and not self.unpriced else None

    @property
    def quality(self) -> float | None:
        """The mean score; what was not answered counts as 0."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        cost = self.cost_per_answer
        return {
            "target": self.target,
            "calls": self.calls,
            "answered": self.answered,
            "success": _rounded(self.success),
            "p50_ms": self.percentile(0.5),
            "p95_ms": self.percentile(0.95),
            "cost_per_call_usd": None if cost is None else cost / NANO,
            "quality": _rounded(self.quality),
        }


def real(rows: Iterable[Charge], target: str, why: str) -> tuple[Side, Side]:
    """(the primary, the drilled ``target``) of a route's rows: those that went to the target for
    the drill (``why``), and those that the route sent to whoever is first."""
    primary, drilled = Side(""), Side(target)
    names: list[str] = []
    for row in rows:
        if row.source not in (Source.SENT, Source.FAILED, Source.VOID) or row.feature == why:
            continue  # an eval set that runs meanwhile is no real traffic
        reason = row.why.partition(":")[0]
        if row.target == target and reason == why:
            drilled.add(row)
        elif row.target != target and reason.partition(" ")[0] in ("first", "weight"):
            if row.target not in names:
                names.append(row.target)
            primary.add(row)
    primary.target = ", ".join(names)
    return primary, drilled


def judge(side: Side, primary: Side, bars: Bars) -> tuple[Check, ...]:
    """Whether ``side`` can stand in for ``primary``."""
    success = side.success or 0.0
    says = f"answered {side.answered} of {side.calls}" if side.calls else "nothing went there"
    checks = [Check("success", success, bars.success, success >= bars.success, says)]
    checks.append(_ratio("latency", side.percentile(0.95), primary.percentile(0.95), bars.latency))
    checks.append(_ratio("cost", side.cost_per_answer, primary.cost_per_answer, bars.cost))
    if side.quality is not None:
        # A primary that answers nothing sets no example: then the scores themselves count.
        example = primary.quality or 1.0
        value = side.quality / example
        checks.append(
            Check("quality", value, bars.quality, value >= bars.quality, f"{value:.2f} times")
        )
    return tuple(checks)


def _ratio(name: str, own: float | None, other: float | None, bar: float) -> Check:
    if own is None or other is None:
        return Check(name, None, bar, True, "nothing to compare")
    if not other:
        return Check(name, None, bar, not own or name != "cost", "the primary's is 0")
    value = own / other
    return Check(name, value, bar, value <= bar, f"{value:.2f} times")


def passed(checks: Sequence[Check]) -> bool:
    """All of them."""
    return all(check.passed for check in checks)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
