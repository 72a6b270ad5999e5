"""The one thread that writes, and its group commit.

What is queued while a commit is in flight goes into the next one together, each write under a
savepoint of its own: a write that raises takes back only itself. What a write has to tell goes
out after its commit, never before. Nothing here runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from perdure.store.sqlite.connection import Address, Clock, closed, connect, translate

log = logging.getLogger(__name__)
T = TypeVar("T")
MERGED = 128  # writes in one transaction at most
BUSY_S = 10.0  # how long to wait for another process's write
LONGEST_PAUSE_S = 0.002  # between two tries for it: longer ones starve whoever is unlucky
CROWDED_S = 0.003  # a statement that takes this long had to wait for the interpreter
Told = tuple[str, str, bool]  # topic, payload, tell other processes too


class Transaction:
    """What a write sees: the connection inside BEGIN IMMEDIATE, one time, and whom to tell."""

    __slots__ = ("link", "now", "told")

    def __init__(self, link: sqlite3.Connection, now: int) -> None:
        self.link = link
        self.now = now
        self.told: dict[Told, None] = {}

    def run(self, sql: str, *parameters: Any) -> int:
        """Execute; returns how many rows changed."""
        return self.link.execute(sql, parameters).rowcount

    def one(self, sql: str, *parameters: Any) -> Any:
        """The first row or None."""
        return self.link.execute(sql, parameters).fetchone()

    def value(self, sql: str, *parameters: Any) -> Any:
        """The first row's first column or None."""
        row = self.link.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def all(self, sql: str, *parameters: Any) -> list[Any]:
        return self.link.execute(sql, parameters).fetchall()

    def insert(self, head: str, width: int, rows: list[tuple[Any, ...]]) -> None:
        """Insert many rows of ``width`` columns; ``head`` ends before VALUES.

        Eight rows a statement are the fastest. But after each statement the thread has to win the
        interpreter back, which an event loop that computes gives away every 5 ms only: where that
        is seen, far more rows go into one. Sizes are powers of two, to stay prepared.
        """
        start, left, most = 0, len(rows), 8
        group = f"({','.join('?' * width)})"
        while left:
            size = min(1 << (left.bit_length() - 1), most)
            flat = [item for row in rows[start : start + size] for item in row]
            begun = time.perf_counter()
            self.link.execute(f"{head} VALUES {','.join([group] * size)}", flat)
            if time.perf_counter() - begun > CROWDED_S:
                most = 256
            start += size
            left -= size

    def tell(self, topic: str, payload: str = "", *, far: bool = True) -> None:
        self.told[topic, payload, far] = None


class _Job(Generic[T]):
    __slots__ = ("body", "error", "future", "result")

    def __init__(
        self, body: Callable[[Transaction], T], future: asyncio.Future[T] | Future[T]
    ) -> None:
        self.body = body
        self.future = future
        self.result: T | None = None
        self.error: BaseException | None = None


class Writer:
    """See the module. ``told`` is called, in the writer's thread, with what a commit tells."""

    def __init__(
        self, address: Address, clock: Clock, told: Callable[[Iterable[Told]], None]
    ) -> None:
        self._address = address
        self._clock = clock
        self._told = told
        self._queue: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open = False
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Connect, in the thread. Raises what that raises."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._main, args=(loop, ready), name="perdure-sqlite-writer", daemon=True
        )
        self._thread.start()
        try:
            await ready
        except BaseException:
            self._queue.put(None)
            raise
        self._open = True

    async def stop(self) -> None:
        """Finish what is queued, refuse the rest, end the thread."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._queue.put(None)
        thread = self._thread
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    async def write(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body`` in a transaction; returns after its commit."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(_Job(body, future))
        return await future

    def submit(self, body: Callable[[Transaction], T]) -> Future[T]:
        """The same from a thread."""
        future: Future[T] = Future()
        self._put(_Job(body, future))
        return future

    def _put(self, job: _Job[Any]) -> None:
        with self._lock:
            if not self._open:
                raise closed()
            self._queue.put(job)

    # -- the thread ---------------------------------------------------------------------------

    def _main(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]) -> None:
        try:
            link = connect(self._address, write=True)
        except Exception as error:
            loop.call_soon_threadsafe(_fail, ready, error)
            return
        loop.call_soon_threadsafe(_succeed, ready)
        try:
            while True:
                jobs, last = self._next()
                if jobs:
                    self._commit(link, jobs)
                if last:
                    return
        finally:
            link.close()

    def _next(self) -> tuple[list[_Job[Any]], bool]:
        job = self._queue.get()
        jobs: list[_Job[Any]] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == MERGED or self._queue.empty():
                return jobs, False
            job = self._queue.get()
        return jobs, True

    def _commit(self, link: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        try:
            told = self._carry_out(link, jobs)
        except Exception as error:
            meaning = translate(error, self._address) if isinstance(error, sqlite3.Error) else error
            for job in jobs:
                job.error = meaning
        else:
            try:
                self._told(told)
            except Exception:  # a hint is not worth the thread
                log.exception("A wake-up could not be sent.")
        _answer(jobs)

    def _carry_out(self, link: sqlite3.Connection, jobs: list[_Job[Any]]) -> Iterable[Told]:
        """Commit what the jobs do; returns what they tell. A job's own error is its own."""
        self._begin(link)
        try:
            transaction = Transaction(link, self._clock())
            if len(jobs) == 1:
                self._run(transaction, jobs[0])
                if jobs[0].error is not None:
                    link.execute("ROLLBACK")
                    return ()
            else:
                for job in jobs:
                    self._run_apart(transaction, job)
            link.execute("COMMIT")
        except BaseException:
            if link.in_transaction:
                link.execute("ROLLBACK")
            raise
        return transaction.told

    def _begin(self, link: sqlite3.Connection) -> None:
        until = time.monotonic() + BUSY_S
        pause = 0.0005
        while True:
            try:
                link.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    def _run(self, transaction: Transaction, job: _Job[Any]) -> None:
        try:
            job.result = job.body(transaction)
        except sqlite3.Error as error:
            if not transaction.link.in_transaction:
                raise  # the disk is full, or the like: SQLite took everything back
            job.error = translate(error, self._address)
        except Exception as error:
            job.error = error

    def _run_apart(self, transaction: Transaction, job: _Job[Any]) -> None:
        link, told = transaction.link, dict(transaction.told)
        link.execute("SAVEPOINT apart")
        self._run(transaction, job)
        if job.error is not None:
            link.execute("ROLLBACK TO apart")
            transaction.told = told
        link.execute("RELEASE apart")


def _answer(jobs: list[_Job[Any]]) -> None:
    """Resolve the jobs' futures, with one wake-up of each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
    for job in jobs:
        if isinstance(job.future, asyncio.Future):
            loops.setdefault(job.future.get_loop(), []).append(job)
        elif job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
    for loop, mine in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, mine)
        except RuntimeError:  # the loop was closed under its callers: nobody waits any more
            pass


def _resolve(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        if job.future.cancelled():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _succeed(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _fail(ready: asyncio.Future[None], error: Exception) -> None:
    if not ready.done():
        ready.set_exception(error)
