"""What one worker of all does for all: timers, and the runs of workers whose lease ran out.

Every worker tries to lead; one does, and another takes over when it falls silent. Timers are
slept for, not polled: the store says when the next one is due and tells of earlier ones.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from perdure.errors import StoreUnavailable
from perdure.store.base import Store

log = logging.getLogger("perdure.maintenance")

LEAD = timedelta(seconds=9)  # another worker takes over after this long
RENEW = timedelta(seconds=3)
BATCH = 1000
REAP_EVERY = 2  # rounds: a lease is longer than that anyway


class Maintenance:
    """The maintenance loop of one worker."""

    def __init__(self, store: Store, worker: str) -> None:
        self._store = store
        self._worker = worker
        self._told = asyncio.Event()
        self._rounds = 0
        self.leading = False

    async def run(self) -> None:
        undo = self._store.listen("timers", lambda _: self._told.set())
        try:
            while True:
                pause = RENEW
                try:
                    pause = await self.round()
                except StoreUnavailable as error:
                    log.warning("The store does not answer; timers wait for it: %s", error)
                try:
                    # Not wait_for: in Python 3.11 it forgets a cancellation that comes just then.
                    async with asyncio.timeout(pause.total_seconds()):
                        await self._told.wait()
                except TimeoutError:
                    pass
                self._told.clear()
        finally:
            undo()

    async def round(self) -> timedelta:
        """One look at what is due. Returns how long to sleep at most."""
        self.leading = await self._store.lead(self._worker, LEAD)
        if not self.leading:
            return RENEW
        if self._rounds % REAP_EVERY == 0:
            reaped = await self._store.reap()
            if reaped:
                log.warning("%d runs were taken from workers that fell silent", reaped)
        self._rounds += 1
        woken = await self._store.wake_due(BATCH)
        if woken.count == BATCH:
            return timedelta(0)
        return RENEW if woken.next_in is None else max(min(woken.next_in, RENEW), timedelta(0))
