"""Watching over a neighbour (L5): wait for its lock, and take its runs over when it died.

A lock that came free makes every worker without one a suspect. One whose process is proven to have
ended (it was one of this machine's, see ``store.birth``) is taken over at once. Who else is still a
suspect after the grace is taken over while its lock is held, so it cannot come back in between.
Nobody is, while others may not have had the chance to come back: within a lease of the server's
start or of this worker's own return. A process that still has other connections lives; its lease
decides.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from math import inf
from typing import Any

from perdure.core.words import counted
from perdure.errors import PerdureError
from perdure.store import birth
from perdure.store.postgres.address import Address
from perdure.store.postgres.link import Clock, Link, boot_time
from perdure.store.postgres.place import LOCKS, Beat, Place, keep_watched
from perdure.store.postgres.verbs import upkeep

log = logging.getLogger("perdure.store")

_MEMBERS = "select id, place, birth, pid from perdure.workers where id <> $1 and place is not null"
RETRY_S = 0.5  # after the database was not there


class Watch:
    """See the module. One connection of its own."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        worker: str,
        place: Place,
        *,
        lease: timedelta,
        grace: timedelta,
    ) -> None:
        # Its name is another than the process's: while it waits for a lock the server notices
        # late that its process died.
        self._link = Link(
            replace(address, process=f"{address.process[:57]} watch"), clock, prepared=self._begun
        )
        self._worker = worker
        self._place = place
        self._lease = lease
        self._grace_s = grace.total_seconds()
        self._backend = 0
        self._calm_since = boot_time()
        self._connected = False
        self._returned = float("-inf")  # when its connection came back
        self._neighbour: tuple[str, int] | None = None
        self._turned = asyncio.Event()

    def told(self, beat: Beat) -> None:
        """What the last beat said."""
        self._calm_since = boot_time() - beat.calm.total_seconds()
        if beat.neighbour != self._neighbour:
            self._neighbour = beat.neighbour
            self._turned.set()

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            try:
                await self._watch()
            except PerdureError as error:
                log.debug("Cannot watch over another worker: %s", error)
            except Exception:
                log.exception("Watching over another worker failed.")
            else:
                continue
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        await self._link.close()

    async def _begun(self, connection: Any) -> None:
        await keep_watched(connection, self._lease)
        await connection.execute("set statement_timeout = 0")  # it waits as long as another lives
        self._backend = await connection.fetchval("select pg_backend_pid()")
        if self._connected:
            self._returned = boot_time()
        self._connected = True

    async def _watch(self) -> None:
        self._turned.clear()
        if self._neighbour is None or not self._place.direct:
            await self._turned.wait()
            return
        worker, place = self._neighbour
        await self._link.value("select pg_advisory_unlock_all()")
        if not await self._lock_came_free(place):
            return
        await self._link.value("select pg_advisory_unlock_all()")
        noticed = boot_time()
        for row in await self._link.rows(_MEMBERS, self._worker):
            if birth.ended(row["birth"], row["pid"]):
                await self._take_over(row["id"], row["place"], True)
        suspects = {worker} | {row["worker"] for row in await self._lockless()}
        await asyncio.sleep(max(self._grace_s, self._calm_in()))
        if self._calm_in() > 0:
            return
        for row in await self._lockless():
            if row["worker"] in suspects:
                # One that beat until its end was noticed and has lost all its connections at once
                # has ended. After a longer silence it may as well be cut off.
                silent_s = row["heard"].total_seconds() - (boot_time() - noticed)
                gone = silent_s < row["lease"].total_seconds() / 2
                await self._take_over(row["worker"], row["place"], gone)

    async def _lock_came_free(self, place: int) -> bool:
        """Wait for the neighbour's lock. False when another one is the neighbour now."""
        waiting = asyncio.ensure_future(
            self._link.value("select pg_advisory_lock_shared($1, $2)", LOCKS, place, timeout_s=inf)
        )
        turned = asyncio.ensure_future(self._turned.wait())
        try:
            await asyncio.wait({waiting, turned}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
                return True
            await self._place.link.value("select pg_cancel_backend($1)", self._backend)
            try:
                await waiting
            except PerdureError:
                pass
            return False
        finally:
            for task in (waiting, turned):
                task.cancel()
            await asyncio.gather(waiting, turned, return_exceptions=True)

    def _calm_in(self) -> float:
        """Seconds until everyone had a lease of time to be heard; 0 when they had."""
        since = max(self._calm_since, self._returned)
        return max(since + self._lease.total_seconds() - boot_time(), 0.0)

    async def _lockless(self) -> list[Any]:
        return await self._link.rows("select * from perdure.lockless($1)", self._worker)

    async def _take_over(self, worker: str, place: int, gone: bool) -> None:
        if not await self._link.value("select pg_try_advisory_lock($1, $2)", LOCKS, place):
            return  # it is back, or another was quicker
        try:
            runs = await upkeep.release(self._link, worker, died=True, gone=gone)
            taken = counted(runs, "run was", "runs were")
            log.warning("The worker %s died; %s taken from it.", worker, taken)
        finally:
            if self._link.connected:
                await self._link.value("select pg_advisory_unlock_all()")
