"""Brings to the disk what was committed without waiting for it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

GATHER_S = 0.01  # for which what is committed meanwhile goes along

_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Disk:
    """Of one connection to the database at ``path``, while that is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owed = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def owe(self) -> None:
        """There is something that may not be on the disk."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._main, name="perdure-sqlite-disk", daemon=True
            )
            self._thread.start()
        if not self._owed.is_set():
            self._owed.set()

    def close(self) -> None:
        """Returns when all is there."""
        if self._thread is not None:
            self._over.set()
            self._owed.set()
            self._thread.join()

    def _main(self) -> None:
        ahead: int | None = None
        while True:
            self._owed.wait()
            self._over.wait(GATHER_S)
            self._owed.clear()
            try:
                if ahead is None:
                    # It stays the same file for as long as a connection is open, and SQLite keeps
                    # no locks on it, which closing it would end.
                    ahead = os.open(f"{self._path}-wal", os.O_RDWR)
                _sync(ahead)
            except OSError:  # the next commit that waits for the disk says so to its callers
                log.exception("%s could not be brought to the disk.", self._path)
            if self._over.is_set() and not self._owed.is_set():
                break
        if ahead is not None:
            os.close(ahead)
