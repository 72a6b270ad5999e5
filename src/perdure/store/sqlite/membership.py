"""Being one of the workers that share a database file (L1, L5).

A worker holds a lock on a file of its own, which the system frees when its process ends, and
touches that file four times a lease; neither needs the database, so no busy writer can starve it.
Each worker waits for the lock of its neighbour in the ring of names. When it gets it, every worker
whose lock is free is taken over while its lock is held, so it cannot come back in between. There
is no grace, as there is on PostgreSQL, where a lock is also lost with a connection: only the end of
a process frees a file's lock.

A frozen process keeps its lock: the age of its file tells (``reap``). When it goes on it finds
that it holds no more, or that its file is gone, says so, and joins again; its runs were fenced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from perdure.errors import PerdureError, StoreUnavailable
from perdure.store.base import Membership
from perdure.store.rows import WorkerInfo
from perdure.store.sqlite.connection import Address, Clock
from perdure.store.sqlite.verbs import upkeep
from perdure.store.sqlite.wakes import Wakes
from perdure.store.sqlite.writer import Writer

BEATS = 4  # in a lease
RETRY_S = 1.0  # after the database was not there for a takeover
LOOK_S = 0.02  # how long to try for a lock that those who look at it may share
TAKE_S = 2.0  # how long to try for the lock of one's own place

# Unlike time.monotonic this goes on while the machine sleeps, so a thawed laptop knows.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Places:
    """The workers' files."""

    def __init__(self, address: Address) -> None:
        self.folder = address.beside(".workers")

    def path(self, worker: str) -> Path:
        return self.folder / quote(worker, safe="")

    def names(self) -> list[str]:
        """The workers that have a file, in the ring's order."""
        try:
            return sorted(unquote(name) for name in os.listdir(self.folder))
        except FileNotFoundError:
            return []

    def take(self, worker: str) -> int:
        """Make the worker's file and lock it; returns the descriptor that holds the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + TAKE_S
        while True:
            handle = os.open(self.path(worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # Whoever looks at it, or takes it over, holds it for a moment only.
                if _lock(handle, TAKE_S) and self.is_at(handle, worker):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
            if time.monotonic() > until:
                raise BlockingIOError(errno.EAGAIN, f"another process is the worker {worker}")

    def is_at(self, handle: int, worker: str) -> bool:
        """Whether the open file is still the one with the worker's name."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path(worker)))
        except OSError:
            return False

    def is_free(self, worker: str) -> bool:
        """Whether nobody holds the worker's lock. False when there is no file."""
        handle = self._open(worker)
        if handle is None:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, worker: str) -> None:
        """Return when nobody holds the worker's lock."""
        handle = self._open(worker)
        if handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)
            finally:
                os.close(handle)

    def capture(self, worker: str) -> int | None:
        """Lock a free place, against its worker's return; None when it is not free."""
        handle = self._open(worker)
        if handle is None:
            return None
        # Others who look share the lock for a moment.
        if _lock(handle, LOOK_S) and self.is_at(handle, worker):
            return handle
        os.close(handle)
        return None

    def seen(self, worker: str) -> int | None:
        """When the worker last touched its file, in microseconds; None without a file."""
        try:
            return os.stat(self.path(worker)).st_mtime_ns // 1000
        except OSError:
            return None

    def remove(self, worker: str) -> None:
        self.path(worker).unlink(missing_ok=True)

    def _open(self, worker: str) -> int | None:
        try:
            return os.open(self.path(worker), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None


def _lock(handle: int, patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
        time.sleep(0.001)


class FileMembership(Membership):
    """See the module."""

    def __init__(
        self,
        writer: Writer,
        wakes: Wakes,
        clock: Clock,
        places: Places,
        worker: WorkerInfo,
        *,
        lease: timedelta,
        on_change: Callable[[bool], None] | None,
        left: Callable[[FileMembership], None],
    ) -> None:
        self.worker = worker
        self.lease_s = lease.total_seconds()
        self._lease = lease
        self._writer = writer
        self._wakes = wakes
        self._clock = clock
        self._places = places
        self._on_change = on_change
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._handle = -1
        self._held = False
        self._beat = 0.0
        self._thawed = float("-inf")
        self._rejoining: Future[None] | None = None
        self._stop = threading.Event()
        self._turn = threading.Event()  # the beating thread has something to do
        self._look = threading.Event()  # the watching thread has something to do
        self._alarms: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._undo: Callable[[], None] | None = None

    # -- life ---------------------------------------------------------------------------------

    async def join(self) -> None:
        """Take the place and begin. Raises StoreUnavailable."""
        # The lock before the row: a member without a lock would be taken for dead.
        try:
            self._handle = await asyncio.to_thread(self._places.take, self.worker.id)
        except OSError as error:
            raise StoreUnavailable(
                f"The folder {self._places.folder} cannot be used: {error.strerror}."
            ) from error
        _living.add(self)
        try:
            self._touch()
            await self._writer.write(lambda tx: upkeep.join(tx, self.worker, self._lease))
        except BaseException:
            self._give_up_place()
            raise
        self._touch()
        self._held = True
        self._undo = self._wakes.listen("members", lambda _: self._look.set())
        for name, main in (("beat", self._beat_main), ("watch", self._watch_main)):
            thread = threading.Thread(target=main, name=f"perdure-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    async def leave(self) -> None:
        if self._stop.is_set():
            return
        self._held = False
        self._stop.set()
        self._turn.set()
        self._look.set()
        if self._undo is not None:
            self._undo()
        self._left(self)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        try:
            await self._writer.write(
                lambda tx: upkeep.release(tx, self.worker.id, died=False, gone=False)
            )
        except PerdureError:
            # Its file stays, unlocked: another worker takes the runs over.
            _living.discard(self)
            os.close(self._handle)
            raise
        self._give_up_place()

    def _give_up_place(self) -> None:
        _living.discard(self)
        self._places.remove(self.worker.id)
        os.close(self._handle)

    def after_fork(self) -> None:
        """In a forked child: its copy of the descriptor would keep the lock of a dead parent."""
        with contextlib.suppress(OSError):
            os.close(self._handle)

    # -- the lease ----------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        # Asked by a process that was frozen a moment ago, before any thread of it could notice.
        return self._held and time.clock_gettime(_CLOCK) - self._beat < self.lease_s

    @property
    def thawed(self) -> bool:
        """Whether this process stood still lately, so that others only seem late to it."""
        now = time.clock_gettime(_CLOCK)
        return not self.holds or now - self._thawed < self.lease_s

    def _touch(self) -> None:
        beat = time.clock_gettime(_CLOCK)
        at = self._clock() * 1000
        os.utime(self._handle, ns=(at, at))
        self._beat = beat

    def _beat_main(self) -> None:
        while not self._stop.is_set():
            self._turn.wait(self.lease_s / BEATS)
            self._turn.clear()
            if self._stop.is_set():
                return
            try:
                self._keep()
            except OSError:
                self._lose()  # try again at the next beat

    def _keep(self) -> None:
        now = time.clock_gettime(_CLOCK)
        late = now - self._beat >= self.lease_s
        if late:
            self._thawed = now
        if self._held and (late or not self._places.is_at(self._handle, self.worker.id)):
            self._lose()
        if self._held:
            self._touch()
        elif self._rejoining is None:
            self._rejoin()
        elif self._rejoining.done():
            failed, self._rejoining = self._rejoining.exception(), None
            self._touch()
            if failed is None and self._places.is_at(self._handle, self.worker.id):
                self._held = True
                self._report(True)
        else:
            self._touch()

    def _lose(self) -> None:
        if self._held:
            self._held = False
            self._report(False)

    def _rejoin(self) -> None:
        if not self._places.is_at(self._handle, self.worker.id):
            # The new lock before the old one goes: who waits for the old one must find this.
            old, self._handle = self._handle, self._places.take(self.worker.id)
            os.close(old)
        self._touch()
        try:
            self._rejoining = self._writer.submit(
                lambda tx: upkeep.join(tx, self.worker, self._lease)
            )
        except PerdureError:  # the store is closed
            return
        self._rejoining.add_done_callback(lambda _: self._turn.set())

    def _report(self, holds: bool) -> None:
        if self._on_change is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._on_change, holds)

    # -- the neighbour ------------------------------------------------------------------------

    def _watch_main(self) -> None:
        while not self._stop.is_set():
            self._look.clear()
            suspects = [name for name in self._others() if self._places.is_free(name)]
            if suspects:
                # No grace: the system frees a file's lock only when its process has ended.
                for name in suspects:
                    self._take_over(name)
                continue
            self._arm()
            # A lost hint about the ring costs no more than this.
            self._look.wait(self.lease_s / 2)

    def _others(self) -> list[str]:
        return [name for name in self._places.names() if name != self.worker.id]

    def _arm(self) -> None:
        """Wait for the neighbour's lock, in a thread: nothing can interrupt that wait. A thread
        whose worker is no neighbour any more stays until that worker ends."""
        others = self._others()
        if not others:
            return
        neighbour = next((name for name in others if name > self.worker.id), others[0])
        if neighbour in self._alarms and not self._alarms[neighbour].is_set():
            return
        self._alarms = {name: rang for name, rang in self._alarms.items() if not rang.is_set()}
        rang = self._alarms[neighbour] = threading.Event()
        threading.Thread(
            target=_alarm, args=(self._places, neighbour, rang, self._look),
            name="perdure-neighbour", daemon=True,
        ).start()  # fmt: skip

    def _take_over(self, name: str) -> None:
        handle = self._places.capture(name)
        if handle is None:
            return  # it is back, or another was quicker
        try:
            self._writer.submit(lambda tx: upkeep.release(tx, name, died=True, gone=True)).result()
            self._places.remove(name)
        except PerdureError:
            self._stop.wait(RETRY_S)
        finally:
            os.close(handle)


def _alarm(places: Places, neighbour: str, rang: threading.Event, look: threading.Event) -> None:
    try:
        places.wait(neighbour)
    finally:
        rang.set()
        look.set()


_living: weakref.WeakSet[FileMembership] = weakref.WeakSet()


def _after_fork() -> None:
    for membership in _living:
        membership.after_fork()


os.register_at_fork(after_in_child=_after_fork)
