"""Following a run's log until the run is final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from perdure.errors import StoreUnavailable
from perdure.server.watch import AWAY, POLL, Watches
from perdure.store.base import Store
from perdure.store.rows import LogEvent

PAGE = 500


async def follow(store: Store, run_id: str, after: int = 0) -> AsyncIterator[LogEvent]:
    """Events after ``after``, as they come, up to the status that is the run's last. A store that
    is away is waited for. Raises NotFound."""
    await store.get(run_id, payloads=False)
    async with Watches(store).of(run_id) as watch:
        while True:
            try:
                events = await store.events(run_id, after, PAGE)
                if not events and (await store.get(run_id, payloads=False)).state.final:
                    # Its last rows may have come between the two readings.
                    events = await store.events(run_id, after, PAGE)
                    if not events:
                        return
            except StoreUnavailable:
                await asyncio.sleep(AWAY)
                continue
            for event in events:
                after = event.seq
                yield event
            if not events:
                await watch.moved(POLL)


async def whole_log(store: Store, run_id: str, after: int = 0) -> list[LogEvent]:
    """Everything there is now after ``after``."""
    found: list[LogEvent] = []
    while True:
        page = await store.events(run_id, found[-1].seq if found else after, PAGE)
        found.extend(page)
        if len(page) < PAGE:
            return found


async def skew(store: Store) -> timedelta:
    """How far the store's clock is before this machine's."""
    return await store.now() - datetime.now(UTC)
