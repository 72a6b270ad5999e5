"""Money that was given out, and what is left of it: one small document for each budget, subject and
period, changed by compare-and-swap.

A call reserves the most that it can cost in all its budgets at once, or in none; when it is over,
what it did cost takes the reservation's place. So for a hard budget, whatever the interleaving,

    settled costs + reservations under way <= the amount,

as long as no call costs more than it reserved. A document holds totals for each worker, never a row
for each call. A worker that is not heard of in ``TTL`` seconds is gone: nobody knows what its calls
cost, so its reservations count as spent. Should it come back, its settlements still put that right,
since they add the difference between cost and reservation.

A run may set money aside before it starts (its plan). Plans of a worker that is gone vanish:
nothing was asked for with them.

Pure: ``Books`` are opened on documents, take any number of changes, and tell the swaps to try.
Amounts are nano-dollars, times the keeper's clock in seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

from perdure.core.keys import part
from perdure.core.pattern import fits
from perdure.core.period import over, period
from perdure.core.shared import Document, Swap

Nano = NewType("Nano", int)  # nano-dollars, 1e-9 USD

TTL = 60.0
REMEMBER = 3600.0  # how long the number of a silent worker's last change is kept
WORKERS = 64  # entries in a document; the longest silent go first
PREFIX = "budget/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``usd`` for each ``per`` (run, session, agent, feature, tenant; or all together) and each
    ``every`` (hour, day, month, in UTC; or ever). ``agent``, ``tenant``, ``feature``: only theirs.
    ``soft``: the amounts whose crossing is told. ``hard``: no call that could cross it is made.
    Amounts are nano-dollars."""

    name: str
    usd: Nano
    per: str = "all"
    every: str = ""
    agent: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    feature: tuple[str, ...] = ()
    soft: tuple[Nano, ...] = ()
    hard: bool = True


class Spender(NamedTuple):
    """Whose call it is; empty: it has none."""

    run: str = ""
    session: str = ""
    agent: str = ""
    feature: str = ""
    tenant: str = ""


class Account(NamedTuple):
    """A budget of one subject and period: the document under ``key``."""

    key: str
    budget: Budget
    subject: str


class Answer(StrEnum):
    """Whether a call fits into its budgets."""

    FITS = "fits"
    WAIT = "wait"  # calls under way hold what is left, and may cost less
    SPENT = "spent"  # it does not fit, whatever they cost


class Hold(NamedTuple):
    """What a call reserved, or a run set aside, and in which accounts."""

    accounts: tuple[Account, ...]
    amount: int

    @property
    def keys(self) -> tuple[str, ...]:
        """The documents that its settlement needs."""
        return tuple(account.key for account in self.accounts)


class Verdict(NamedTuple):
    """``hold``: to be settled, where it fits. ``plan``: what is left of the plan that was drawn on.
    ``account``: the one that stopped it, where ``left`` is what would fit (WAIT: now; SPENT: once
    no call is under way)."""

    answer: Answer
    hold: Hold | None = None
    plan: Hold | None = None
    account: Account | None = None
    left: int = 0


class Crossing(NamedTuple):
    """A soft amount that was crossed just now. It is told once."""

    account: Account
    soft: int
    spent: int


class Balance(NamedTuple):
    """What a document says."""

    spent: int = 0
    reserved: int = 0
    planned: int = 0


def accounts(budgets: Iterable[Budget], spender: Spender, now: float) -> tuple[Account, ...]:
    """The accounts that a call of ``spender`` is charged to. A call without a feature or tenant
    counts for the one without a name, so that leaving it out escapes no budget; one outside of a
    run or session has no budget per run or session."""
    found = []
    for budget in budgets:
        if not (
            fits(budget.agent, spender.agent)
            and fits(budget.tenant, spender.tenant)
            and fits(budget.feature, spender.feature)
        ):
            continue
        subject = "" if budget.per == "all" else getattr(spender, budget.per)
        if budget.per in ("run", "session") and not subject:
            continue
        key = f"{PREFIX}{part(budget.name)}/{period(budget.every, now) or '-'}/{part(subject)}"
        found.append(Account(key, budget, subject))
    return tuple(found)


def ended(key: str, now: float) -> bool:
    """Whether a budget's document is of a period that has been over for more than a day, so that no
    call can come to be settled in it: it may be deleted."""
    pieces = key.split("/")
    return key.startswith(PREFIX) and len(pieces) == 4 and over(pieces[2], now - 86_400)


def balance(body: bytes, now: float) -> Balance:
    """What a budget's document says at ``now``."""
    page = _Page.read(body, now)
    return Balance(page.spent, page.reserved(), page.planned())


class Books:
    """The accounts in ``documents`` as ``worker`` (a name of this process alone) changes them.

    ``number`` counts the worker's swaps and rises with each, and a worker has one swap of a
    document under way at a time: so where the answer to a swap was lost, ``applied`` tells from the
    documents whether it happened. Documents that are not given are taken
    as new, which a swap finds out. To change what another has changed meanwhile, open new books on
    the documents that the refused swap answered with.
    """

    def __init__(
        self, documents: Mapping[str, Document], worker: str, number: int, now: float
    ) -> None:
        self.crossed: list[Crossing] = []
        self._documents = documents
        self._worker = worker
        self._number = number
        self._now = now
        self._pages: dict[str, _Page] = {}
        self._changed: set[str] = set()

    def reserve(self, charged: Sequence[Account], amount: int, plan: Hold | None = None) -> Verdict:
        """Room for ``amount`` in every account's budget, or in none. What the run's ``plan`` has
        set aside is used first."""
        set_aside = plan.amount if plan is not None else 0
        used = min(amount, set_aside)
        drawn = plan.keys if plan is not None else ()
        stopped = self._stopped(charged, amount, {key: self._drawn(key, used) for key in drawn})
        if stopped is not None:
            return stopped._replace(plan=plan)
        for account in charged:
            if account.budget.hard:
                self._own(account.key).reserved += amount
        if plan is not None and used:
            for key in plan.keys:
                self._own(key).planned -= self._drawn(key, used)
            plan = plan._replace(amount=set_aside - used)
        return Verdict(Answer.FITS, Hold(tuple(charged), amount), plan)

    def settle(self, hold: Hold, cost: int) -> None:
        """A call is over and did cost ``cost``: 0 if it was never sent, the reservation's amount if
        nobody knows."""
        for account in hold.accounts:
            reserved = hold.amount if account.budget.hard else 0
            page = self._page(account.key)
            taken = 0
            if reserved:
                own = self._own(account.key)
                taken = min(own.reserved, reserved)
                own.reserved -= taken
            # The rest was counted as spent while this worker was taken for dead.
            before, page.spent = page.spent, max(0, page.spent + cost - (reserved - taken))
            crossed = [s for s in account.budget.soft if page.told < s <= page.spent]
            if crossed:
                page.told = max(crossed)
                self.crossed += [Crossing(account, soft, page.spent) for soft in sorted(crossed)]
            if page.spent != before or taken or crossed:
                self._own(account.key)

    def set_aside(self, charged: Sequence[Account], amount: int) -> Verdict:
        """A plan: ``amount`` for what a run is going to do, in its hard budgets."""
        hard = tuple(account for account in charged if account.budget.hard)
        stopped = self._stopped(hard, amount, {})
        if stopped is not None:
            return stopped
        for account in hard:
            self._own(account.key).planned += amount
        return Verdict(Answer.FITS, Hold(hard, amount))

    def give_back(self, plan: Hold) -> None:
        """What is left of a plan, when its run is over."""
        for key in plan.keys:
            self._own(key).planned -= self._drawn(key, plan.amount)

    def refresh(self) -> None:
        """This worker is still there: at least every ``TTL`` / 3 for documents where it has holds
        or plans."""
        for key in self._documents:
            own = self._page(key).workers.get(self._worker)
            if own is not None and (own.reserved or own.planned):
                self._own(key)

    def swaps(self) -> list[Swap]:
        """The changes, to be made all together."""
        found = []
        for key in sorted(self._changed):
            version = self._documents.get(key, Document()).version
            found.append(Swap(key, version, self._pages[key].write()))
        return found

    def _stopped(
        self, charged: Sequence[Account], amount: int, drawn: Mapping[str, int]
    ) -> Verdict | None:
        worst: Verdict | None = None
        for account in charged:
            if not account.budget.hard:
                continue
            page = self._page(account.key)
            limit = account.budget.usd
            held = page.reserved() + page.planned() - drawn.get(account.key, 0)
            if page.spent + amount > limit:
                return Verdict(Answer.SPENT, account=account, left=max(0, limit - page.spent))
            if page.spent + held + amount > limit:
                left = max(0, limit - page.spent - held)
                if worst is None or left < worst.left:
                    worst = Verdict(Answer.WAIT, account=account, left=left)
        return worst

    def _drawn(self, key: str, amount: int) -> int:
        """How much of ``amount`` is still set aside: plans vanish with their worker."""
        own = self._page(key).workers.get(self._worker)
        return min(amount, own.planned) if own is not None else 0

    def _page(self, key: str) -> _Page:
        if key not in self._pages:
            body = self._documents.get(key, Document()).body
            self._pages[key] = _Page.read(body, self._now, self._worker)
        return self._pages[key]

    def _own(self, key: str) -> _Worker:
        """This worker's entry, to be changed."""
        self._changed.add(key)
        own = self._page(key).workers.setdefault(self._worker, _Worker())
        own.at = round(self._now, 1)
        own.number = self._number
        return own


def applied(swaps: Sequence[Swap], documents: Mapping[str, Document], worker: str) -> bool:
    """Whether a swap whose answer was lost has been made: its own number is in the documents that
    are there now. For a worker that has made no other change since, within ``REMEMBER``."""
    return bool(swaps) and all(
        _number(swap.body, worker) <= _number(documents.get(swap.key, Document()).body, worker)
        for swap in swaps
    )


@dataclass(slots=True)
class _Worker:
    reserved: int = 0
    planned: int = 0
    at: float = 0.0
    number: int = 0


@dataclass(slots=True)
class _Page:
    """``told``: the highest soft amount that was told."""

    spent: int
    told: int
    workers: dict[str, _Worker]

    def reserved(self) -> int:
        return sum(worker.reserved for worker in self.workers.values())

    def planned(self) -> int:
        return sum(worker.planned for worker in self.workers.values())

    @classmethod
    def read(cls, body: bytes, now: float, own: str = "") -> _Page:
        """Raises ValueError for what is no such document: money is not given out on a guess."""
        if not body:
            return cls(0, 0, {})
        found = json.loads(body)
        workers = {name: _Worker(*entry) for name, entry in found["w"].items()}
        page = cls(int(found["s"]), int(found["t"]), workers)
        for name, worker in list(workers.items()):
            silent = now - worker.at
            # Whoever is asking is alive, however long it was busy with something else.
            if silent > TTL and name != own:
                page.spent += worker.reserved
                worker.reserved = worker.planned = 0
                if silent > REMEMBER:
                    del workers[name]
        return page

    def write(self) -> bytes:
        if len(self.workers) > WORKERS:
            idle = sorted(
                (name for name, w in self.workers.items() if not w.reserved and not w.planned),
                key=lambda name: self.workers[name].at,
            )
            for name in idle[: len(self.workers) - WORKERS]:
                del self.workers[name]
        rows = {n: [w.reserved, w.planned, w.at, w.number] for n, w in self.workers.items()}
        return json.dumps(
            {"s": self.spent, "t": self.told, "w": rows}, separators=(",", ":")
        ).encode()


def _number(body: bytes, worker: str) -> int:
    entry = json.loads(body)["w"].get(worker) if body else None
    return int(entry[3]) if entry else -1
