"""Answers of models that are kept for others who ask the same."""

from __future__ import annotations

import sqlite3

from perdure.store.retention import Cleared
from perdure.store.sqlite.writer import Transaction


def remember(tx: Transaction, key: bytes, value: bytes, ttl: int) -> None:
    """See ``Store.remember``."""
    tx.run(
        "INSERT OR REPLACE INTO answers (key, expires, value) VALUES (?, ?, ?)",
        key, tx.now + ttl, value,
    )  # fmt: skip


def recall(link: sqlite3.Connection, key: bytes, now: int) -> bytes | None:
    """See ``Store.recall``."""
    row = link.execute(
        "SELECT value FROM answers WHERE key = ? AND expires > ?", (key, now)
    ).fetchone()
    return None if row is None else bytes(row[0])


def lapse(tx: Transaction, limit: int) -> Cleared:
    """See ``Store.lapse``."""
    rows = tx.run(
        "DELETE FROM answers WHERE key IN ("
        "SELECT key FROM answers WHERE expires <= ? ORDER BY expires LIMIT ?)",
        tx.now, limit,
    )  # fmt: skip
    left = tx.value("SELECT EXISTS (SELECT 1 FROM answers WHERE expires <= ?)", tx.now)
    return Cleared(rows, bool(left))
