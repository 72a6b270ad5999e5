"""The log of runs: writing rows under a lease, reading them back.

Invariants (L2, E1): a row is written only under the run's present epoch while it is running, and
only with the number that follows the last; so an old attempt writes nothing and a log has no
gaps. In SQLite one writer at a time takes the place of row locks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from perdure.core.record import Entry, Record, RecordType, fold
from perdure.store.rows import LogEvent, LogRow, Refusal
from perdure.store.sqlite.columns import ENTRY, EVENT, LOG, to_entries, to_event
from perdure.store.sqlite.writer import Transaction

INSERT = f"INSERT INTO log ({LOG})"
WIDTH = 18

# One row with one JSON text: fetching row by row would hand the interpreter over each time.
_FENCE = """
SELECT json_group_array(json_array(runs.id, n, epoch, state, watched_until > ?2,
  (SELECT coalesce(max(seq), 0) FROM log WHERE run = n)))
FROM json_each(?1) asked CROSS JOIN runs ON runs.id = asked.value
"""


def record(tx: Transaction, rows: Sequence[LogRow]) -> list[Refusal]:
    """See ``Store.record``."""
    by_run: dict[str, list[LogRow]] = {}
    for row in rows:
        by_run.setdefault(row.run_id, []).append(row)
    fence = orjson.loads(tx.value(_FENCE, orjson.dumps(list(by_run)).decode(), tx.now))
    refused: list[Refusal] = []
    new: list[tuple[Any, ...]] = []
    for run_id, n, epoch, state, watched, last in fence:
        mine = by_run.pop(run_id)
        written = len(new)
        following = last + 1
        taken = False
        for row in sorted(mine, key=_seq) if len(mine) > 1 else mine:
            if row.epoch != epoch or state != "running":
                refused.append(Refusal(run_id, row.seq, True, 0))
            elif not taken and row.seq == following:
                new.append((n, row.seq, tx.now, epoch, *row.record))
                following += 1
            elif not taken and row.seq <= last and _same(tx, n, row):
                pass
            else:
                # What follows a refused row of a run must not overtake it.
                taken = True
                refused.append(Refusal(run_id, row.seq, False, following))
        if len(new) > written:
            tx.tell(f"run:{run_id}", far=bool(watched))
    refused.extend(
        Refusal(run_id, row.seq, True, 0) for run_id, mine in by_run.items() for row in mine
    )
    tx.insert(INSERT, WIDTH, new)
    return refused


def append_records(tx: Transaction, n: int, epoch: int, records: Sequence[Record]) -> None:
    """Number and write the last records of an attempt."""
    if not records:
        return
    last = tx.value("SELECT coalesce(max(seq), 0) FROM log WHERE run = ?", n)
    tx.insert(
        INSERT,
        WIDTH,
        [(n, last + i, tx.now, epoch, *record) for i, record in enumerate(records, 1)],
    )


def _seq(row: LogRow) -> int:
    return row.seq


def _same(tx: Transaction, n: int, row: LogRow) -> bool:
    """Whether the row is there already as given: the call was repeated."""
    there = tx.one("SELECT epoch, key, type, state, value FROM log WHERE run = ? AND seq = ?",
                   n, row.seq)  # fmt: skip
    record = row.record
    return tuple(there) == (row.epoch, record.key, record.type, record.state, record.value)


# -- reading --------------------------------------------------------------------------------------

_RUN = "(SELECT n FROM runs WHERE id = ?)"


def journal(link: sqlite3.Connection, run_id: str) -> list[Entry]:
    """See ``Store.journal``."""
    rows = link.execute(
        f"SELECT {ENTRY} FROM log WHERE run = {_RUN} AND type = ?"
        " AND seq > (SELECT since FROM runs WHERE id = ?) ORDER BY seq",
        (run_id, RecordType.ENTRY, run_id),
    )
    return fold(to_entries(rows))


def values(link: sqlite3.Connection, run_id: str, seqs: Sequence[int]) -> dict[int, bytes]:
    """See ``Store.values``."""
    rows = link.execute(
        f"SELECT seq, value FROM log WHERE run = {_RUN}"
        " AND seq IN (SELECT value FROM json_each(?)) AND value IS NOT NULL",
        (run_id, orjson.dumps(list(seqs)).decode()),
    )
    return dict(rows.fetchall())


def events(link: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[LogEvent]:
    """See ``Store.events``."""
    rows = link.execute(
        f"SELECT {EVENT} FROM log WHERE run = {_RUN} AND seq > ? ORDER BY seq LIMIT ?",
        (run_id, after, limit),
    )
    return [to_event(row) for row in rows]


def last_seq(link: sqlite3.Connection, run_id: str) -> int:
    """The number of the log's last row, 0 for none."""
    row = link.execute(
        f"SELECT coalesce(max(seq), 0) FROM log WHERE run = {_RUN}", (run_id,)
    ).fetchone()
    return int(row[0])
