"""What the attempts of one process share: the store, the recorder, blobs, and the clock's word
on whether effects may start."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from perdure.core.ports import About, Boundary, Preflight
from perdure.core.tallies import Spread
from perdure.errors import BlobMissing, StoreUnavailable
from perdure.runtime.hanging import Hanging
from perdure.runtime.recorder import RETRY_DELAYS, Recorder
from perdure.store.base import Store
from perdure.store.blobs import Blobs

if TYPE_CHECKING:
    from perdure.runtime.agent import Agent
    from perdure.runtime.handing_over import Proxy

log = logging.getLogger("perdure")
_T = TypeVar("_T")
LAST_WORDS_S = 5.0


class Runtime:
    """Handed to every attempt."""

    def __init__(self, store: Store, blobs: Blobs, worker_id: str) -> None:
        self.store = store
        self.blobs = blobs
        self.worker_id = worker_id
        self.agents: Mapping[str, Agent] = {}  # served by this worker, as they are configured
        self.proxy: Proxy | None = None  # for programs that steps start
        self.preflight: Preflight | None = None  # whether whole runs have room
        # Of an agent without runs: whose its model calls are, and how many seconds they may wait.
        self.account: Callable[[About, float], Boundary] | None = None
        self.store_ok = True
        self.counters: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self.spreads: dict[tuple[str, tuple[tuple[str, str], ...]], Spread] = {}
        self.unmetered: Counter[str] = Counter()  # model calls that passed by, by host
        self.recorder = Recorder(store, self._trouble)
        self.may_start = asyncio.Event()  # cleared while the worker's lock or lease is in doubt
        self.may_start.set()
        self.hanging = Hanging(self)
        # What has words for the store before its worker leaves it; each is asked once.
        self.ending: list[Callable[[], Awaitable[None]]] = []

    def _trouble(self, away: bool) -> None:
        self.store_ok = not away

    def count(self, metric: str, **labels: str) -> None:
        """Add one to a counter of this process."""
        self.counters[metric, tuple(sorted(labels.items()))] += 1

    def took(self, metric: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram of this process."""
        key = metric, tuple(sorted(labels.items()))
        found = self.spreads.get(key)
        if found is None:
            found = self.spreads[key] = Spread()
        found.add(seconds)

    async def end(self) -> None:
        """The attempts are over: what is still to be written is, for a while."""
        ending, self.ending = self.ending, []
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                for end in ending:
                    await end()
                await self.hanging.close()
                await self.recorder.drained()
        except TimeoutError:
            log.warning("The store is away: what the gateway still had to say is lost.")

    async def persist(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask the store until it answers: an outage delays, it fails nothing."""
        tries = 0
        while True:
            try:
                return await ask()
            except BlobMissing:
                raise  # it does not come by waiting
            except StoreUnavailable:
                await asyncio.sleep(RETRY_DELAYS[min(tries, len(RETRY_DELAYS) - 1)])
                tries += 1
