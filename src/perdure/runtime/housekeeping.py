"""Deleting what is kept no longer: old runs, the logs of earlier generations, the ledger's old
rows, blobs that nothing refers to. The leader does it now and then, ``perdure db prune`` at once.

Each step is one short transaction, and after each is a pause many times as long as it took, so that
workers have the database to themselves nearly always. It may be broken off anywhere: what was
begun is gone on with by whoever comes next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

from perdure.errors import PerdureError
from perdure.store.base import Store
from perdure.store.blobs import Blobs, now, reference_to
from perdure.store.retention import Keeping, doomed

log = logging.getLogger("perdure.housekeeping")
T = TypeVar("T")

FIRST = timedelta(minutes=1)  # after a worker began to lead: not while it starts
EVERY = timedelta(hours=1)
PAGE = 1000  # runs that are looked at together
FAMILIES = 20  # that are forgotten in one transaction
ROWS = 300  # of logs that go in one transaction: tens of milliseconds of a slow disk
CHARGES = 1000  # the same of the ledger, whose rows are small
BLOBS = 500  # that are looked up together


@dataclass(frozen=True, slots=True)
class Pace:
    """After a step that took ``t`` seconds comes a pause of ``factor * t``, at least ``least``."""

    factor: float = 9.0  # a tenth of the time at most
    least: float = 0.05  # seconds


GENTLY = Pace()
SWIFTLY = Pace(factor=1.0, least=0.005)  # somebody waits for it


@dataclass(slots=True)
class Pruned:
    """What was deleted so far. With ``dry`` counts, what would be."""

    runs: int = 0
    rows: int = 0
    charges: int = 0
    blobs: int = 0
    blob_bytes: int = 0


class Pruning:
    """One pass. ``told`` hears of each step; ``goes_on`` may end it between two."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        keeping: Keeping,
        *,
        pace: Pace = GENTLY,
        dry: bool = False,
        told: Callable[[Pruned], None] = lambda _: None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._keeping = keeping
        self._pace = pace
        self._dry = dry
        self._told = told
        self._goes_on = goes_on
        self.done = Pruned()

    async def run(self) -> Pruned:
        """Delete what is past its age. Raises StoreUnavailable."""
        if self._keeping.retention.shortest is not None:
            await self._forget()
        if self._keeping.generations is not None and not self._dry:
            await self._trim(self._keeping.generations)
        if not self._dry:
            await self._clear()
        if self._keeping.charges is not None:
            await self._expire(self._keeping.charges)
        if self._keeping.blobs is not None and self._goes_on():
            await self._sweep(self._keeping.blobs)
        return self.done

    async def _forget(self) -> None:
        rules = self._keeping.retention
        shortest = rules.shortest
        assert shortest is not None
        at = await self._store.now()
        after: int | None = 0
        while after is not None and self._goes_on():
            page = await self._step(partial(self._store.old_runs, after, at - shortest, PAGE))
            after = page.after
            families = doomed(page.runs, rules, at)
            for start in range(0, len(families), FAMILIES):
                if not self._goes_on():
                    return
                some = families[start : start + FAMILIES]
                forget = partial(self._store.forget, some, dry=self._dry)
                self.done.runs += await self._step(forget)
                self._told(self.done)
                await self._clear()

    async def _clear(self) -> None:
        """What forgotten runs left behind."""
        left = not self._dry
        while left and self._goes_on():
            cleared = await self._step(partial(self._store.clear, ROWS))
            self.done.rows += cleared.rows
            left = cleared.left
            self._told(self.done)

    async def _trim(self, age: timedelta) -> None:
        before = await self._store.now() - age
        after: int | None = 0
        while after is not None and self._goes_on():
            trimmed = await self._step(partial(self._store.trim, after, before, ROWS))
            self.done.rows += trimmed.rows
            after = trimmed.after
            self._told(self.done)

    async def _expire(self, age: timedelta) -> None:
        before = await self._store.now() - age
        left = True
        while left and self._goes_on():
            expire = partial(self._store.expire, before, CHARGES, dry=self._dry)
            expired = await self._step(expire)
            self.done.charges += expired.rows
            left = expired.left
            self._told(self.done)

    async def _sweep(self, grace: timedelta) -> None:
        """Blobs that nothing refers to and that nobody wrote within ``grace``: a reference
        follows its blob within moments, so whoever is about to refer to one has just written it."""
        written_after = now() - grace.total_seconds()
        stored = self._blobs.stored()
        while self._goes_on():
            page = await asyncio.to_thread(lambda: list(islice(stored, BLOBS)))
            if not page:
                return
            old = {reference_to(b.name): b for b in page if b.modified <= written_after}
            known = await self._step(partial(self._store.referenced, list(old)))
            for reference, blob in old.items():
                if reference in known:
                    continue
                if self._dry or await asyncio.to_thread(
                    self._blobs.remove, blob.name, written_after
                ):
                    self.done.blobs += 1
                    self.done.blob_bytes += blob.size
            self._told(self.done)

    async def _step(self, step: Callable[[], Awaitable[T]]) -> T:
        clock = asyncio.get_running_loop().time
        begun = clock()
        answer = await step()
        await asyncio.sleep(max((clock() - begun) * self._pace.factor, self._pace.least))
        return answer


class Housekeeping:
    """What a worker that leads deletes, for as long as it leads."""

    def __init__(self, store: Store, blobs: Blobs, keeping: Keeping) -> None:
        self._store = store
        self._blobs = blobs
        self._keeping = keeping

    async def run(self, leading: Callable[[], bool]) -> None:
        """Passes, until cancelled. Nothing at all where nothing is ever deleted."""
        if not self._keeping.anything:
            return
        pause = FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = EVERY
            if not leading():
                pause = FIRST
                continue
            try:
                await self.once(leading)
            except PerdureError as error:
                log.warning("What is kept no longer could not be deleted: %s", error)
            except Exception:
                log.exception("What is kept no longer could not be deleted")

    async def once(self, leading: Callable[[], bool]) -> Pruned:
        """One pass, broken off when another worker leads."""
        pruning = Pruning(self._store, self._blobs, self._keeping, goes_on=leading)
        done = await pruning.run()
        if done.runs or done.rows or done.charges or done.blobs:
            log.info(
                "Deleted: %d runs, %d rows of theirs, %d charges, %d blobs (%d bytes)",
                done.runs, done.rows, done.charges, done.blobs, done.blob_bytes,
            )  # fmt: skip
        return done
