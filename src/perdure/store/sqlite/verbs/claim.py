"""Leasing ready runs: by priority, then in turn between tenants, then by age; a run that has to
be alone is kept for one worker until it is idle (L6).

Only ready runs are in the index that is walked, so a claim costs what it leases (and a step for
each tenant that has ready runs), however many runs wait.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence

from perdure.core.run import RunState
from perdure.store.rows import Claimed, Lease
from perdure.store.sqlite.columns import LEASED, to_json, to_lease
from perdure.store.sqlite.writer import Transaction

Ready = tuple[int, int, int]  # ready_at, n, alone

_FIRST_PRIORITY = (
    "SELECT max(priority) FROM runs"
    " WHERE queue = ? AND state = 'queued' AND reserved_by IS NULL AND priority < ?"
)
_TENANTS = """
WITH RECURSIVE tenants (tenant) AS (
  SELECT min(tenant) FROM runs
  WHERE queue = ?1 AND priority = ?2 AND state = 'queued' AND reserved_by IS NULL
  UNION ALL
  SELECT (SELECT min(tenant) FROM runs WHERE queue = ?1 AND priority = ?2 AND state = 'queued'
          AND reserved_by IS NULL AND tenant > tenants.tenant)
  FROM tenants WHERE tenant IS NOT NULL
)
SELECT tenant FROM tenants WHERE tenant IS NOT NULL
"""
_READY = (
    "SELECT ready_at, n, alone FROM runs WHERE queue = ? AND priority = ? AND tenant = ?"
    " AND state = 'queued' AND reserved_by IS NULL ORDER BY ready_at, n"
)
_LEASE = f"""
UPDATE runs SET state = 'running', epoch = epoch + 1, worker = ?1,
  started_at = coalesce(started_at, ?2)
WHERE n IN (SELECT value FROM json_each(?3)) RETURNING {LEASED}
"""


def claim(tx: Transaction, worker: str, queues: Sequence[str], limit: int, idle: bool) -> Claimed:
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
    for _, n, alone in _ready(tx.link, list(dict.fromkeys(queues))):
        if alone:
            tx.run("UPDATE runs SET reserved_by = ? WHERE n = ?", worker, n)
            if idle and not picked:
                return Claimed(_lease(tx, worker, [n]), False)
            return Claimed(_lease(tx, worker, picked), True)
        if len(picked) == limit:
            break
        picked.append(n)
    return Claimed(_lease(tx, worker, picked), False)


def _ready(link: sqlite3.Connection, queues: list[str]) -> Iterator[Ready]:
    """All ready runs in the order of claims, as they are asked for."""
    below: int = 2**63 - 1
    while True:
        levels = {
            queue: level
            for queue in queues
            if (level := link.execute(_FIRST_PRIORITY, (queue, below)).fetchone()[0]) is not None
        }
        if not levels:
            return
        below = max(levels.values())
        yield from _in_turn(link, [q for q, level in levels.items() if level == below], below)


def _in_turn(link: sqlite3.Connection, queues: list[str], priority: int) -> Iterator[Ready]:
    """The ready runs of one priority: each tenant's oldest, then each one's second, and so on."""
    lines: dict[str, list[Iterator[Ready]]] = {}
    for queue in queues:
        for (tenant,) in link.execute(_TENANTS, (queue, priority)).fetchall():
            cursor = link.execute(_READY, (queue, priority, tenant))
            lines.setdefault(tenant, []).append(map(tuple, cursor))
    waiting = [heapq.merge(*parts) if len(parts) > 1 else parts[0] for parts in lines.values()]
    if len(waiting) == 1:
        yield from waiting[0]
        return
    while waiting:
        turn: list[Ready] = []
        left = []
        for line in waiting:
            if (ready := next(line, None)) is not None:
                turn.append(ready)
                left.append(line)
        waiting = left
        yield from sorted(turn)


def _lease(tx: Transaction, worker: str, picked: list[int]) -> list[Lease]:
    if not picked:
        return []
    rows = tx.all(_LEASE, worker, tx.now, to_json(picked))
    leases = {row["n"]: to_lease(row, tx.now) for row in rows}
    return [leases[n] for n in picked]
