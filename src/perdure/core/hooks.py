"""What an App may hang into the gateway: a rule that chooses routes, and who is told of money.

Money is nano-dollars (1e-9 USD); ``usd`` makes dollars of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from perdure.core.charge import NANO
from perdure.core.routing import Asked


class BudgetCrossed(NamedTuple):
    """A call of ``run_id`` (None: of no run) took what is ``spent`` of a budget over a ``soft``
    amount. ``subject``: whose budget it is, where each run, agent, tenant ... has one."""

    budget: str
    per: str
    subject: str
    soft: int
    spent: int
    amount: int
    agent: str
    tenant: str = ""
    run_id: str | None = None


class SpendAnomaly(NamedTuple):
    """With one credential far more was spent in an ``hour`` (UTC, ``2026-11-21T14``) than in its
    usual ones, whose median is ``usual``. ``credential`` is a label; "": calls without one."""

    hour: str
    credential: str
    spent: int
    usual: int


def usd(nano: int) -> Decimal:
    """Nano-dollars as dollars, exactly."""
    return Decimal(nano) / NANO


@dataclass(frozen=True, slots=True)
class Hooks:
    """``route``: the name of the route that a call takes, or None for the settings' own choice.
    It is called for each call on the event loop and must not wait. The others may be async; else
    they are called in a thread."""

    route: Callable[[Asked], str | None] | None = None
    on_budget: Callable[[BudgetCrossed], Awaitable[Any] | Any] | None = None
    on_spend: Callable[[SpendAnomaly], Awaitable[Any] | Any] | None = None
