"""Small writes that nobody waits for the disk with: done where they are asked for, at once.

To hand a write to the writer's thread and to hear of it takes longer than the write; so does the
disk. What lets a call go out, or says what one cost, has to be seen by every process before it
counts, and so survives the death of any; the disk may have it some milliseconds later (``Disk``):
only a machine that loses its power in them forgets it, and it loses what depended on it as well.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from perdure.store.sqlite.connection import Address, Clock, closed, connect, translate
from perdure.store.sqlite.disk import Disk
from perdure.store.sqlite.writer import Transaction

T = TypeVar("T")
# Writes after which one goes the writer's way: that keeps the write-ahead log from growing, which
# takes time that no event loop has.
TURN = 1000


class Occupied(Exception):
    """Somebody else is writing, here or in another process, or it is the writer's turn."""


class Shortcut:
    """Beside a writer of the same database that was started before."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._disk: Disk
        self._lock = threading.Lock()
        self._link: sqlite3.Connection | None = None
        self._left = TURN

    def open(self) -> None:
        """Connect. Raises what that raises."""
        link = connect(self._address, write=True)
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute("PRAGMA wal_autocheckpoint = 0")
        self._disk = Disk(self._address.path)
        self._link = link

    def close(self) -> None:
        """Returns when all is on the disk."""
        with self._lock:
            link, self._link = self._link, None
            if link is not None:
                self._disk.close()
                link.close()

    def turned(self) -> None:
        """The writer has had its turn. Until then nothing is written here: it can begin the log
        anew only where nothing came while it copied what was there."""
        self._left = TURN

    def write(self, body: Callable[[Transaction], T]) -> T:
        """Run ``body``, which has to be short and tell nobody, in a transaction of its own; returns
        after its commit. Raises Occupied, and what ``body`` raises."""
        if not self._lock.acquire(blocking=False):
            raise Occupied
        try:
            link = self._link
            if link is None:
                raise closed()
            if not self._left:
                raise Occupied
            self._left -= 1
            return self._write(link, body)
        finally:
            self._lock.release()

    def _write(self, link: sqlite3.Connection, body: Callable[[Transaction], T]) -> T:
        try:
            link.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                raise Occupied from None
            raise translate(error, self._address) from error
        try:
            transaction = Transaction(link, self._clock())
            result = body(transaction)
            link.execute("COMMIT")
        except BaseException as error:
            if link.in_transaction:
                link.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise translate(error, self._address) from error
            raise
        self._disk.owe()
        return result
