"""Budgets over all workers: what a call may cost is reserved before it is sent, and what it did
cost takes the reservation's place afterwards.

A call that does not fit only because of others under way waits for them: they may cost less than
they reserved. One that does not fit whatever they cost is refused by whoever asks here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from perdure.core.budget import (
    TTL,
    Account,
    Answer,
    Books,
    Budget,
    Crossing,
    Hold,
    Spender,
    Verdict,
    accounts,
    applied,
)
from perdure.core.shared import Shared
from perdure.gateway.aside import Aside
from perdure.gateway.desk import Desk, Opening

LOOK_AGAIN_S = 0.25  # until a call that waits for others of other workers asks again
REFRESH_S = TTL / 3


class Wallet:
    """Of one worker."""

    def __init__(self, shared: Shared, budgets: Sequence[Budget], worker: str) -> None:
        self.budgets = tuple(budgets)
        self._shared = shared
        self._worker = worker
        self._desk: Desk[Books] = Desk(
            shared,
            lambda opening: _open(opening, worker),
            landed=lambda swaps, documents: applied(swaps, documents, worker),
        )
        self._held: dict[int, Hold] = {}
        self._drawn: dict[int, tuple[Aside, int]] = {}  # by hold, and what it took of it
        self._asides: set[Aside] = set()
        self._moved = asyncio.Event()  # something here was settled
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """The keeper's clock, once it was asked for anything."""
        return self._desk.now() or 0.0

    async def accounts(self, spender: Spender, own: Budget | None = None) -> tuple[Account, ...]:
        """Those that ``spender`` is charged to now. ``own``: a budget of the caller's."""
        if not self.budgets and own is None:
            return ()
        now = self._desk.now()
        if now is None:  # the keeper's clock says which day it is
            await self._desk.ask(("budget/",), lambda books: None)
            now = self._desk.now()
            assert now is not None
        budgets = self.budgets if own is None else (*self.budgets, own)
        return accounts(budgets, spender, now)

    async def reserve(
        self,
        charged: Sequence[Account],
        amount: int,
        patience: float,
        aside: Aside | None = None,
    ) -> Verdict:
        """Room for ``amount`` in all of ``charged``; waits for calls under way, ``patience``
        seconds at most. What the call's run has set ``aside`` is used first. The hold is to be
        settled."""
        until = asyncio.get_running_loop().time() + patience
        while True:
            self._moved.clear()
            if aside is None:
                verdict = await self._ask(charged, amount, None)
            else:
                async with aside.lock:
                    verdict = await self._ask(charged, amount, aside)
            if verdict.hold is not None:
                return verdict
            left = until - asyncio.get_running_loop().time()
            if verdict.answer is Answer.SPENT or left <= 0:
                return verdict
            try:
                async with asyncio.timeout(min(LOOK_AGAIN_S, left)):
                    await self._moved.wait()
            except TimeoutError:
                pass

    async def _ask(self, charged: Sequence[Account], amount: int, aside: Aside | None) -> Verdict:
        plan = aside.left if aside is not None and not aside.over else None
        keys = {account.key for account in charged}
        if plan is not None:
            keys |= set(plan.keys)

        def take(verdict: Verdict) -> None:
            if verdict.hold is not None:
                self._hold(verdict.hold)
                if aside is not None and plan is not None and verdict.plan is not None:
                    drawn = plan.amount - verdict.plan.amount
                    aside.put(-drawn)
                    self._drawn[id(verdict.hold)] = aside, drawn

        def undo(verdict: Verdict) -> None:
            take(verdict)
            if verdict.hold is not None:
                self.settle_soon(verdict.hold, 0)

        verdict = await self._desk.ask(
            sorted(keys),
            lambda books: books.reserve(charged, amount, plan),
            firm=lambda verdict: verdict.answer is Answer.FITS,
            undo=undo,
        )
        take(verdict)
        return verdict

    async def set_aside(self, charged: Sequence[Account], amount: int) -> Verdict | Aside:
        """Money for what a run is going to do, in the hard ones of ``charged``; to be given back.
        A Verdict says why there is none."""

        def undo(verdict: Verdict) -> None:
            if verdict.hold is not None:
                self.give_back_soon(self._keep(verdict.hold))

        verdict = await self._desk.ask(
            [account.key for account in charged],
            lambda books: books.set_aside(charged, amount),
            firm=lambda verdict: verdict.answer is Answer.FITS,
            undo=undo,
        )
        return verdict if verdict.hold is None else self._keep(verdict.hold)

    async def may_set_aside(self, charged: Sequence[Account], amount: int) -> Verdict:
        """The same, without setting anything aside."""
        keys = [account.key for account in charged]
        swapped = await self._shared.swap(keys)
        opening = Opening(swapped.documents, swapped.now, 0, swapped.fresh)
        return _open(opening, self._worker).set_aside(charged, amount)

    async def give_back(self, aside: Aside) -> None:
        """The run is over, or parked."""
        async with aside.lock:
            if aside.over:
                return
            aside.over = True
            self._asides.discard(aside)
            left = aside.left
            await self._desk.ask(left.keys, lambda books: books.give_back(left))
        self._moved.set()

    def give_back_soon(self, aside: Aside) -> None:
        """The same; nobody waits."""
        task = asyncio.get_running_loop().create_task(self.give_back(aside))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _keep(self, left: Hold) -> Aside:
        aside = Aside(left)
        self._asides.add(aside)
        self._live()
        return aside

    async def settle(self, hold: Hold, cost: int) -> list[Crossing]:
        """A call is over and did cost ``cost`` nano-dollars. Returns the soft amounts that it
        crossed: each is told once, over all workers."""
        self._held.pop(id(hold), None)
        aside, drawn = self._drawn.pop(id(hold), (None, 0))
        back = max(0, drawn - cost)
        if aside is None or not back:
            crossed, _ = await self._settle(hold, cost, None, 0)
        else:
            async with aside.lock:
                crossed, put = await self._settle(hold, cost, aside, back)
                if put:
                    aside.put(back)
        self._moved.set()
        return crossed

    async def _settle(
        self, hold: Hold, cost: int, aside: Aside | None, back: int
    ) -> tuple[list[Crossing], bool]:
        """And whether ``back`` is set aside again."""
        plan = aside.left if aside is not None and not aside.over else None
        keys = {*hold.keys, *(plan.keys if plan is not None else ())}

        def act(books: Books) -> tuple[list[Crossing], bool]:
            before = len(books.crossed)
            books.settle(hold, cost)
            put = plan is not None and books.set_aside(plan.accounts, back).hold is not None
            return books.crossed[before:], put

        return await self._desk.ask(sorted(keys), act)

    def settle_soon(
        self, hold: Hold, cost: int, then: Callable[[list[Crossing]], None] = lambda _: None
    ) -> None:
        """The same; nobody waits, ``then`` is told."""

        async def settle() -> None:
            then(await self.settle(hold, cost))

        task = asyncio.get_running_loop().create_task(settle())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Settle what was asked to be settled, and refresh no longer."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def _hold(self, hold: Hold) -> None:
        self._held[id(hold)] = hold
        self._live()

    def _live(self) -> None:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        """Tells the others that this worker lives, as long as it holds anything."""
        while self._held or self._asides:
            await asyncio.sleep(REFRESH_S)
            keys = {key for hold in self._held.values() for key in hold.keys}
            keys |= {key for aside in self._asides for key in aside.left.keys}
            if keys:
                await self._desk.ask(sorted(keys), lambda books: books.refresh())


def _open(opening: Opening, worker: str) -> Books:
    return Books(opening.documents, worker, opening.number, opening.now)
