"""What the budgets that the settings name have left, for people who look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from perdure.core.budget import PREFIX, Budget, balance
from perdure.core.charge import NANO
from perdure.core.keys import part
from perdure.core.period import ends, period
from perdure.core.shared import Document


class Line(NamedTuple):
    """A budget of one ``subject`` ("": of all together) in its present period: what was ``spent``
    of it, ``reserved`` by calls under way and ``planned`` by runs: nano-dollars. ``anew``: when it
    begins anew, in seconds since 1970; None: never."""

    budget: Budget
    subject: str
    spent: int
    reserved: int
    planned: int
    anew: float | None

    @property
    def left(self) -> int:
        """What a new call may cost; below 0 where a soft budget is overdrawn."""
        return self.budget.usd - self.spent - self.reserved - self.planned

    def document(self) -> dict[str, Any]:
        """As JSON, money in dollars."""
        budget, anew = self.budget, self.anew
        return {
            "name": budget.name,
            "per": budget.per,
            "subject": self.subject,
            "every": budget.every or None,
            "hard": budget.hard,
            "amount_usd": budget.usd / NANO,
            "spent_usd": self.spent / NANO,
            "reserved_usd": self.reserved / NANO,
            "planned_usd": self.planned / NANO,
            "left_usd": self.left / NANO,
            "begins_anew_at": (
                None if anew is None else datetime.fromtimestamp(anew, UTC).isoformat()
            ),
        }


def lines(budgets: Iterable[Budget], documents: Mapping[str, Document], now: float) -> list[Line]:
    """Of each budget, in their order, the subjects that have spent most first. One of all together
    is there also before anything was spent of it."""
    found = []
    for budget in budgets:
        start = f"{PREFIX}{part(budget.name)}/{period(budget.every, now) or '-'}/"
        anew = ends(budget.every, now)
        own = [
            Line(budget, unquote_plus(key.removeprefix(start)), *balance(document.body, now), anew)
            for key, document in documents.items()
            if key.startswith(start) and document.body
        ]
        if not own and budget.per == "all":
            own = [Line(budget, "", 0, 0, 0, anew)]
        found += sorted(own, key=lambda line: (-line.spent, line.subject))
    return found
