"""Reading: a few threads, each with a connection of its own. In WAL mode readers neither wait for
the writer nor hold it up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from perdure.store.sqlite.connection import Address, closed, connect, translate

T = TypeVar("T")
THREADS = 4


class Readers:
    """See the module."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pool: ThreadPoolExecutor | None = None
        self._mine = threading.local()
        self._links: list[sqlite3.Connection] = []

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "perdure-sqlite-reader")

    async def stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)
        links, self._links = self._links, []
        for link in links:
            link.close()
        self._mine = threading.local()

    async def read(self, body: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``body`` in a reader's thread."""
        if self._pool is None:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, body)

    def _read(self, body: Callable[[sqlite3.Connection], T]) -> T:
        link: sqlite3.Connection | None = getattr(self._mine, "link", None)
        if link is None:
            link = self._mine.link = connect(self._address, write=False)
            self._links.append(link)
        try:
            return body(link)
        except sqlite3.Error as error:
            raise translate(error, self._address) from error
