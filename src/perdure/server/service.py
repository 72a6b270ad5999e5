"""What the routes share: the agents, the store, a worker where there is one, and the server's own
state. Its life: start, serve, drain, stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from perdure.codec import BLOB
from perdure.config import Config
from perdure.core.ports import About
from perdure.core.shared import Shared
from perdure.errors import NoHeadroom
from perdure.observe.metrics import Traffic
from perdure.runtime.agent import Agent
from perdure.runtime.worker import Worker
from perdure.server.auth import Access, refuse_exposed
from perdure.server.catalog import Catalog
from perdure.server.pressure import Pressure
from perdure.server.watch import Watches
from perdure.store.base import Store
from perdure.store.blobs import Blobs, make_blobs
from perdure.store.keeper import limits_kept


class Service:
    """``worker`` executes runs in this process, in place where a client waits for them; without
    one the server only takes runs in and shows them."""

    def __init__(
        self, agents: Mapping[str, Agent], config: Config, store: Store, worker: Worker | None
    ) -> None:
        self.config = config
        self.store = store
        self.worker = worker
        self.blobs: Blobs = (
            worker.runtime.blobs if worker is not None else make_blobs(config.blob_place())
        )
        self.catalog = Catalog(agents, store)
        self.pressure = Pressure(store, config.server.max_queued)
        self.access = Access(store, config.server)
        self.watches = Watches(store)
        self.traffic = Traffic()
        self._background: set[asyncio.Task[None]] = set()
        self._meters: Shared | None = None
        self._opening = asyncio.Lock()
        self._opened = AsyncExitStack()

    @property
    def draining(self) -> bool:
        return self.watches.ending

    async def start(self) -> None:
        """Open the store and start the worker. Raises what these raise, and ConfigError for a
        bind that others can reach without any API key."""
        await self.store.open()
        await refuse_exposed(self.config.server, self.store)
        if self.worker is not None:
            self.worker.keep_spare()
            await self.worker.start()

    def begin_drain(self) -> None:
        """Say so by /readyz, and send away who only watches or waits."""
        self.watches.end()

    async def drain(self) -> None:
        """End the worker's attempts between two effects and leave; requests are still served."""
        self.begin_drain()
        if self.worker is not None and not self.worker.draining:
            await self.worker.drain()

    async def stop(self) -> None:
        """End at once whatever has not been drained, and close the store."""
        self.begin_drain()
        if self.worker is not None:
            await self.worker.stop()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.access.close()
        await self._opened.aclose()
        await self.store.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A whole life, for hosts that only know start and end."""
        try:
            await self.start()
            yield
            await self.drain()
        finally:
            await self.stop()

    async def meters(self) -> Shared:
        """Who keeps what workers share of limits; opened when it is needed first. Raises
        StoreUnavailable, ConfigError, MissingExtra."""
        async with self._opening:
            if self._meters is None:
                kept = limits_kept(self.config.gateway.shared, self.store)
                self._meters = await self._opened.enter_async_context(kept)
            return self._meters

    async def headroom(self, about: About) -> None:
        """Raises NoHeadroom where a run of an agent with ``preflight = "strict"`` has no room now,
        as far as this process can tell: it needs a worker with the gateway in it."""
        preflight = self.worker.runtime.preflight if self.worker is not None else None
        refused = await preflight.look(about) if preflight is not None else None
        if refused is None or not refused.strict:
            return
        after: float | None = None
        if refused.until is not None:
            after = max((refused.until - await self.store.now()).total_seconds(), 1.0)
        raise NoHeadroom(f"There is no room: {refused.detail}.", retry_after=after)

    def in_background(self, task: asyncio.Task[None]) -> None:
        """Let ``task`` outlive the request that began it."""
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def fetched(self, data: bytes | None) -> bytes | None:
        """Codec bytes, out of the blob store where they are there. Raises StoreUnavailable."""
        if data is not None and data[:1] == BLOB:
            return await asyncio.to_thread(self.blobs.get, data)
        return data
