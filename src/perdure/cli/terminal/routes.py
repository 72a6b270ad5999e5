"""Routes for people: a heading with the rules, and a line for each target."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from perdure.cli.terminal.amounts import dollars
from perdure.cli.terminal.output import stdout, table
from perdure.cli.terminal.times import short
from perdure.core.charge import NANO
from perdure.core.routing import Route
from perdure.runtime.routing import CLOSED, OPEN, RouteStanding, Standing, TargetStanding, rules

STYLES = {CLOSED: "green", OPEN: "red"}


def print_routes(found: Standing) -> None:
    """All of them, in the order in which they are tried."""
    for i, one in enumerate(found.routes):
        if i:
            stdout().print()
        stdout().print(f"{one.route.name}: {said(one.route)}", soft_wrap=True, markup=False)
        if one.drill is not None:
            left = short(timedelta(seconds=one.drill.until - found.now))
            stdout().print(
                f"drill: {one.drill.percent:g} % to {one.drill.target} first, for {left} more",
                style="yellow", soft_wrap=True,
            )  # fmt: skip
        rows = [_row(one, target, found.now) for target in one.targets]
        styles = {
            (n, 2): STYLES.get(target.breaker, "yellow") for n, target in enumerate(one.targets)
        }
        columns = ("TARGET", "MODEL", "BREAKER", "CALLS", "SHARE", "ANSWERED", "COST/CALL")
        table(columns, rows, cell_styles=styles, shrink=1)


def _row(route: RouteStanding, one: TargetStanding, now: float) -> tuple[str, ...]:
    share, cost = route.share(one), one.cost_per_answer
    state = one.breaker
    if one.breaker == OPEN and one.until is not None:
        state += f", {short(timedelta(seconds=one.until - now))} more"
    elif one.failures:
        state += f", {one.failures} failed"
    return (
        one.target.name + (f" (weight {one.target.weight})" if one.target.weight else ""),
        one.target.model or "as asked",
        state,
        str(one.calls),
        "" if share is None else f"{share:.0%}",
        "" if one.success is None else f"{one.success:.1%}",
        "" if not one.calls else "?" if cost is None else dollars(Decimal(cost) / NANO),
    )


def said(route: Route) -> str:
    """``model claude-*, agent a or b, prompt up to 2000 tokens``."""
    found: dict[str, Any] = rules(route)
    low, high = found.pop("min_prompt", None), found.pop("max_prompt", None)
    parts = [f"{name} {' or '.join(patterns)}" for name, patterns in found.items()]
    if low is not None and high is not None:
        parts.append(f"prompt of {low} to {high} tokens")
    elif low is not None:
        parts.append(f"prompt of {low} tokens or more")
    elif high is not None:
        parts.append(f"prompt of up to {high} tokens")
    return ", ".join(parts)
