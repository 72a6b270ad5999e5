"""Bringing a database's schema up to this Perdure's, in one transaction under the write lock."""

from __future__ import annotations

import sqlite3

from perdure.store import migrations
from perdure.store.sqlite.connection import DIALECT, read_version
from perdure.store.sqlite.writer import Transaction

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL
)
"""


def upgrade(tx: Transaction) -> list[str]:
    """Apply what is missing; returns the names. Raises SchemaNewer."""
    lacking = migrations.missing(DIALECT, read_version(tx.link))
    tx.run(_TABLE)
    for migration in lacking:
        for statement in split(migration.sql):
            tx.run(statement)
        tx.run(
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            migration.version, migration.name, tx.now,
        )  # fmt: skip
    return [migration.name for migration in lacking]


def split(script: str) -> list[str]:
    """The statements of a script. (``executescript`` would commit before it begins.)"""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found
