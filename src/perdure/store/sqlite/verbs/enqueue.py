"""Adding runs: idempotent on their ids, deduplicated by idempotency keys (X3), queued or blocked
behind their session (L4) and cap. Built for bulk: what many runs share is looked up once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from perdure.core.run import RunState
from perdure.errors import IdempotencyMismatch
from perdure.store.rows import Enqueued, NewRun
from perdure.store.sqlite.columns import LEASED, micros, to_json, to_lease
from perdure.store.sqlite.verbs.moves import session_taken
from perdure.store.sqlite.writer import Transaction

WATCHED = 60_000_000  # microseconds that a watch lasts

_COLUMNS = (
    "n", "id", "agent", "queue", "tenant", "priority", "state", "blocked_by", "head", "epoch",
    "max_attempts", "session", "cap", "cap_limit", "worker", "created_at", "started_at",
    "ready_at", "wake_at", "deadline_at", "watched_until", "idempotency_window", "depth",
    "generation", "parent", "parent_key", "trace", "labels", "input",
)  # fmt: skip
_INSERT = f"INSERT INTO runs ({', '.join(_COLUMNS)})"


class _Batch:
    """The rows to add and what they have taken so far."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        # What is left of a run that is being deleted still goes by its number.
        self.first = int(
            tx.value(
                "SELECT 1 + max((SELECT coalesce(max(n), 0) FROM runs),"
                " (SELECT coalesce(max(run), 0) FROM leftovers))"
            )
        )
        self.runs: list[tuple[Any, ...]] = []
        self.slots: list[tuple[str, int]] = []
        self.keys: list[tuple[Any, ...]] = []
        self.caps: dict[str, int] = {}
        self.sessions: set[tuple[str, str]] = set()
        self.by_key: dict[tuple[str, str, str], tuple[bytes, int]] = {}

    def place(self, run: NewRun, n: int) -> tuple[RunState, str | None, int]:
        """Its first state, what blocks it, and whether it holds its session."""
        head = 0
        ordered = run.parent is None
        if ordered and run.session is not None:
            session = (run.tenant, run.session)
            taken = session in self.sessions or session_taken(self.tx, *session, n)
            self.sessions.add(session)
            head = int(not taken and run.delay is None)
            if taken and run.delay is None:
                return RunState.BLOCKED, "session", 0
        if run.delay is not None:
            return RunState.WAITING, None, 0
        if ordered and run.cap is not None:
            cap, limit = run.cap
            if cap not in self.caps:
                self.caps[cap] = self.tx.value("SELECT count(*) FROM slots WHERE cap = ?", cap)
            if self.caps[cap] >= limit:
                return RunState.BLOCKED, "cap", head
            self.caps[cap] += 1
            self.slots.append((cap, n))
        if run.lease_to is not None:
            return RunState.RUNNING, None, head
        return RunState.QUEUED, None, head

    def add(self, run: NewRun) -> RunState:
        tx, n = self.tx, self.first + len(self.runs)
        state, blocked_by, head = self.place(run, n)
        running = state is RunState.RUNNING
        wake_at = None if run.delay is None else tx.now + micros(run.delay)
        cap, limit = run.cap or (None, None)
        window = None
        if run.idempotency is not None:
            key = run.idempotency
            window = micros(key.window)
            self.keys.append((run.tenant, run.agent, key.key, key.body, n, None))
            self.by_key[run.tenant, run.agent, key.key] = (key.body, n)
        self.runs.append(
            (
                n, run.id, run.agent, run.queue, run.tenant, run.priority, state, blocked_by,
                head, int(running), run.max_attempts, run.session, cap, limit,
                run.lease_to if running else None, tx.now, tx.now if running else None,
                tx.now if wake_at is None else None, wake_at,
                None if run.timeout is None else tx.now + micros(run.timeout),
                tx.now + WATCHED if run.watch else 0, window, run.depth, run.generation,
                run.parent, run.parent_key, run.trace,
                to_json(run.labels) if run.labels else "{}", run.input,
            )
        )  # fmt: skip
        if state is RunState.QUEUED:
            tx.tell("work", run.queue)
        elif state is RunState.WAITING:
            tx.tell("timers")
        return state

    def write(self) -> None:
        tx = self.tx
        tx.insert(_INSERT, len(_COLUMNS), self.runs)
        tx.insert("INSERT INTO slots (cap, run)", 2, self.slots)
        tx.insert(
            "INSERT OR REPLACE INTO idempotency (tenant, agent, key, body, run, expires_at)",
            6,
            self.keys,
        )


def enqueue(tx: Transaction, runs: Sequence[NewRun]) -> list[Enqueued]:
    """See ``Store.enqueue``."""
    batch = _Batch(tx)
    known = _known(tx, [run.id for run in runs])
    answers: list[Enqueued] = []
    leased: list[tuple[int, str]] = []
    for place, run in enumerate(runs):
        if run.id in known:
            state, worker, epoch = known[run.id]
            again = run.lease_to is not None and (worker, epoch) == (run.lease_to, 1)
            if again and state == RunState.RUNNING:
                leased.append((place, run.id))
            answers.append(Enqueued(run.id, RunState(state)))
            continue
        other = _deduplicated(tx, batch, run)
        if other is not None:
            answers.append(other)
            continue
        state = batch.add(run)
        known[run.id] = (state, run.lease_to, 1)
        if state is RunState.RUNNING:
            leased.append((place, run.id))
        answers.append(Enqueued(run.id, state))
    batch.write()
    for place, run_id in leased:
        row = tx.one(f"SELECT {LEASED} FROM runs WHERE id = ?", run_id)
        answers[place] = Enqueued(run_id, RunState.RUNNING, lease=to_lease(row, tx.now))
    return answers


def _known(tx: Transaction, ids: list[str]) -> dict[str, tuple[str, str | None, int]]:
    """Which of the ids exist: their state, worker and epoch."""
    rows = tx.all(
        "SELECT id, state, worker, epoch FROM runs WHERE id IN (SELECT value FROM json_each(?))",
        orjson.dumps(ids).decode(),
    )
    return {row["id"]: (row["state"], row["worker"], row["epoch"]) for row in rows}


def _deduplicated(tx: Transaction, batch: _Batch, run: NewRun) -> Enqueued | None:
    """The run that has this one's idempotency key. Raises IdempotencyMismatch."""
    if run.idempotency is None:
        return None
    scope = (run.tenant, run.agent, run.idempotency.key)
    if scope in batch.by_key:
        body, n = batch.by_key[scope]
        there = batch.runs[n - batch.first]
        found_id, state = there[1], there[6]
    else:
        row = tx.one(
            "SELECT i.body, r.id, r.state FROM idempotency i JOIN runs r ON r.n = i.run"
            " WHERE i.tenant = ? AND i.agent = ? AND i.key = ?"
            " AND (i.expires_at IS NULL OR i.expires_at > ?)",
            *scope, tx.now,
        )  # fmt: skip
        if row is None:
            return None
        body, found_id, state = row["body"], row["id"], row["state"]
    if body != run.idempotency.body:
        raise IdempotencyMismatch(
            "This idempotency key was used before with another request.",
            hint="Use a new key for a new request.",
            run=found_id,
        )
    return Enqueued(found_id, RunState(state), deduplicated=True)
