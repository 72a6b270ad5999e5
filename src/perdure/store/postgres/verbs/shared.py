"""Small documents that all workers share."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.shared import LAST, Document, Swap, Swapped, changed, told
from perdure.store.postgres.link import Database

_SWAP = "select * from perdure.swap($1, $2, $3, $4, $5)"
_LISTED = """
select key, version, body from perdure.shared where key >= $1 and key < $2 order by key limit $3
"""
_NOWHERE = Document()


async def swap(database: Database, reads: Sequence[str], swaps: Sequence[Swap]) -> Swapped:
    """See ``Shared.swap``."""
    keys = changed(swaps)
    rows = await database.rows(
        _SWAP,
        list(reads), keys, [swap.version for swap in swaps], [swap.body for swap in swaps],
        told(swaps),
    )  # fmt: skip
    at, done = rows[-1]["at"], rows[-1]["done"]
    found = {key: Document(version, body) for _, _, key, version, body in rows[:-1]}
    documents = {key: found.get(key, _NOWHERE) for key in (*keys, *reads)}
    return Swapped(at.timestamp(), done, documents)


async def listed(database: Database, prefix: str, limit: int) -> Swapped:
    """See ``Shared.listed``."""
    rows = await database.rows(_LISTED, prefix, prefix + LAST, limit)
    now = await database.value("select perdure.clock()")
    found = {key: Document(version, body) for key, version, body in rows}
    return Swapped(now.timestamp(), True, found)
