"""What budgets have left, as people see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from perdure.core.balances import lines
from perdure.core.budget import Books, Budget, Nano, Spender, accounts
from perdure.core.shared import Document

NOW = datetime(2026, 11, 21, 13, 30, tzinfo=UTC).timestamp()
DAILY = Budget(name="daily", usd=Nano(100), every="day")
EACH = Budget(name="each tenant", usd=Nano(50), per="tenant", hard=False, soft=(Nano(40),))
BUDGETS = (DAILY, EACH)


def spent(documents: Mapping[str, Document], spender: Spender, cost: int, held: int = 0,
          now: float = NOW) -> dict[str, Document]:  # fmt: skip
    charged = accounts(BUDGETS, spender, now)
    books = Books(documents, "w", 1, now)
    hold = books.reserve(charged, cost).hold
    assert hold is not None
    books.settle(hold, cost)
    if held:
        assert books.reserve(charged, held).hold is not None
    changed = {swap.key: Document(1, swap.body) for swap in books.swaps()}
    return {**documents, **changed}


def test_what_was_spent_and_is_held() -> None:
    documents = spent({}, Spender(tenant="a/b c"), 30, held=20)
    documents = spent(documents, Spender(tenant="é"), 45)
    daily, first, second = lines(BUDGETS, documents, NOW)
    assert (daily.subject, daily.spent, daily.reserved, daily.left) == ("", 75, 20, 5)
    assert daily.anew == datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    # Of the soft one nothing is reserved; whose has spent most comes first.
    assert [(one.subject, one.spent, one.left) for one in (first, second)] == [
        ("é", 45, 5), ("a/b c", 30, 20),
    ]  # fmt: skip
    assert first.anew is None
    assert daily.document() == {
        "name": "daily", "per": "all", "subject": "", "every": "day", "hard": True,
        "amount_usd": 1e-7, "spent_usd": 7.5e-8, "reserved_usd": 2e-8, "planned_usd": 0.0,
        "left_usd": 5e-9, "begins_anew_at": "2026-11-22T00:00:00+00:00",
    }  # fmt: skip


def test_yesterdays_documents_say_nothing_today() -> None:
    documents = spent({}, Spender(), 30, now=NOW - 86_400)
    [daily] = lines((DAILY,), documents, NOW)
    assert daily.spent == 0


def test_before_anything_is_spent_there_is_the_budget_of_all() -> None:
    assert [line.budget.name for line in lines(BUDGETS, {}, NOW)] == ["daily"]
