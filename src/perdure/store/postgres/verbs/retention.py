"""Deleting old runs, and which blobs are referenced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from perdure.core.run import RunState
from perdure.store.postgres.columns import to_uuid
from perdure.store.postgres.link import Database
from perdure.store.retention import Cleared, Doomed, OldPage, OldRun, Trimmed

PORTION_BYTES = 4 * 1024 * 1024  # of values that one transaction deletes

_OLD = """
select n, id, agent, state, finished_at, created_at,
  parent is null or not exists (select from perdure.runs p where p.id = r.parent) as first
from perdure.runs r where n > $1 order by n limit $2
"""


async def old_runs(database: Database, after: int, before: datetime, limit: int) -> OldPage:
    """See ``Store.old_runs``."""
    rows = await database.rows(_OLD, after, limit)
    runs = [
        OldRun(str(row["id"]), row["agent"], RunState(row["state"]), row["finished_at"])
        for row in rows
        if row["first"] and row["finished_at"] is not None and row["finished_at"] <= before
    ]
    # Later ones were made later still.
    over = len(rows) < limit or rows[-1]["created_at"] > before
    return OldPage(runs, None if over else rows[-1]["n"])


async def forget(database: Database, families: Sequence[Doomed], dry: bool) -> int:
    """See ``Store.forget``."""
    return int(
        await database.value(
            "select perdure.forget($1, $2, $3)",
            [to_uuid(family.id) for family in families],
            [family.ended_before for family in families],
            dry,
        )
    )


async def clear(database: Database, limit: int) -> Cleared:
    """See ``Store.clear``."""
    row = await database.row("select * from perdure.clear($1, $2)", limit, PORTION_BYTES)
    return Cleared(row["cleared"], row["remaining"])


async def trim(database: Database, after: int, before: datetime, limit: int) -> Trimmed:
    """See ``Store.trim``."""
    row = await database.row(
        "select * from perdure.trim($1, $2, $3, $4)", after, before, limit, PORTION_BYTES
    )
    return Trimmed(row["cleared"], row["next_n"])


_PLACES = (("log", "value"), ("runs", "input"), ("runs", "result"), ("signals", "payload"))
_REFERENCED = " union ".join(
    f"select {column} from perdure.{table} where substring({column} from 1 for 1) = '\\x01'"
    f" and {column} = any ($1::bytea[])"
    for table, column in _PLACES
)
# Each index gives its next ones in order.
_REFERENCES = " union ".join(
    f"(select distinct {column} as ref from perdure.{table}"
    f" where substring({column} from 1 for 1) = '\\x01' and {column} > $1"
    f" order by {column} limit $2)"
    for table, column in _PLACES
)


async def referenced(database: Database, references: Sequence[bytes]) -> set[bytes]:
    """See ``Store.referenced``."""
    return {row[0] for row in await database.rows(_REFERENCED, list(references))}


async def references(database: Database, after: bytes, limit: int) -> list[bytes]:
    """See ``Store.references``."""
    rows = await database.rows(
        f"select ref from ({_REFERENCES}) r order by ref limit $2", after, limit
    )
    return [row[0] for row in rows]
