"""The store in one SQLite file: see ``store.py``."""

from perdure.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
