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
from perdure.gateway.desk import Desk, Opening

LOOK_AGAIN_S = 0.25  # until a call that waits for others of other workers asks again
REFRESH_S = TTL / 3


class Wallet:
    """Of one worker."""

    def __init__(self, shared: Shared, budgets: Sequence[Budget], worker: str) -> None:
        self.budgets = tuple(budgets)
        self._desk: Desk[Books] = Desk(
            shared,
            lambda opening: _open(opening, worker),
            landed=lambda swaps, documents: applied(swaps, documents, worker),
        )
        self._held: dict[int, Hold] = {}
        self._moved = asyncio.Event()  # something here was settled
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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

    async def reserve(self, charged: Sequence[Account], amount: int, patience: float) -> Verdict:
        """Room for ``amount`` in all of ``charged``; waits for calls under way, ``patience``
        seconds at most. The hold is to be settled."""
        keys = [account.key for account in charged]
        until = asyncio.get_running_loop().time() + patience
        while True:
            self._moved.clear()
            verdict = await self._desk.ask(
                keys,
                lambda books: books.reserve(charged, amount),
                firm=lambda verdict: verdict.answer is Answer.FITS,
                undo=self._undo,
            )
            if verdict.hold is not None:
                self._hold(verdict.hold)
                return verdict
            left = until - asyncio.get_running_loop().time()
            if verdict.answer is Answer.SPENT or left <= 0:
                return verdict
            try:
                async with asyncio.timeout(min(LOOK_AGAIN_S, left)):
                    await self._moved.wait()
            except TimeoutError:
                pass

    async def settle(self, hold: Hold, cost: int) -> list[Crossing]:
        """A call is over and did cost ``cost`` nano-dollars. Returns the soft amounts that it
        crossed: each is told once, over all workers."""
        self._held.pop(id(hold), None)

        def act(books: Books) -> list[Crossing]:
            before = len(books.crossed)
            books.settle(hold, cost)
            return books.crossed[before:]

        crossed = await self._desk.ask(hold.keys, act)
        self._moved.set()
        return crossed

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

    def _undo(self, verdict: Verdict) -> None:
        if verdict.hold is not None:
            self.settle_soon(verdict.hold, 0)

    def _hold(self, hold: Hold) -> None:
        self._held[id(hold)] = hold
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        """Tells the others that this worker lives, as long as it holds anything."""
        while self._held:
            await asyncio.sleep(REFRESH_S)
            keys = {key for hold in self._held.values() for key in hold.keys}
            if keys:
                await self._desk.ask(sorted(keys), lambda books: books.refresh())


def _open(opening: Opening, worker: str) -> Books:
    return Books(opening.documents, worker, opening.number, opening.now)
