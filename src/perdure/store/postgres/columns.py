"""Rows of the database as the contract's value objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import orjson

from perdure.core.record import Entry
from perdure.core.run import RunState
from perdure.store.base import INLINE_VALUE
from perdure.store.intake import to_intake
from perdure.store.rows import AgentInfo, ApiKey, Lease, LogEvent, Run, Signal

Row = Any  # an asyncpg.Record: by name or place

SHOWN = (
    "id, agent, state, queue, tenant, priority, session, epoch, attempts, max_attempts, "
    "created_at, started_at, finished_at, ready_at, wake_at, deadline_at, worker, parent, depth, "
    "generation, cancel_requested, alone, waits, labels, trace, error, n, dismissed_at"
)
WHOLE = f"{SHOWN}, result, input"
ENTRY = (
    "seq, epoch, key, scope, branch, after, kind, name, digest, occurrence, promise, state, "
    f"took_ms, case when octet_length(value) <= {INLINE_VALUE} then value end, "
    "coalesce(octet_length(value), 0)"
)
EVENT = (
    "seq, at, epoch, type, key, scope, branch, after, kind, name, digest, occurrence, promise, "
    "state, took_ms, value, request"
)


def to_uuid(run_id: str) -> UUID:
    """The id for the database; of what is no id, one that no run has."""
    try:
        return UUID(run_id)
    except ValueError:
        return uuid4()


def to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def to_run(row: Row, *, payloads: bool) -> Run:
    """A row of ``SHOWN`` (``WHOLE`` where ``payloads``)."""
    error = row["error"]
    parent = row["parent"]
    return Run(
        id=str(row["id"]),
        agent=row["agent"],
        state=RunState(row["state"]),
        queue=row["queue"],
        tenant=row["tenant"],
        priority=row["priority"],
        session=row["session"],
        epoch=row["epoch"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        ready_at=row["ready_at"],
        wake_at=row["wake_at"],
        deadline_at=row["deadline_at"],
        worker=row["worker"],
        parent=None if parent is None else str(parent),
        depth=row["depth"],
        generation=row["generation"],
        cancel_requested=row["cancel_requested"],
        alone=row["alone"],
        waits=orjson.loads(row["waits"]),
        labels=orjson.loads(row["labels"]),
        trace=row["trace"],
        input=row["input"] if payloads else None,
        result=row["result"] if payloads else None,
        error=None if error is None else orjson.loads(error),
        n=row["n"],
        dismissed_at=row["dismissed_at"],
    )


def to_lease(row: Row) -> Lease:
    """A row of ``perdure.claim``."""
    parent, labels = row["parent"], row["labels"]
    return Lease(
        run_id=str(row["id"]),
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
        parent=None if parent is None else str(parent),
        generation=row["generation"],
        labels={} if labels == "{}" else orjson.loads(labels),
        trace=row["trace"],
        created_at=row["created_at"],
        deadline_at=row["deadline_at"],
        now=row["now"],
        alone=row["alone"],
        gone=row["gone"],
        cancel_requested=row["cancel_requested"],
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
    return LogEvent(*row)


def to_signal(row: Row) -> Signal:
    return Signal(row["n"], row["name"], row["payload"], row["at"])


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
        scopes=tuple(row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
