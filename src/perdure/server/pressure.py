"""Backpressure: new runs are refused while an agent's queue is longer than allowed.

The count is the store's, read now and then and not for every request: intake can overshoot by
what arrives between two readings, which the limit's size makes small.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from perdure.core.run import RunState
from perdure.core.words import counted
from perdure.errors import Backpressure
from perdure.server.web.quota import quota
from perdure.store.base import Store
from perdure.store.rows import QueueStats

FRESH = 1.0  # seconds that counts are trusted for
SHARE = 20  # counting takes at most this fraction (1 in …) of the time
RETRY_AFTER = 5.0  # seconds


class Pressure:
    """The queues' lengths as of a moment ago."""

    def __init__(self, store: Store, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._stats: list[QueueStats] = []
        self._queued: dict[str, int] = {}
        self._fresh_until = float("-inf")
        self._reading = asyncio.Lock()

    async def admit(self, queue: str) -> None:
        """Count one more run of ``queue``. Raises Backpressure where it is full."""
        if monotonic() > self._fresh_until:
            await self.stats()
        waiting = self._queued.get(queue, 0)
        if waiting >= self._limit:
            raise Backpressure(
                f"{counted(waiting, 'run of', 'runs of')} {queue!r} queued already.",
                retry_after=RETRY_AFTER,
                queued=waiting,
                limit=self._limit,
            )
        self._queued[queue] = waiting + 1

    def room(self, queue: str) -> dict[str, str]:
        """What the answer says of the queue."""
        left = self._limit - self._queued.get(queue, 0)
        return quota(self._limit, left, RETRY_AFTER if left <= 0 else 0)

    def started(self, queue: str) -> None:
        """The run that was counted last did not queue: it is executed at once."""
        self._queued[queue] = max(self._queued.get(queue, 0) - 1, 0)

    async def stats(self) -> list[QueueStats]:
        """All queues, at most a moment old."""
        async with self._reading:
            begun = monotonic()
            if begun > self._fresh_until:
                self._stats = await self._store.stats()
                self._queued = {
                    one.queue: one.states.get(RunState.QUEUED, 0)
                    + one.states.get(RunState.BLOCKED, 0)
                    for one in self._stats
                }
                took = monotonic() - begun
                self._fresh_until = monotonic() + max(FRESH, took * SHARE)
            return self._stats
