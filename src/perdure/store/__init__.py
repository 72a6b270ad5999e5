"""The only place with SQL. ``make_store`` picks the store for a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import ConfigError, MissingExtra
from perdure.store.base import Store

if TYPE_CHECKING:
    from perdure.store.redis import RedisShared

__all__ = ["Store", "make_redis", "make_store"]


def make_store(url: str) -> Store:
    """The store for ``sqlite:///path/file.db`` or ``postgresql://user@host/database``, unopened.

    Raises ConfigError for any other URL, MissingExtra where the driver is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        from perdure.store.sqlite import SqliteStore

        return SqliteStore(url)
    if scheme in ("postgresql", "postgres"):
        try:
            from perdure.store.postgres import PostgresStore
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise MissingExtra("A PostgreSQL store", "postgres") from None
        return PostgresStore(url)
    raise ConfigError(
        f"store.url {url!r} is neither sqlite:///path nor postgresql://…",
        hint="Example: PERDURE_STORE=postgresql://user:password@localhost/perdure",
    )


def make_redis(url: str) -> RedisShared:
    """Who keeps shared documents at ``redis://…`` or ``rediss://…``, unopened.

    Raises ConfigError for any other URL, MissingExtra where the client is not installed.
    """
    try:
        from perdure.store.redis import RedisShared
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "redis":
            raise
        raise MissingExtra("Redis", "redis") from None
    return RedisShared(url)
