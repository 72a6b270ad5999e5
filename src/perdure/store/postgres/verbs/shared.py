"""Small documents that all workers share."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.core.shared import Document, Swap, Swapped, changed, told
from perdure.store.postgres.link import Database

_SWAP = "select * from perdure.swap($1, $2, $3, $4, $5)"
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
