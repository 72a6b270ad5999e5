"""Where model calls go, for people who look: routes, how their targets are, and what the ledger
says of each. Read and not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from perdure.core import breaker, drill
from perdure.core.charge import NANO, Source
from perdure.core.drill import Drill
from perdure.core.routing import Route, Target
from perdure.store.base import Store
from perdure.store.costs import CostFilter

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
GROUPS = 100_000


@dataclass(frozen=True, slots=True)
class TargetStanding:
    """``breaker``: closed, open (nobody asks it before ``until``), or half-open (one call may try
    it; ``until`` is when its turn ends, where it is under way). ``failures`` are those of the last
    minute that a closed breaker counts. ``calls`` went to it, ``answered`` of them were answered;
    ``cost`` is of all of them, in nano-dollars; ``unpriced`` of them have no known price."""

    target: Target
    breaker: str
    until: float | None
    failures: int
    calls: int
    answered: int
    cost: int
    unpriced: int
    took_ms: int

    @property
    def success(self) -> float | None:
        return self.answered / self.calls if self.calls else None

    @property
    def cost_per_answer(self) -> float | None:
        """Nano-dollars; None where it is not known."""
        return self.cost / self.answered if self.answered and not self.unpriced else None

    def view(self, share: float | None) -> dict[str, Any]:
        """As JSON values."""
        target, cost = self.target, self.cost_per_answer
        return {
            "target": target.name,
            "provider": target.provider or None,
            "model": target.model or None,
            "base_url": target.base_url or None,
            "key": target.key or None,
            "weight": target.weight,
            "breaker": self.breaker,
            "until": _time(self.until),
            "failures": self.failures,
            "calls": self.calls,
            "answered": self.answered,
            "share": None if share is None else round(share, 4),
            "success": None if self.success is None else round(self.success, 4),
            "mean_ms": round(self.took_ms / self.calls) if self.calls else None,
            "cost_usd": self.cost / NANO,
            "cost_per_call_usd": None if cost is None else cost / NANO,
        }


@dataclass(frozen=True, slots=True)
class RouteStanding:
    """``drill``: one that is under way."""

    route: Route
    targets: tuple[TargetStanding, ...]
    drill: Drill | None

    @property
    def calls(self) -> int:
        return sum(target.calls for target in self.targets)

    def share(self, target: TargetStanding) -> float | None:
        """Of the route's calls."""
        return target.calls / self.calls if self.calls else None

    def view(self) -> dict[str, Any]:
        """As JSON values."""
        answered = sum(target.answered for target in self.targets)
        cost = sum(target.cost for target in self.targets)
        priced = answered and not any(target.unpriced for target in self.targets)
        one = self.drill
        return {
            "route": self.route.name,
            "rules": rules(self.route),
            "sticky": self.route.sticky or None,
            "calls": self.calls,
            "cost_usd": cost / NANO,
            "cost_per_call_usd": cost / answered / NANO if priced else None,
            "drill": None
            if one is None
            else {"target": one.target, "percent": one.percent, "until": _time(one.until)},
            "targets": [target.view(self.share(target)) for target in self.targets],
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all routes, in the order in which they are tried, at ``now``. What is counted is counted
    from ``since`` on."""

    now: float
    since: datetime
    routes: tuple[RouteStanding, ...]

    def view(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "now": _time(self.now),
            "since": self.since.isoformat(),
            "routes": [route.view() for route in self.routes],
        }


async def standing(store: Store, routes: Sequence[Route], since: datetime) -> Standing:
    """How it is now. Raises StoreUnavailable."""
    keys = {breaker.key(target.name) for route in routes for target in route.targets}
    keys |= {drill.key(route.name) for route in routes}
    swapped = await store.swap(sorted(keys))
    rows = await store.costs(
        CostFilter(since=since, by=("route", "target", "source"), limit=GROUPS)
    )
    sums: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        source = row.group["source"]
        if source not in (Source.SENT, Source.FAILED, Source.VOID):
            continue
        found = sums.setdefault((row.group["route"], row.group["target"]), [0] * 5)
        answered = row.calls if source == Source.SENT else 0
        for i, value in enumerate((row.calls, answered, row.cost, row.unknown, row.took_ms)):
            found[i] += value

    def one(route: Route, target: Target) -> TargetStanding:
        body = swapped.documents[breaker.key(target.name)].body
        state, until, failures = _breaker(breaker.decode(body), swapped.now)
        calls = sums.get((route.name, target.name), [0] * 5)
        return TargetStanding(target, state, until, failures, *calls)

    return Standing(
        swapped.now,
        since,
        tuple(
            RouteStanding(
                route,
                tuple(one(route, target) for target in route.targets),
                drill.under_way(swapped.documents[drill.key(route.name)].body, swapped.now),
            )
            for route in routes
        ),
    )


def rules(route: Route) -> dict[str, Any]:
    """What a call has to be like; what is left out may be anything."""
    found: dict[str, Any] = {"model": list(route.model)}
    for name in ("agent", "step", "tenant", "difficulty"):
        if patterns := getattr(route, name):
            found[name] = list(patterns)
    for name in ("min_prompt", "max_prompt"):
        if (value := getattr(route, name)) is not None:
            found[name] = value
    return found


def _breaker(state: breaker.Breaker, now: float) -> tuple[str, float | None, int]:
    if not state.opened:
        oldest = (now - breaker.WINDOW) // breaker.SLOT
        return CLOSED, None, sum(bad for at, (_, bad) in state.slots.items() if at > oldest)
    if now < state.until:
        return OPEN, state.until, 0
    return HALF_OPEN, state.probe_ends if state.probe and now < state.probe_ends else None, 0


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
