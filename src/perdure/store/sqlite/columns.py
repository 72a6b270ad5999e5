"""Rows of the database as the contract's value objects, and back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, overload

import orjson

from perdure.core.record import Entry
from perdure.core.run import RunState
from perdure.store.base import INLINE_VALUE
from perdure.store.intake import to_intake
from perdure.store.rows import AgentInfo, ApiKey, Lease, LogEvent, Run, Signal

Row = Any  # a sqlite3.Row: by name or place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

SHOWN = (
    "id, agent, state, queue, tenant, priority, session, epoch, attempts, max_attempts, "
    "created_at, started_at, finished_at, ready_at, wake_at, deadline_at, worker, parent, depth, "
    "generation, cancel_requested, alone, waits, labels, trace, n, dismissed_at"
)
# What the rules look at, without the payloads.
MOVED = (
    "n, id, agent, queue, tenant, priority, state, blocked_by, head, epoch, attempts, session, "
    "cap, cap_limit, worker, reserved_by, alone, strikes, strikes_seq, gone, cancel_requested, "
    "created_at, wake_at, deadline_at, watched_until, idempotency_window, parent, waits"
)
LEASED = (
    "n, id, agent, epoch, input, attempts, max_attempts, tenant, session, queue, depth, parent, "
    "generation, labels, trace, created_at, deadline_at, alone, gone, cancel_requested, priority, "
    "(SELECT coalesce(max(seq), 0) + 1 FROM log WHERE run = runs.n) AS next_seq"
)
ENTRY = (
    "seq, epoch, key, scope, branch, after, kind, name, digest, occurrence, promise, state, "
    f"took_ms, CASE WHEN length(value) <= {INLINE_VALUE} THEN value END, "
    "coalesce(length(value), 0)"
)
LOG = (
    "run, seq, at, epoch, type, key, scope, branch, after, kind, name, digest, occurrence, "
    "promise, state, took_ms, value, request"
)
EVENT = LOG.removeprefix("run, ")


@overload
def to_time(at: int) -> datetime: ...
@overload
def to_time(at: int | None) -> datetime | None: ...
def to_time(at: int | None) -> datetime | None:
    """A stored time."""
    return None if at is None else _EPOCH + timedelta(microseconds=at)


def from_time(at: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - _EPOCH) // _MICROSECOND


def micros(span: timedelta) -> int:
    """A duration in microseconds."""
    return span // _MICROSECOND


def to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def to_run(row: Row, *, payloads: bool) -> Run:
    """A row of ``SHOWN`` (with error, result and input where ``payloads``)."""
    keys = row.keys()
    error = row["error"] if "error" in keys else None
    return Run(
        id=row["id"],
        agent=row["agent"],
        state=RunState(row["state"]),
        queue=row["queue"],
        tenant=row["tenant"],
        priority=row["priority"],
        session=row["session"],
        epoch=row["epoch"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        created_at=to_time(row["created_at"]),
        started_at=to_time(row["started_at"]),
        finished_at=to_time(row["finished_at"]),
        ready_at=to_time(row["ready_at"]),
        wake_at=to_time(row["wake_at"]),
        deadline_at=to_time(row["deadline_at"]),
        worker=row["worker"],
        parent=row["parent"],
        depth=row["depth"],
        generation=row["generation"],
        cancel_requested=bool(row["cancel_requested"]),
        alone=bool(row["alone"]),
        waits=orjson.loads(row["waits"]),
        labels=orjson.loads(row["labels"]),
        trace=row["trace"],
        input=row["input"] if payloads else None,
        result=row["result"] if payloads else None,
        error=None if error is None else orjson.loads(error),
        n=row["n"],
        dismissed_at=to_time(row["dismissed_at"]),
    )


def to_lease(row: Row, now: int) -> Lease:
    """A row of ``LEASED``."""
    return Lease(
        run_id=row["id"],
        agent=row["agent"],
        epoch=row["epoch"],
        input=row["input"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        next_seq=row["next_seq"],
        tenant=row["tenant"],
        session=row["session"],
        queue=row["queue"],
        depth=row["depth"],
        parent=row["parent"],
        generation=row["generation"],
        labels=orjson.loads(row["labels"]),
        trace=row["trace"],
        created_at=to_time(row["created_at"]),
        deadline_at=to_time(row["deadline_at"]),
        now=to_time(now),
        alone=bool(row["alone"]),
        gone=bool(row["gone"]),
        cancel_requested=bool(row["cancel_requested"]),
        priority=row["priority"],
    )


def to_entries(rows: Iterable[Row]) -> list[Entry]:
    """Rows of ``ENTRY``."""
    return [
        Entry(
            seq, epoch, key or b"", scope or b"", branch or "", after or b"", kind or "",
            name or "", digest or b"", occurrence or 0, promise or "", state or "", took_ms or 0,
            value, size,
        )
        for seq, epoch, key, scope, branch, after, kind, name, digest, occurrence, promise, state,
        took_ms, value, size in rows
    ]  # fmt: skip


def to_event(row: Row) -> LogEvent:
    """A row of ``EVENT``."""
    seq, at, *rest = row
    return LogEvent(seq, to_time(at), *rest)


def to_signal(row: Row) -> Signal:
    return Signal(row["n"], row["name"], row["payload"], to_time(row["at"]))


def to_agent(row: Row) -> AgentInfo:
    schema = row["input_schema"]
    return AgentInfo(
        name=row["name"],
        queue=row["queue"],
        framework=row["framework"],
        description=row["description"],
        input_schema=None if schema is None else orjson.loads(schema),
        durability=row["durability"],
        intake=to_intake(row["intake"]),
    )


def to_key(row: Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        hash=row["hash"],
        scopes=tuple(orjson.loads(row["scopes"])),
        created_at=to_time(row["created_at"]),
        expires_at=to_time(row["expires_at"]),
        last_used_at=to_time(row["last_used_at"]),
        revoked_at=to_time(row["revoked_at"]),
    )
