"""A hard budget is never overrun, whatever the workers do to each other: calls decided on old
documents, swaps whose answers are lost, workers that die or are taken for dead."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from perdure.core import budget as b
from perdure.core.budget import Answer, Books, Budget, Hold, Nano, Spender
from perdure.core.shared import Document, Swap

LIMIT = 1000
BUDGETS = (
    Budget(name="all", usd=Nano(LIMIT), soft=(Nano(400), Nano(900))),
    Budget(name="agent", usd=Nano(LIMIT // 2), per="agent"),
)
WORKERS = ("w1", "w2", "w3")


class Spending(RuleBasedStateMachine):
    """``outstanding``: holds of calls that may have been sent and have not been settled, those of
    dead workers too. What the documents say must never be less than what was given out."""

    fenced = True
    seen = Bundle("seen")
    held = Bundle("held")

    @initialize()
    def begin(self) -> None:
        self.documents: dict[str, Document] = {}
        self.now = 1e9
        self.numbers = dict.fromkeys(WORKERS, 0)
        self.settled = {"clerk": 0, "bot": 0}
        self.outstanding: list[tuple[str, int]] = []
        self.told: list[int] = []

    def swap(self, swaps: Iterable[Swap]) -> bool:
        swaps = list(swaps)
        stale = [s for s in swaps if self.documents.get(s.key, Document()).version != s.version]
        if stale and self.fenced:
            return False
        for one in swaps:
            version = self.documents.get(one.key, Document()).version
            self.documents[one.key] = Document(version + 1, one.body)
        return True

    def books(self, worker: str) -> Books:
        self.numbers[worker] += 1
        return Books(dict(self.documents), worker, self.numbers[worker], self.now)

    @rule(target=seen)
    def look(self) -> dict[str, Document]:
        """A worker remembers documents; others may change them before it decides."""
        return dict(self.documents)

    @rule(target=held, old=seen, worker=st.sampled_from(WORKERS), amount=st.integers(1, 300),
          agent=st.sampled_from(("clerk", "bot")), lost=st.booleans(),
          dies=st.booleans())  # fmt: skip
    def reserve(
        self, old: dict[str, Document], worker: str, amount: int, agent: str, lost: bool, dies: bool
    ) -> object:
        self.numbers[worker] += 1
        books = Books(old, worker, self.numbers[worker], self.now)
        verdict = books.reserve(b.accounts(BUDGETS, Spender(agent=agent), self.now), amount)
        if verdict.answer is not Answer.FITS:
            return multiple()
        done = self.swap(books.swaps())
        if lost:  # it is repeated, and refused where it was done
            again = self.swap(books.swaps())
            assert not (done and again and self.fenced)
            done = again or b.applied(books.swaps(), self.documents, worker)
        if not done:
            return multiple()
        assert verdict.hold is not None
        self.outstanding.append((agent, verdict.hold.amount))
        return multiple() if dies else (worker, agent, verdict.hold)

    @rule(one=consumes(held), part=st.floats(0, 1))
    def settle(self, one: tuple[str, str, Hold], part: float) -> None:
        worker, agent, hold = one
        cost = int(hold.amount * part)
        books = self.books(worker)
        books.settle(hold, cost)
        assert self.swap(books.swaps())
        self.outstanding.remove((agent, hold.amount))
        self.settled[agent] += cost
        self.told += [crossing.soft for crossing in books.crossed]

    @rule(seconds=st.sampled_from((1.0, 20.0, b.TTL + 1, b.REMEMBER + 1)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=st.sampled_from(WORKERS))
    def refresh(self, worker: str) -> None:
        books = self.books(worker)
        books.refresh()
        assert self.swap(books.swaps())

    @invariant()
    def never_overrun(self) -> None:
        if not hasattr(self, "settled"):
            return
        for agent, settled in self.settled.items():
            given = settled + sum(amount for who, amount in self.outstanding if who == agent)
            assert given <= LIMIT // 2, "an agent's budget was overrun"
        given = sum(self.settled.values()) + sum(amount for _, amount in self.outstanding)
        assert given <= LIMIT, "the budget was overrun"
        for account in b.accounts(BUDGETS[:1], Spender(), self.now):
            body = self.documents.get(account.key, Document()).body
            found = b.balance(body, self.now)
            assert found.spent + found.reserved == given
            assert found.reserved >= 0

    @invariant()
    def told_once(self) -> None:
        if hasattr(self, "told"):
            assert len(self.told) == len(set(self.told))
            assert self.told == sorted(self.told)


class Unfenced(Spending):
    fenced = False


def test_hard_budgets_are_never_overrun() -> None:
    run_state_machine_as_test(
        Spending, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )


def test_without_the_fence_they_are() -> None:
    """The compare-and-swap is what holds: the machine above finds out when it is gone."""
    quiet = settings(
        max_examples=60, stateful_step_count=30, deadline=None, database=None,
        report_multiple_bugs=False,
    )  # fmt: skip
    try:
        run_state_machine_as_test(Unfenced, settings=quiet)
    except AssertionError:
        return
    raise RuntimeError("the machine does not notice a missing fence")
