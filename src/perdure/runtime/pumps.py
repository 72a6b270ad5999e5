"""The pumps of an attempt: what reads a provider's stream to its end, whoever listens (C8).

A pump outlives the agent code that asked for the stream; the attempt settles only when all have
ended. Pumps may live on other event loops or in threads; they are counted on the attempt's loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any


class Pumps:
    """Counts and cancels."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0
        self._lock = threading.Lock()
        self._waiters: list[asyncio.Future[None]] = []

    def start(self, body: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        """Run ``body`` as a task on the calling loop."""

        async def run() -> None:
            await body()

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._one_less()  # also for a task that was cancelled before it began

        self._one_more()
        task = asyncio.get_running_loop().create_task(run(), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    def start_thread(self, body: Callable[[], None]) -> None:
        """Run ``body`` in a daemon thread."""

        def run() -> None:
            try:
                body()
            finally:
                self._one_less()

        self._one_more()
        threading.Thread(target=run, name="perdure-pump", daemon=True).start()

    def count(self, future: asyncio.Future[Any]) -> None:
        """Something that runs already, until ``future`` is done."""
        self._one_more()
        future.add_done_callback(lambda _: self._one_less())

    async def ended(self) -> None:
        """Wait until every pump is through."""
        while self._running:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def cancel(self) -> None:
        for task in list(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _one_more(self) -> None:
        with self._lock:
            self._running += 1

    def _one_less(self) -> None:
        with self._lock:
            self._running -= 1
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _tell(self) -> None:
        if not self._running:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
