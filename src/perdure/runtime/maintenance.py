"""What one worker of all does for all: timers, the runs of workers whose lease ran out, and
deleting what is kept no longer (``housekeeping``).

Every worker tries to lead; one does, and another takes over when it falls silent. Timers are
slept for, not polled: the store says when the next one is due and tells of earlier ones.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from perdure.core.words import counted
from perdure.errors import StoreUnavailable
from perdure.runtime.housekeeping import Housekeeping
from perdure.store.base import Store

log = logging.getLogger("perdure.maintenance")

LEAD = timedelta(seconds=12)  # another worker takes over after this long
RENEW = timedelta(seconds=4)
BATCH = 1000
REAP_EVERY = 2  # rounds: a lease is longer than that anyway
LOOK_EVERY = 4  # rounds between two looks at timers none of which was due: a hint may be lost


class Maintenance:
    """The maintenance loop of one worker."""

    def __init__(self, store: Store, worker: str, housekeeping: Housekeeping | None = None) -> None:
        self._housekeeping = housekeeping
        self._store = store
        self._worker = worker
        self._told = asyncio.Event()
        self._rounds = 0
        self._due: float | None = 0.0  # of the loop's clock, when the next timer is; None: none is
        self._looked = 0  # rounds since timers were looked at
        self.leading = False

    async def run(self) -> None:
        undo = self._store.listen("timers", lambda _: self._told.set())
        deleting: asyncio.Task[None] | None = None
        if self._housekeeping is not None:
            deleting = asyncio.create_task(self._housekeeping.run(lambda: self.leading))
        try:
            while True:
                pause = RENEW
                told = self._told.is_set()
                self._told.clear()
                try:
                    pause = await self.round(told=told)
                except StoreUnavailable as error:
                    self._due = 0.0
                    log.warning("The store does not answer; timers wait for it: %s", error)
                try:
                    # Not wait_for: in Python 3.11 it forgets a cancellation that comes just then.
                    async with asyncio.timeout(pause.total_seconds()):
                        await self._told.wait()
                except TimeoutError:
                    pass
        finally:
            undo()
            if deleting is not None:
                deleting.cancel()
                await asyncio.gather(deleting, return_exceptions=True)

    async def round(self, *, told: bool = True) -> timedelta:
        """One look at what is due. ``told``: of an earlier timer than was known. Returns how long
        to sleep at most."""
        self.leading = await self._store.lead(self._worker, LEAD)
        if not self.leading:
            self._due = 0.0  # whoever leads may set timers
            return RENEW
        if self._rounds % REAP_EVERY == 0:
            reaped = await self._store.reap()
            if reaped:
                runs = counted(reaped, "run was", "runs were")
                log.warning("%s taken from workers that fell silent", runs)
        self._rounds += 1
        clock = asyncio.get_running_loop().time
        self._looked += 1
        if told or self._looked >= LOOK_EVERY or (self._due is not None and self._due <= clock()):
            woken = await self._store.wake_due(BATCH)
            self._looked = 0
            self._due = None
            if woken.count == BATCH:
                self._due = 0.0
            elif woken.next_in is not None:
                self._due = clock() + woken.next_in.total_seconds()
        if self._due is None:
            return RENEW
        return min(timedelta(seconds=max(self._due - clock(), 0.0)), RENEW)
