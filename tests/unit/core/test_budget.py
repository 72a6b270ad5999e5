"""Budgets: what fits, what waits, what is spent, and what is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from perdure.core import budget as b
from perdure.core.budget import Account, Answer, Balance, Books, Budget, Hold, Nano, Spender
from perdure.core.shared import Document, Swap

NOON = 1_795_262_400.0  # 2026-11-21T12:00Z
DAY = Budget(name="day", usd=Nano(100), every="day", soft=(Nano(50), Nano(80)))
ALICE = Spender(run="r1", session="s1", agent="clerk", tenant="acme")


class Keeper:
    """Documents, changed by compare-and-swap."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}

    def swap(self, swaps: Iterable[Swap]) -> bool:
        swaps = list(swaps)
        if any(self.documents.get(s.key, Document()).version != s.version for s in swaps):
            return False
        for one in swaps:
            self.documents[one.key] = Document(one.version + 1, one.body)
        return True

    def books(self, worker: str = "w1", now: float = NOON, number: int = 1) -> Books:
        return Books(dict(self.documents), worker, number, now)

    def reserve(
        self, charged: tuple[Account, ...], amount: int, worker: str = "w1", now: float = NOON
    ) -> b.Verdict:
        books = self.books(worker, now)
        verdict = books.reserve(charged, amount)
        assert self.swap(books.swaps())
        return verdict

    def settle(self, hold: Hold | None, cost: int, worker: str = "w1", now: float = NOON) -> Books:
        assert hold is not None
        books = self.books(worker, now)
        books.settle(hold, cost)
        assert self.swap(books.swaps())
        return books

    def balance(self, account: Account, now: float = NOON) -> Balance:
        return b.balance(self.documents[account.key].body, now)


def test_a_call_reserves_and_then_costs_what_it_did_cost() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    verdict = keeper.reserve(charged, 60)
    assert verdict.answer is Answer.FITS
    assert keeper.balance(charged[0]) == Balance(0, 60)
    keeper.settle(verdict.hold, 25)
    assert keeper.balance(charged[0]) == Balance(25, 0)


def test_what_others_hold_is_waited_for_and_what_is_spent_is_refused() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    first = keeper.reserve(charged, 60)
    waiting = keeper.reserve(charged, 41, "w2")
    assert (waiting.answer, waiting.left, waiting.hold) == (Answer.WAIT, 40, None)
    assert keeper.reserve(charged, 40, "w2").answer is Answer.FITS
    keeper.settle(first.hold, 60)
    refused = keeper.reserve(charged, 41, "w2")
    assert (refused.answer, refused.left) == (Answer.SPENT, 40)
    assert refused.account == charged[0]


def test_all_budgets_of_a_call_or_none() -> None:
    small = Budget(name="small", usd=Nano(10), per="agent")
    keeper, charged = Keeper(), b.accounts([DAY, small], ALICE, NOON)
    verdict = keeper.reserve(charged, 11)
    assert verdict.answer is Answer.SPENT
    assert verdict.account is not None
    assert verdict.account.budget is small
    assert keeper.documents == {}


def test_of_two_that_make_it_wait_the_tighter_is_named() -> None:
    tight = Budget(name="tight", usd=Nano(70))
    keeper, charged = Keeper(), b.accounts([DAY, tight], ALICE, NOON)
    keeper.reserve(charged, 60)
    verdict = keeper.reserve(charged, 50, "w2")
    assert (verdict.answer, verdict.left) == (Answer.WAIT, 10)


def test_a_soft_budget_counts_and_never_refuses() -> None:
    soft = Budget(name="soft", usd=Nano(100), hard=False, soft=(Nano(50), Nano(100)))
    keeper, charged = Keeper(), b.accounts([soft], ALICE, NOON)
    verdict = keeper.reserve(charged, 1000)
    assert verdict.answer is Answer.FITS
    assert keeper.documents == {}  # nothing is written before the call
    books = keeper.settle(verdict.hold, 120)
    assert [(c.soft, c.spent) for c in books.crossed] == [(50, 120), (100, 120)]


def test_a_crossing_is_told_once() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    told = []
    for cost in (49, 1, 10, 20, 20):
        books = keeper.settle(keeper.reserve(charged, cost).hold, cost)
        told.append([crossing.soft for crossing in books.crossed])
    assert told == [[], [50], [], [80], []]


def test_a_call_that_was_not_sent_gives_everything_back_and_an_unknown_end_keeps_it() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    keeper.settle(keeper.reserve(charged, 60).hold, 0)
    assert keeper.balance(charged[0]) == Balance(0, 0)
    hold = keeper.reserve(charged, 60).hold
    assert hold is not None
    keeper.settle(hold, hold.amount)
    assert keeper.balance(charged[0]) == Balance(60, 0)


def test_a_dead_worker_s_reservations_count_as_spent() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    keeper.reserve(charged, 60, "dead")
    later = NOON + b.TTL + 1
    assert keeper.reserve(charged, 50, "w2", NOON + 1).answer is Answer.WAIT
    assert keeper.reserve(charged, 50, "w2", later).answer is Answer.SPENT
    assert keeper.balance(charged[0], later) == Balance(60, 0)


def test_a_slow_worker_puts_right_what_it_did_cost() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    hold = keeper.reserve(charged, 60, "slow").hold
    later = NOON + b.TTL + 1
    keeper.reserve(charged, 10, "w2", later)
    assert keeper.balance(charged[0], later) == Balance(60, 10)
    keeper.settle(hold, 5, "slow", later)
    assert keeper.balance(charged[0], later) == Balance(5, 10)


def test_a_worker_that_says_so_is_alive() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    keeper.reserve(charged, 60)
    later = NOON + b.TTL - 1
    books = keeper.books(now=later)
    books.refresh()
    assert keeper.swap(books.swaps())
    assert keeper.balance(charged[0], later + 2) == Balance(0, 60)
    idle = keeper.books("idle")
    idle.refresh()
    assert idle.swaps() == []


def test_a_run_sets_money_aside_and_its_calls_draw_on_it() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    books = keeper.books()
    plan = books.set_aside(charged, 70).hold
    assert keeper.swap(books.swaps())
    assert keeper.reserve(charged, 40, "w2").answer is Answer.WAIT
    books = keeper.books()
    verdict = books.reserve(charged, 50, plan)
    assert verdict.answer is Answer.FITS
    assert verdict.plan is not None
    assert verdict.plan.amount == 20
    assert keeper.swap(books.swaps())
    assert keeper.balance(charged[0]) == Balance(0, 50, 20)
    books = keeper.books()
    books.give_back(verdict.plan)
    assert keeper.swap(books.swaps())
    assert keeper.balance(charged[0]) == Balance(0, 50, 0)
    assert books.set_aside(charged, 60).answer is Answer.WAIT


def test_a_plan_never_lets_a_call_pass_the_amount() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    books = keeper.books()
    plan = books.set_aside(charged, 70).hold
    assert keeper.swap(books.swaps())
    later = NOON + b.TTL + 1
    # Meanwhile this worker was taken for dead, and another spent the money.
    keeper.settle(keeper.reserve(charged, 100, "w2", later).hold, 100, "w2", later)
    verdict = keeper.books(now=later).reserve(charged, 50, plan)
    assert verdict.answer is Answer.SPENT
    assert verdict.plan == plan


def test_whose_budgets() -> None:
    budgets = [
        Budget(name=per, usd=Nano(1), per=per)
        for per in ("run", "session", "agent", "feature", "tenant", "all")
    ]
    found = b.accounts(budgets, ALICE, NOON)
    assert [account.key for account in found] == [
        "budget/run/-/r1", "budget/session/-/s1", "budget/agent/-/clerk", "budget/feature/-/",
        "budget/tenant/-/acme", "budget/all/-/",
    ]  # fmt: skip
    outside = b.accounts(budgets, Spender(agent="clerk"), NOON)
    assert [a.budget.name for a in outside] == ["agent", "feature", "tenant", "all"]


def test_filters_and_periods() -> None:
    acme = Budget(name="a", usd=Nano(1), tenant=("ac*",), agent=("clerk",), every="month")
    (account,) = b.accounts([acme], ALICE, NOON)
    assert account.key == "budget/a/2026-11/"
    assert b.accounts([acme], ALICE._replace(tenant="other"), NOON) == ()
    assert b.accounts([acme], ALICE._replace(agent="other"), NOON) == ()


def test_documents_of_periods_that_are_over_can_go() -> None:
    (account,) = b.accounts([DAY], ALICE, NOON)
    day = 86_400.0
    assert not b.ended(account.key, NOON + 1.4 * day)
    assert b.ended(account.key, NOON + 1.6 * day)
    assert not b.ended("budget/total/-/", NOON + 1e9)
    assert not b.ended("limits/2020-01-01/x/y", NOON)


def test_a_swap_whose_answer_was_lost_is_recognized() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    books = keeper.books(number=7)
    books.reserve(charged, 10)
    swaps = books.swaps()
    assert not b.applied(swaps, keeper.documents, "w1")
    assert keeper.swap(swaps)
    keeper.reserve(charged, 5, "w2")  # someone else comes in between
    assert not keeper.swap(swaps)
    assert b.applied(swaps, keeper.documents, "w1")
    later = keeper.books(number=8)
    later.reserve(charged, 10)
    assert not b.applied(later.swaps(), keeper.documents, "w1")
    assert not b.applied([], keeper.documents, "w1")


def test_documents_stay_small() -> None:
    keeper, charged = Keeper(), b.accounts([DAY], ALICE, NOON)
    for i in range(1000):
        hold = keeper.reserve(charged, 0, f"worker-of-some-host-{i}", NOON + i).hold
        if i % 2:
            keeper.settle(hold, 0, f"worker-of-some-host-{i}", NOON + i)
    assert len(keeper.documents[charged[0].key].body) < 4096
    hold = None
    for _ in range(1000):
        hold = keeper.reserve(charged, 0, "w", NOON + 1e6).hold
    assert len(keeper.documents[charged[0].key].body) < 100


@pytest.mark.parametrize("body", [b"nonsense", b"{}", b"[]"])
def test_money_is_not_given_out_on_what_cannot_be_read(body: bytes) -> None:
    (account,) = b.accounts([DAY], ALICE, NOON)
    documents: Mapping[str, Document] = {account.key: Document(1, body)}
    with pytest.raises((ValueError, KeyError, TypeError)):
        Books(documents, "w", 1, NOON).reserve((account,), 1)
