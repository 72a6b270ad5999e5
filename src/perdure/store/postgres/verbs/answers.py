"""Answers of models that are kept for others who ask the same."""

from __future__ import annotations

from datetime import timedelta

from perdure.store.postgres.link import Database
from perdure.store.retention import Cleared

_REMEMBER = """
insert into perdure.answers (key, expires, value) values ($1, perdure.clock() + $3, $2)
on conflict (key) do update set expires = excluded.expires, value = excluded.value
"""
_RECALL = "select value from perdure.answers where key = $1 and expires > perdure.clock()"
_LAPSE = """
with gone as (
  delete from perdure.answers where key = any (array(
    select a.key from perdure.answers a where a.expires <= perdure.clock()
    order by a.expires limit $1 for update skip locked
  )) returning 1
)
select count(*) as cleared from gone
"""


async def remember(database: Database, key: bytes, value: bytes, ttl: timedelta) -> None:
    """See ``Store.remember``."""
    await database.rows(_REMEMBER, key, value, ttl)


async def recall(database: Database, key: bytes) -> bytes | None:
    """See ``Store.recall``."""
    found: bytes | None = await database.value(_RECALL, key)
    return found


async def lapse(database: Database, limit: int) -> Cleared:
    """See ``Store.lapse``. A portion that was not full was the last."""
    cleared = int(await database.value(_LAPSE, limit))
    return Cleared(cleared, cleared == limit)
