"""Being one of the workers that share a database (L1, L5).

Runs in a thread with an event loop and connections of its own, so that nothing an agent does can
lose the lease, which one statement keeps alive four times in its length, however many runs the
worker holds. A worker whose lock or lease is in doubt says so until it has both again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta

from perdure.errors import PerdureError
from perdure.store.base import Membership
from perdure.store.postgres.address import Address
from perdure.store.postgres.link import Clock, boot_time
from perdure.store.postgres.neighbour import Watch
from perdure.store.postgres.place import Place
from perdure.store.postgres.verbs import upkeep
from perdure.store.rows import WorkerInfo

log = logging.getLogger("perdure.store")

BEATS = 4  # in a lease
RETRY_S = 0.1  # after a beat that failed; connecting has its own pauses
SPREAD_S = 0.1  # within which all workers look at a ring that changed


class LockMembership(Membership):
    """See the module."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        worker: WorkerInfo,
        *,
        lease: timedelta,
        grace: timedelta,
        on_change: Callable[[bool], None] | None,
        left: Callable[[LockMembership], None],
    ) -> None:
        self.worker = worker
        self._address = address
        self._clock = clock
        self._lease = lease
        self._lease_s = lease.total_seconds()
        self._grace = grace
        self._on_change = on_change
        self._left = left
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._joined: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._stop: asyncio.Event | None = None
        self._turn: asyncio.Event | None = None
        self._held = False
        self._leaving = False
        self._beat = 0.0

    # -- for the worker's event loop ----------------------------------------------------------

    @property
    def holds(self) -> bool:
        # Asked by a process that was frozen a moment ago, before any thread of it could notice.
        return self._held and boot_time() - self._beat < self._lease_s

    async def join(self) -> None:
        """Take the place and begin. Raises StoreUnavailable."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main()), name="perdure-member", daemon=True
        )
        self._thread.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._joined))
        except asyncio.CancelledError:
            await self.leave()
            raise

    async def leave(self) -> None:
        if self._leaving or self._thread is None:
            return
        self._leaving = True
        self._held = False
        self._left(self)
        await asyncio.wait([asyncio.wrap_future(self._joined)])
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join)
        self._ended.result()

    # -- in the thread ------------------------------------------------------------------------

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop, self._turn = asyncio.Event(), asyncio.Event()
        place = Place(
            self._address, self._clock, self.worker, self._lease,
            lost=self._lost, changed=self._turn.set,
        )  # fmt: skip
        watch = Watch(
            self._address, self._clock, self.worker.id, place,
            lease=self._lease, grace=self._grace,
        )  # fmt: skip
        try:
            begun = boot_time()
            await place.join()
            watch.told(await place.beat())
            self._beat, self._held = begun, True
        except BaseException as error:
            await place.link.close()
            self._ended.set_result(None)
            self._joined.set_exception(error)
            return
        self._joined.set_result(None)
        tasks = [
            asyncio.create_task(self._keep(place, watch)),
            asyncio.create_task(watch.run()),
        ]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await watch.close()
        try:
            await upkeep.release(place.link, self.worker.id, died=False, gone=False)
        except PerdureError as error:
            self._ended.set_exception(error)  # another worker takes its runs over
        else:
            self._ended.set_result(None)
        finally:
            await place.link.close()

    async def _keep(self, place: Place, watch: Watch) -> None:
        assert self._turn is not None
        while True:
            try:
                async with asyncio.timeout(self._lease_s / BEATS):
                    await self._turn.wait()
                # All workers are told at once that a member came or went.
                await asyncio.sleep(random.random() * SPREAD_S if self._held else 0)
            except TimeoutError:
                pass
            self._turn.clear()
            if boot_time() - self._beat >= self._lease_s:
                self._lose()  # this process stood still
            begun = boot_time()
            try:
                beat = await place.beat()
                if not beat.known:
                    self._lose()
                    await place.join()
                    beat = await place.beat()
            except Exception as error:
                if not isinstance(error, PerdureError):
                    log.exception("The worker's lease could not be kept.")
                self._lose()
                await asyncio.sleep(RETRY_S)
                self._turn.set()
                continue
            watch.told(beat)
            self._beat = begun
            if not self._held:
                self._held = True
                self._report(True)

    def _lost(self) -> None:
        """The connection broke, and with it the lock."""
        self._lose()
        if self._turn is not None:
            self._turn.set()

    def _lose(self) -> None:
        if self._held and not self._leaving:
            self._held = False
            self._report(False)

    def _report(self, holds: bool) -> None:
        if self._on_change is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._home.call_soon_threadsafe(self._on_change, holds)
