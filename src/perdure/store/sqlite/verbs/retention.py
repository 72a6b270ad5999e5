"""Deleting old runs, a little at a time: a run's row goes first, in a transaction that decides;
what it had follows in portions (``leftovers``), so that no transaction is long and nobody ever
sees half a journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from perdure.core.run import RunState
from perdure.store.retention import Cleared, Doomed, OldPage, OldRun, Trimmed
from perdure.store.sqlite.columns import from_time, to_time
from perdure.store.sqlite.writer import Transaction

PORTION_BYTES = 4 * 1024 * 1024  # of values that one transaction deletes
RUNS = 100  # leftover runs that one transaction looks at

_OLD = """
SELECT n, id, agent, state, finished_at, created_at,
  parent IS NULL OR NOT EXISTS (SELECT 1 FROM runs p WHERE p.id = runs.parent) AS first
FROM runs WHERE n > ? ORDER BY n LIMIT ?
"""


def old_runs(link: sqlite3.Connection, after: int, before: int, limit: int) -> OldPage:
    """See ``Store.old_runs``."""
    rows = link.execute(_OLD, (after, limit)).fetchall()
    runs = [
        OldRun(row["id"], row["agent"], RunState(row["state"]), to_time(row["finished_at"]))
        for row in rows
        if row["first"] and row["finished_at"] is not None and row["finished_at"] <= before
    ]
    # Later ones were made later still.
    over = len(rows) < limit or rows[-1]["created_at"] > before
    return OldPage(runs, None if over else rows[-1]["n"])


_FAMILY = """
WITH RECURSIVE family (n, id) AS (
  SELECT n, id FROM runs WHERE id = ?
  UNION ALL SELECT r.n, r.id FROM family f JOIN runs r ON r.parent = f.id
)
"""
_MAY_GO = f"""{_FAMILY}
SELECT count(*), min(r.finished_at IS NOT NULL AND r.finished_at <= ? AND NOT EXISTS (
  SELECT 1 FROM idempotency i WHERE i.run = r.n AND (i.expires_at IS NULL OR i.expires_at > ?)
)) FROM family f JOIN runs r ON r.n = f.n
"""


def may_go(link: sqlite3.Connection, families: Sequence[Doomed], now: int) -> int:
    """How many runs ``forget`` would delete."""
    rows = [
        link.execute(_MAY_GO, (family.id, from_time(family.ended_before), now)).fetchone()
        for family in families
    ]
    return sum(count for count, may_go in rows if may_go)


def forget(tx: Transaction, families: Sequence[Doomed]) -> int:
    """See ``Store.forget``."""
    gone = 0
    for family in families:
        count, may_go = tx.one(_MAY_GO, family.id, from_time(family.ended_before), tx.now)
        if not may_go:
            continue
        tx.run(f"{_FAMILY} INSERT OR IGNORE INTO leftovers (run) SELECT n FROM family", family.id)
        # Now it cannot be redriven any more, and those below it are for nobody.
        tx.run("DELETE FROM runs WHERE id = ?", family.id)
        gone += count
    return gone


def clear(tx: Transaction, limit: int) -> Cleared:
    """See ``Store.clear``."""
    rows, room = 0, PORTION_BYTES
    for (n,) in tx.all("SELECT run FROM leftovers ORDER BY run LIMIT ?", RUNS):
        run = tx.one("SELECT finished_at FROM runs WHERE n = ?", n)
        if run is not None and run["finished_at"] is None:
            tx.run("DELETE FROM leftovers WHERE run = ?", n)  # someone redrove it meanwhile
            continue
        rows += tx.run("DELETE FROM runs WHERE n = ?", n)
        for table, key, value in (("log", "seq", "value"), ("messages", "node", "body")):
            found = tx.all(
                f"SELECT {key}, coalesce(length({value}), 0) FROM {table} WHERE run = ?"
                f" ORDER BY {key} LIMIT ?",
                n, limit - rows,
            )  # fmt: skip
            last, room = _fitting(found, room)
            if last is not None:
                rows += tx.run(f"DELETE FROM {table} WHERE run = ? AND {key} <= ?", n, last)
            if rows >= limit or room <= 0:
                return Cleared(rows, True)
        tx.run("DELETE FROM leftovers WHERE run = ?", n)
    return Cleared(rows, bool(tx.value("SELECT EXISTS (SELECT 1 FROM leftovers)")))


def trim(tx: Transaction, after: int, before: int, limit: int) -> Trimmed:
    """See ``Store.trim``."""
    rows, room = 0, PORTION_BYTES
    runs = tx.all(
        "SELECT n, since FROM runs WHERE since > 0 AND n > ? ORDER BY n LIMIT ?", after, RUNS
    )
    for n, since in runs:
        # The row that began the generation stays: numbers are counted on from it.
        found = tx.all(
            "SELECT seq, coalesce(length(value), 0) FROM log WHERE run = ? AND seq < ? AND at <= ?"
            " ORDER BY seq LIMIT ?",
            n, since, before, limit - rows,
        )  # fmt: skip
        last, room = _fitting(found, room)
        if last is not None:
            rows += tx.run("DELETE FROM log WHERE run = ? AND seq <= ?", n, last)
        if rows >= limit or room <= 0:
            return Trimmed(rows, n - 1)
    return Trimmed(rows, None if len(runs) < RUNS else runs[-1]["n"])


def _fitting(found: Sequence[Any], room: int) -> tuple[Any, int]:
    """The last key of those (key, size) that there is room for, and what room is left."""
    last = None
    for key, size in found:
        if room <= 0:
            break
        last = key
        room -= size
    return last, room


_PLACES = (("log", "value"), ("runs", "input"), ("runs", "result"), ("signals", "payload"))
_REFERENCED = " UNION ".join(
    f"SELECT {column} FROM {table} WHERE substr({column}, 1, 1) = x'01'"
    f" AND {column} IN (SELECT CAST(value AS BLOB) FROM json_each(?1))"
    for table, column in _PLACES
)
# Each index gives its next ones in order.
_REFERENCES = " UNION ".join(
    f"SELECT * FROM (SELECT DISTINCT {column} AS ref FROM {table}"
    f" WHERE substr({column}, 1, 1) = x'01' AND {column} > ?1 ORDER BY {column} LIMIT ?2)"
    for table, column in _PLACES
)


def referenced(link: sqlite3.Connection, references: Sequence[bytes]) -> set[bytes]:
    """See ``Store.referenced``."""
    asked = orjson.dumps([reference.decode() for reference in references]).decode()
    return {row[0] for row in link.execute(_REFERENCED, (asked,))}


def references(link: sqlite3.Connection, after: bytes, limit: int) -> list[bytes]:
    """See ``Store.references``."""
    rows = link.execute(f"SELECT ref FROM ({_REFERENCES}) ORDER BY ref LIMIT ?2", (after, limit))
    return [row[0] for row in rows]
