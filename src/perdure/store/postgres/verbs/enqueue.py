"""Adding runs: the database tells only of those that did not simply become queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from perdure.core.run import RunState
from perdure.errors import InvalidInput
from perdure.store.postgres.columns import to_json
from perdure.store.postgres.link import Database
from perdure.store.rows import Enqueued, Lease, NewRun

_SQL = "select * from perdure.enqueue($1::perdure.new_run[])"


async def enqueue(database: Database, runs: Sequence[NewRun]) -> list[Enqueued]:
    """See ``Store.enqueue``. Raises InvalidInput for ids that are none."""
    if not runs:
        return []
    rows = await database.rows(_SQL, [_given(run) for run in runs])
    answers = [Enqueued(run.id, RunState.QUEUED) for run in runs]
    for row in rows:
        run = runs[row["place"] - 1]
        answers[row["place"] - 1] = Enqueued(
            str(row["id"]),
            RunState(row["state"]),
            deduplicated=row["deduplicated"],
            lease=_lease(run, row) if row["leased"] else None,
        )
    return answers


def _given(run: NewRun) -> tuple[Any, ...]:
    cap, limit = run.cap or (None, None)
    key = run.idempotency
    return (
        _uuid(run.id), run.agent, run.queue, run.tenant, run.priority, run.session, cap, limit,
        run.delay, run.timeout, run.max_attempts,
        None if run.parent is None else _uuid(run.parent),
        run.parent_key, run.depth, run.generation, to_json(run.labels) if run.labels else "{}",
        run.trace, None if key is None else key.key, None if key is None else key.body,
        None if key is None else key.window, run.lease_to, run.watch, run.input,
    )  # fmt: skip


def _uuid(run_id: str) -> UUID:
    try:
        return UUID(run_id)
    except ValueError:
        raise InvalidInput(f"{run_id!r} is no run id.", hint="Run ids are UUIDs.") from None


def _lease(run: NewRun, row: Any) -> Lease:
    return Lease(
        run_id=str(row["id"]),
        agent=run.agent,
        epoch=1,
        input=run.input,
        attempts=0,
        max_attempts=run.max_attempts,
        next_seq=row["next_seq"],
        tenant=run.tenant,
        session=run.session,
        queue=run.queue,
        depth=run.depth,
        parent=run.parent,
        generation=run.generation,
        labels=dict(run.labels),
        trace=run.trace,
        created_at=row["created_at"],
        deadline_at=row["deadline_at"],
        now=row["now"],
        cancel_requested=row["cancel_requested"],
        priority=run.priority,
    )
