"""Following a run: woken when its log or state may have moved, on whichever machine.

Wake-ups are hints that can be lost, so every wait ends by itself after a while as well, and
whoever waits reads the store again.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Self

from perdure.errors import StoreUnavailable
from perdure.store.base import Store
from perdure.store.rows import Run

POLL = 5.0  # seconds until a lost wake-up is noticed
AWAY = 0.5  # seconds between two looks at a store that does not answer
RENEW = 40.0  # seconds; a watch lasts a minute


class Watches:
    """The runs that clients of this process follow. ``end`` wakes all of them for good: the
    server drains, and its clients come back elsewhere."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ending = False
        self._open: set[Watch] = set()

    def of(self, run_id: str) -> Watch:
        """A watch to be entered (``async with``)."""
        return Watch(self, run_id)

    def end(self) -> None:
        self.ending = True
        for watch in self._open:
            watch.told("")

    def opened(self, watch: Watch) -> None:
        self._open.add(watch)

    def closed(self, watch: Watch) -> None:
        self._open.discard(watch)

    async def until_final(self, run_id: str, seconds: float) -> Run | None:
        """The run (without payloads) as soon as it is final, or as it is after ``seconds``, or
        when the server drains. None: the store did not answer by then. Raises NotFound."""
        until = monotonic() + seconds
        async with self.of(run_id) as watch:
            while True:
                run: Run | None = None
                try:
                    run = await self.store.get(run_id, payloads=False)
                except StoreUnavailable:
                    pass  # whoever waits anyway can wait for the store as well
                left = until - monotonic()
                if (run is not None and run.state.final) or left <= 0 or self.ending:
                    return run
                await watch.moved(left if run is not None else min(left, AWAY))


class Watch:
    """One client's eye on one run."""

    def __init__(self, watches: Watches, run_id: str) -> None:
        self._watches = watches
        self._run_id = run_id
        self._moved = asyncio.Event()
        self._renewed = 0.0

    async def __aenter__(self) -> Self:
        self._undo = self._watches.store.listen(f"run:{self._run_id}", self.told)
        self._watches.opened(self)
        try:
            await self._renew()
        except StoreUnavailable:
            pass  # until it is back, looking again by time has to do
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def told(self, payload: str) -> None:
        self._moved.set()

    async def moved(self, seconds: float) -> bool:
        """Wait until something may have moved, at most ``seconds``. False: nobody said so."""
        if monotonic() - self._renewed > RENEW:
            try:
                await self._renew()
            except StoreUnavailable:
                pass
        try:
            async with asyncio.timeout(min(seconds, POLL)):
                await self._moved.wait()
        except TimeoutError:
            return False
        # Whatever is told from here on is about something newer than what is read next.
        self._moved.clear()
        return True

    async def _renew(self) -> None:
        await self._watches.store.watch(self._run_id)
        self._renewed = monotonic()

    def _leave(self) -> None:
        self._watches.closed(self)
        self._undo()
