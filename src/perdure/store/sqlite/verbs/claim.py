"""Leasing ready runs: by priority, then in turn between tenants, then by age; a run that has to
be alone is kept for one worker until it is idle (L6).

Only ready runs are in the index that is walked, so a claim costs what it leases (and a step for
each tenant that has ready runs), however many runs wait.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

from perdure.core.run import RunState
from perdure.store.rows import Claimed, Lease
from perdure.store.sqlite.columns import LEASED, to_json, to_lease
from perdure.store.sqlite.writer import Transaction

Ready = tuple[int, bool]  # n, alone

_FIRST_PRIORITY = (
    "SELECT max(priority) FROM runs"
    " WHERE queue = ? AND state = 'queued' AND reserved_by IS NULL AND priority < ?"
)
# The next rows of every line: ?4 rows after the first ?3, a line being a tenant's ready runs in one
# queue. The lines are found by seeking from tenant to tenant, not by reading their runs.
_TURNS = """
WITH RECURSIVE lines (queue, tenant) AS (
  SELECT value, (SELECT min(tenant) FROM runs WHERE queue = value AND priority = ?2
                 AND state = 'queued' AND reserved_by IS NULL) FROM json_each(?1)
  UNION ALL
  SELECT queue, (SELECT min(r.tenant) FROM runs r WHERE r.queue = lines.queue AND r.priority = ?2
                 AND r.state = 'queued' AND r.reserved_by IS NULL AND r.tenant > lines.tenant)
  FROM lines WHERE tenant IS NOT NULL
)
SELECT lines.queue, lines.tenant, r.ready_at, r.n, r.alone
FROM lines CROSS JOIN runs r ON r.n IN (
  SELECT n FROM runs WHERE queue = lines.queue AND priority = ?2 AND tenant = lines.tenant
  AND state = 'queued' AND reserved_by IS NULL ORDER BY ready_at, n LIMIT ?4 OFFSET ?3)
WHERE lines.tenant IS NOT NULL
ORDER BY r.ready_at, r.n
"""
# The ready runs below one run, the oldest first.
_FAMILY = """
WITH RECURSIVE family (id) AS (
  VALUES (?1) UNION SELECT r.id FROM runs r JOIN family f ON r.parent = f.id
)
SELECT n, alone FROM runs WHERE id IN (SELECT id FROM family)
AND queue IN (SELECT value FROM json_each(?2))
AND state = 'queued' AND reserved_by IS NULL ORDER BY n
"""
_LEASE = f"""
UPDATE runs SET state = 'running', epoch = epoch + 1, worker = ?1,
  started_at = coalesce(started_at, ?2)
WHERE n IN (SELECT value FROM json_each(?3)) RETURNING {LEASED}
"""


def claim(
    tx: Transaction,
    worker: str,
    queues: Sequence[str],
    limit: int,
    idle: bool,
    root: str | None = None,
) -> Claimed:
    """See ``Store.claim``."""
    reserved = tx.all("SELECT n, state FROM runs WHERE reserved_by = ?", worker)
    if any(row["state"] == RunState.RUNNING for row in reserved):
        return Claimed([], True)  # it executes its lone run now
    if reserved:
        if not idle:
            return Claimed([], True)
        return Claimed(_lease(tx, worker, [reserved[0]["n"]]), False)
    picked: list[int] = []
    if limit <= 0:
        return Claimed([], False)
    wanted = list(dict.fromkeys(queues))
    ready = _ready(tx.link, wanted, limit) if root is None else _family(tx.link, wanted, root)
    for n, alone in ready:
        if alone:
            tx.run("UPDATE runs SET reserved_by = ? WHERE n = ?", worker, n)
            if idle and not picked:
                return Claimed(_lease(tx, worker, [n]), False)
            return Claimed(_lease(tx, worker, picked), True)
        if len(picked) == limit:
            break
        picked.append(n)
    return Claimed(_lease(tx, worker, picked), False)


def _family(link: sqlite3.Connection, queues: list[str], root: str) -> Iterator[Ready]:
    """The ready runs among ``root`` and those below it."""
    for row in link.execute(_FAMILY, (root, to_json(queues))).fetchall():
        yield row["n"], bool(row["alone"])


def _ready(link: sqlite3.Connection, queues: list[str], want: int) -> Iterator[Ready]:
    """All ready runs in the order of claims, as they are asked for."""
    below = 2**63 - 1
    while True:
        levels = {
            queue: level
            for queue in queues
            if (level := link.execute(_FIRST_PRIORITY, (queue, below)).fetchone()[0]) is not None
        }
        if not levels:
            return
        below = max(levels.values())
        at_level = [queue for queue, level in levels.items() if level == below]
        yield from _in_turn(link, to_json(at_level), below, want)


def _in_turn(link: sqlite3.Connection, queues: str, priority: int, want: int) -> Iterator[Ready]:
    """The ready runs of one priority: each line's oldest, then each one's second, and so on."""
    offset, size = 0, 1
    while True:
        rows = link.execute(_TURNS, (queues, priority, offset, size)).fetchall()
        taken: Counter[tuple[str, str]] = Counter()
        turns: list[tuple[int, int, Ready]] = []
        for place, (queue, tenant, _, n, alone) in enumerate(rows):
            turns.append((taken[queue, tenant], place, (n, bool(alone))))
            taken[queue, tenant] += 1
        yield from (ready for _, _, ready in sorted(turns))
        longer = sum(count == size for count in taken.values())
        if not longer:
            return
        offset += size
        size = -(-want // longer)


def _lease(tx: Transaction, worker: str, picked: list[int]) -> list[Lease]:
    if not picked:
        return []
    rows = tx.all(_LEASE, worker, tx.now, to_json(picked))
    leases = {row["n"]: to_lease(row, tx.now) for row in rows}
    return [leases[n] for n in picked]
