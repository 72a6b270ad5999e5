"""Bringing a database's schema up to this Perdure's: each migration in a transaction of its own,
under a lock, so that any number of processes may try at once."""

from __future__ import annotations

from math import inf
from typing import Any

from perdure.store import migrations
from perdure.store.postgres.link import COMMAND_LIMIT, Link

DIALECT = "postgres"

_VERSION = "select coalesce(max(version), 0) from perdure.schema_migrations"
_TABLE = """
create schema if not exists perdure;
create table if not exists perdure.schema_migrations (
  version int primary key, name text not null, applied_at timestamptz not null
);
"""


async def read_version(link: Link) -> int:
    """The schema's version, 0 for none."""
    if await link.value("select to_regclass('perdure.schema_migrations')") is None:
        return 0
    return int(await link.value(_VERSION))


async def upgrade(link: Link) -> list[str]:
    """Apply what is missing; returns the names. Raises SchemaNewer."""
    # A large table's migration may take its time.
    return await link.call(_upgrade, inf)


async def _upgrade(connection: Any) -> list[str]:
    await connection.execute("set statement_timeout = 0")
    await connection.execute("select pg_advisory_lock(hashtextextended('perdure.schema', 0))")
    try:
        await connection.execute(_TABLE)
        lacking = migrations.missing(DIALECT, await connection.fetchval(_VERSION))
        for migration in lacking:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into perdure.schema_migrations values ($1, $2, clock_timestamp())",
                    migration.version, migration.name,
                )  # fmt: skip
    finally:
        if not connection.is_closed():
            await connection.execute(
                "select pg_advisory_unlock(hashtextextended('perdure.schema', 0))"
            )
            await connection.execute(f"set statement_timeout = '{COMMAND_LIMIT}'")
    return [migration.name for migration in lacking]
