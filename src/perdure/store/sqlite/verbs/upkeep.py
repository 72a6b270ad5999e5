"""Maintenance: orphaning the runs of dead workers, timers, the leader, what is going on."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import orjson

from perdure.codec import encode_failure
from perdure.core.poison import Strikes, worker_died
from perdure.core.record import RecordType
from perdure.core.run import Event, RunState, advance
from perdure.errors import RunDead
from perdure.store.rows import QueueStats, Woken, WorkerInfo
from perdure.store.sqlite.columns import MOVED, Row, micros, to_json
from perdure.store.sqlite.verbs.moves import append_status, finish, make_ready
from perdure.store.sqlite.writer import Transaction

EXPIRED_KEYS = 1000  # idempotency keys forgotten at a time


def join(tx: Transaction, worker: WorkerInfo, lease: timedelta) -> None:
    """Note the worker as a member."""
    tx.run(
        "INSERT OR REPLACE INTO workers (id, host, pid, version, queues, lease, joined_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        worker.id, worker.host, worker.pid, worker.version, to_json(worker.queues),
        micros(lease), tx.now,
    )  # fmt: skip
    tx.tell("members")


def release(tx: Transaction, worker: str, *, died: bool, gone: bool) -> int:
    """Orphan every run the worker leases. ``died``: count strikes (L6). ``gone``: its process is
    proven to have ended (L5)."""
    tx.run("DELETE FROM workers WHERE id = ?", worker)
    tx.run("DELETE FROM leader WHERE worker = ?", worker)
    runs = tx.all(f"SELECT {MOVED} FROM runs WHERE worker = ? ORDER BY n", worker)
    for run in runs:
        _orphan(tx, run, died=died, gone=gone)
    for run in tx.all("SELECT n, queue FROM runs WHERE reserved_by = ?", worker):
        tx.run("UPDATE runs SET reserved_by = NULL WHERE n = ?", run["n"])
        tx.tell("work", run["queue"])
    tx.tell("members")
    return len(runs)


def _orphan(tx: Transaction, run: Row, *, died: bool, gone: bool) -> None:
    state = advance(RunState.RUNNING, Event.ORPHANED)
    strikes = Strikes(run["strikes"], run["strikes_seq"], bool(run["alone"]))
    if died:
        last = tx.value(
            "SELECT seq FROM log WHERE run = ? AND type = ? ORDER BY seq DESC LIMIT 1",
            run["n"], RecordType.ENTRY,
        )  # fmt: skip
        strikes, dead = worker_died(strikes, last or 0)
        if dead:
            error = RunDead("Its worker's process died under it again, with nothing beside it.")
            append_status(tx, run, RunState.DEAD, reason="poison", worker=run["worker"])
            finish(tx, run, advance(state, Event.EXHAUSTED), attempts=run["attempts"],
                   error=encode_failure(error))  # fmt: skip
            return
    tx.run(
        "UPDATE runs SET state = ?, worker = NULL, reserved_by = NULL, strikes = ?,"
        " strikes_seq = ?, alone = ?, gone = min(gone, ?) WHERE n = ?",
        state, strikes.strikes, strikes.at_seq, strikes.alone, gone, run["n"],
    )  # fmt: skip
    append_status(tx, run, state, reason="orphaned", worker=run["worker"])
    tx.tell("work", run["queue"])


_STRANGERS = (
    "SELECT worker FROM runs WHERE worker IS NOT NULL"
    " UNION SELECT reserved_by FROM runs WHERE reserved_by IS NOT NULL"
    " EXCEPT SELECT id FROM workers"
)


def release_strangers(tx: Transaction) -> int:
    """Orphan what is leased to, or kept for, workers that are no members (any more)."""
    return sum(release(tx, worker, died=True, gone=False) for (worker,) in tx.all(_STRANGERS))


def chores(link: sqlite3.Connection, now: int) -> tuple[bool, bool]:
    """Whether there are strangers to release and keys to forget. Mostly not, and a write, even of
    nothing, costs an idle database more than a look."""
    strangers, keys = link.execute(
        f"SELECT EXISTS ({_STRANGERS}), EXISTS (SELECT 1 FROM idempotency WHERE expires_at <= ?)",
        (now,),
    ).fetchone()
    return bool(strangers), bool(keys)


def forget_keys(tx: Transaction) -> None:
    """Drop idempotency keys whose window is over."""
    tx.run(
        "DELETE FROM idempotency WHERE (tenant, agent, key) IN (SELECT tenant, agent, key"
        " FROM idempotency WHERE expires_at <= ? LIMIT ?)",
        tx.now, EXPIRED_KEYS,
    )  # fmt: skip


def wake_due(tx: Transaction, limit: int) -> Woken:
    """See ``Store.wake_due``."""
    due = tx.all(
        f"SELECT {MOVED} FROM runs WHERE state = 'waiting' AND wake_at <= ?"
        " ORDER BY wake_at LIMIT ?",
        tx.now, limit,
    )  # fmt: skip
    count = 0
    for run in due:
        if make_ready(tx, run, Event.WOKEN, "time") is RunState.QUEUED:
            count += 1
    following = tx.value(
        "SELECT min(wake_at) FROM runs WHERE state = 'waiting' AND wake_at IS NOT NULL"
    )
    if following is None:
        return Woken(count, None)
    return Woken(count, timedelta(microseconds=max(following - tx.now, 0)))


_LEAD = """
INSERT INTO leader (one, worker, until) VALUES (1, ?1, ?2)
ON CONFLICT (one) DO UPDATE SET worker = ?1, until = ?2 WHERE worker = ?1 OR until <= ?3
"""


def lead(tx: Transaction, worker: str, ttl: timedelta) -> bool:
    """See ``Store.lead``."""
    return tx.run(_LEAD, worker, tx.now + micros(ttl), tx.now) == 1


def members(link: sqlite3.Connection) -> list[dict[str, Any]]:
    """The members' rows, with how many runs each leases."""
    rows = link.execute(
        "SELECT id, host, pid, version, queues, lease, joined_at,"
        " (SELECT count(*) FROM runs WHERE worker = workers.id) AS runs FROM workers ORDER BY id"
    )
    return [dict(row) | {"queues": orjson.loads(row["queues"])} for row in rows]


def stats(link: sqlite3.Connection, now: int) -> list[QueueStats]:
    """See ``Store.stats``."""
    states: dict[str, dict[str, int]] = {}
    for queue, state, count in link.execute(
        "SELECT queue, state, count(*) FROM runs INDEXED BY runs_by_state GROUP BY state, queue"
    ):
        states.setdefault(queue, {})[state] = count
    found = []
    for queue, counts in sorted(states.items()):
        oldest = link.execute(
            "SELECT min(ready_at) FROM runs WHERE queue = ? AND state = 'queued'", (queue,)
        ).fetchone()[0]
        waited = None if oldest is None else timedelta(microseconds=max(now - oldest, 0))
        found.append(QueueStats(queue, counts, waited))
    return found
