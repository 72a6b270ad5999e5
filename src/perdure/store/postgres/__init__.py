"""The store in a PostgreSQL database: see ``store.py``."""

from perdure.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
